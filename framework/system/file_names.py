"""Names that become parts of names of files: what no file system takes is refused before any work is done."""

LONGEST = 100
"""Bytes of one part; a name of several must stay under the 255 bytes that file systems take."""


def fault(name: str) -> str | None:
    """Say why a name cannot be a part of a file's name; None for one that can.

    Any script may be used. `/` would make a folder of it, and characters that cannot be seen or
    written would make a file that nobody finds again.
    """
    if not name.strip():
        return "a name must have a letter that can be seen"
    if "/" in name or not name.isprintable():
        odd = next(letter for letter in name if letter == "/" or not letter.isprintable())
        return f"the character {odd if odd == '/' else f'U+{ord(odd):04X}'} cannot stand in a file's name"
    size = len(name.encode())
    return f"{size} bytes long, and at most {LONGEST} fit into a file's name" if size > LONGEST else None


def file_name(text: str) -> str:
    """Return a text as the name of a file, without its ending: what cannot stand in one becomes `-`."""
    kept = "".join(letter if letter.isprintable() and letter != "/" else "-" for letter in text).strip()
    while len(kept.encode()) > LONGEST:
        kept = kept[:-1]
    return kept if kept.strip(".") else "-"
