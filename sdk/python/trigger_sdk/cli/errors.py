"""What a command raises if its arguments are wrong."""


class UsageError(Exception):
    """An argument is wrong; the text says which one and why."""
