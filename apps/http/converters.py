"""Parts of addresses that Django's own converters do not take; who imports this module may name them."""

from django.urls import register_converter


class AnyText:
    """The rest of the address, whatever it holds: keys of checkpoints may have slashes and line breaks."""

    regex = "(?s:.+)"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(AnyText, "text")
