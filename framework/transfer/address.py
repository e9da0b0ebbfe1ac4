"""Where runs lie: folders of this machine, and addresses such as `hf://me/my_run`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest

SCHEMES: Mapping[str, str] = MappingProxyType(
    {
        "file": "file:///home/me/shared/run",
        "memory": "memory://run",
        "hf": "hf://OWNER/NAME",
        "s3": "s3://BUCKET/FOLDER",
        "ssh": "ssh://USER@HOST/home/me/run",
        "sftp": "sftp://USER@HOST/home/me/run",
    }
)
"""What an address may begin with, and how it goes on."""
EXTRAS: Mapping[str, str] = MappingProxyType({"hf": "hub", "s3": "s3", "ssh": "ssh", "sftp": "ssh"})
"""The extra of slotlab that brings what a scheme needs; the others need none."""
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """A folder somewhere."""

    text: str
    """As it was given."""
    scheme: str
    rest: str
    """What follows the scheme; of a folder of this machine its absolute path."""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read an address, or the path of a folder.

        Raises:
            SlotlabError: for a scheme that slotlab does not know, a password, and an address of nothing.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            if not text:
                raise SlotlabError(
                    "an address of a run is empty; name a folder, or one such as hf://OWNER/NAME"
                )
            return cls(text, "file", str(Path(text).expanduser().absolute()))
        scheme, rest = found[1].lower(), found[2].rstrip("/")
        if scheme not in SCHEMES:
            hint = suggest(scheme, list(SCHEMES))
            known = ", ".join(f"{one}://" for one in SCHEMES)
            raise SlotlabError(f"{text}: no address begins with {scheme}://{hint} (known: {known})")
        example = f"write {SCHEMES[scheme]}"
        if not rest:
            raise SlotlabError(f"{text}: it names no folder; {example}")
        if scheme == "file" and not rest.startswith("/"):
            raise SlotlabError(f"{text}: a file:// address has an absolute path; {example}")
        if re.match(r"[^/@]*:[^/@]*@", rest):
            raise SlotlabError(f"{scheme}://…: a password in an address is seen by others; use a key")
        return cls(text, scheme, rest)


def is_address(text: str) -> bool:
    """Return whether a text is an address, and not the path of a folder."""
    return _ADDRESS.fullmatch(text) is not None
