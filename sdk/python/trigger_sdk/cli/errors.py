"""What a command raises where its arguments are wrong."""


class UsageError(Exception):
    """An argument is wrong; the text says which and how."""
