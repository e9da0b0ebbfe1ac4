"""Names that become parts of file names: those that no file system accepts are refused before any work."""

LONGEST = 100
"""Most bytes of one part; a name of several parts must stay below the 255 bytes that file systems allow."""


def fault(name: str) -> str | None:
    """Return why a name cannot be part of a file name, in words; None for a name that can.

    Letters of any script may be used. `/` would make it a folder, and invisible characters would make a
    file that nobody finds again.
    """
    if not name.strip():
        return "a name must have a visible character"
    if "/" in name or not name.isprintable():
        odd = next(letter for letter in name if letter == "/" or not letter.isprintable())
        return f"the character {odd if odd == '/' else f'U+{ord(odd):04X}'} is not allowed in a file name"
    size = len(name.encode())
    return f"{size} bytes long, and at most {LONGEST} fit into a file name" if size > LONGEST else None


def file_name(text: str) -> str:
    """Return a text as a file name without its ending: characters that are not allowed become `-`."""
    kept = "".join(letter if letter.isprintable() and letter != "/" else "-" for letter in text).strip()
    while len(kept.encode()) > LONGEST:
        kept = kept[:-1]
    return kept if kept.strip(".") else "-"
