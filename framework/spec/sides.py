"""Sizes as specs write them: the side of a square, or [rows, columns]."""

from collections.abc import Sequence
from typing import Annotated, Any

from annotated_types import Len
from pydantic import BeforeValidator, PositiveInt, TypeAdapter, ValidationError

from slotlab.registry.component import custom_error

_COUNT: TypeAdapter[int] = TypeAdapter(PositiveInt)


def _checked(value: Any) -> Any:
    """Return the value, a square as its side, or raise one message for a value that is neither."""
    sides = value if isinstance(value, list | tuple) and len(value) == 2 else [value]
    try:
        numbers = [_COUNT.validate_python(side) for side in sides]
    except ValidationError:
        text = repr(value) if isinstance(value, str) else str(value)
        wanted = "a whole number above 0, or [rows, columns]"
        raise custom_error("side", f"expected {wanted}, got {text[:60]}") from None
    return numbers[0] if len(set(numbers)) == 1 else tuple(numbers)


Side = Annotated[
    PositiveInt | Annotated[tuple[PositiveInt, PositiveInt], Len(2, 2)], BeforeValidator(_checked)
]
"""The side of a square, or (rows, columns). A list of two equal numbers is read as that number."""


def pair(side: int | Sequence[int]) -> tuple[int, int]:
    """Return a side, or [rows, columns], as (rows, columns)."""
    return (side, side) if isinstance(side, int) else (side[0], side[1])


def in_pixels(side: int | Sequence[int]) -> str:
    """Return a side, or [rows, columns], as messages write it: `128`, or `320x240`, columns first."""
    rows, columns = pair(side)
    return str(rows) if rows == columns else f"{columns}x{rows}"
