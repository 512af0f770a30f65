"""Path converters that Django does not have; importing this module makes their names usable."""

from django.urls import register_converter


class AnyText:
    """The rest of the address, whatever it holds: checkpoint keys may contain slashes and line breaks."""

    regex = "(?s:.+)"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(AnyText, "text")
