"""Text for a terminal: control characters in names of users, files and programs are never obeyed."""

import re

_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, change colors, turn the direction of writing, or cannot be written."""


def visible(text: str) -> str:
    r"""Return text that can be shown: characters that would be obeyed are written out, such as `\x1b`."""
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)
