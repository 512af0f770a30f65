"""The types of the messages' fields, as wide as the columns that hold them."""

from typing import Annotated

from msgspec import Meta

# A value that does not fit is refused by its field's name; only its item is affected.
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*\Z")]
ShortName = Annotated[str, Meta(max_length=16, pattern=r"^[^\x00]*\Z")]
Container = Annotated[str, Meta(max_length=128)]
StartKind = Annotated[str, Meta(max_length=8)]
Key = Annotated[str, Meta(max_length=200)]
Seconds = Annotated[float, Meta(ge=0, le=10 * 366 * 86_400)]
"""How long something has taken, at most ten years; NaN is refused."""
Index = Annotated[int, Meta(ge=0, le=2**31 - 1)]
ExitCode = Annotated[int, Meta(ge=-(2**15), le=2**15 - 1)]
Bytes = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Token = Annotated[bytes, Meta(max_length=64)]
