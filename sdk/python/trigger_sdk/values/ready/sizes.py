"""The limit of a stored value, asked before a library's data is turned into text."""

from trigger_sdk.errors import TooLarge
from trigger_sdk.values.forms import ValueRefused
from trigger_sdk.values.strict_json import MAX_VALUE_BYTES


def refuse_large(what: str, size: int) -> None:
    """Raises ValueRefused for data whose `size` bytes are over the limit as base64 text."""
    if size * 4 // 3 > MAX_VALUE_BYTES:
        message = (
            f"{what} has {size:,} bytes, which are {size * 4 // 3:,} as text; the limit is {MAX_VALUE_BYTES:,}: put it "
            "into a file store and save its address"
        )
        raise ValueRefused(TooLarge, message)
