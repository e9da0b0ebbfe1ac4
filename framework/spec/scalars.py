"""Scalars as YAML 1.2 reads them: `4e-4` is a number, `on` and `12:30:00` are text."""

import math
import re
from pathlib import Path
from typing import Any

from slotlab.framework.spec.paths import SpecString

INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
MOST_DIGITS = 100
"""Most characters of a number, exponent included."""
LARGEST = 2**64 - 1
"""Largest absolute value of a whole number."""


def scalar(text: str, *, quoted: bool, folder: Path) -> Any:
    """Return None, a bool, an int, a float or a string, as YAML 1.2 reads it.

    Raises:
        ValueError: for a number with too many digits, or beyond the range of a float.
    """
    if quoted:
        return SpecString(text, folder)
    if text in WORDS:
        return WORDS[text]
    is_integer = INTEGER.fullmatch(text)
    if not is_integer and not FLOAT.fullmatch(text):
        return SpecString(text, folder)
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits; at most {MOST_DIGITS} are read")
    if is_integer:
        number = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if abs(number) > LARGEST:
            raise ValueError(f"{text} is beyond the whole numbers of 64 bits")
        return number
    value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if math.isinf(value) and text[-1].isdigit():
        raise ValueError(f"{text} is beyond the range of a number; write .inf for infinity")
    return value
