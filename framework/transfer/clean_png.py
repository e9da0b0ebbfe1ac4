"""Pictures without what is written beside their pixels: texts, times, EXIF, color profiles."""

import struct

from slotlab.registry import SlotlabError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT = (b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs", b"IDAT", b"IEND")
"""Chunks that a picture is made of; none of them holds text."""


def clean_png(data: bytes, where: object) -> bytes:
    """Return a PNG with the chunks in `KEPT` alone, byte for byte, and nothing after its end.

    Source: the PNG specification (W3C), chapters 5 and 11.

    Raises:
        SlotlabError: if it is no PNG, or ends too early.
    """
    if not data.startswith(SIGNATURE):
        raise SlotlabError(f"{where}: this is no PNG picture; remove it, or draw it again")
    kept, at, name = [SIGNATURE], len(SIGNATURE), b""
    while name != b"IEND":
        if len(data) < at + 12:
            raise SlotlabError(f"{where}: the picture ends too early; remove it, or draw it again")
        (length,) = struct.unpack(">I", data[at : at + 4])
        name, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            raise SlotlabError(f"{where}: the picture ends too early; remove it, or draw it again")
        if name in KEPT:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)
