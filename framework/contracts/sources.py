"""Where the files of a published dataset are, and what is to be known before they are fetched."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import ClassVar, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file at a public address."""

    url: str
    """`http://` or `https://`."""
    license: str
    """Its license, or where it is written."""
    bytes: int | None = None
    """About how large it is, as published; None if that is not known. The server has the last word."""
    sha256: str | None = None
    """In hexadecimal digits; None if it was never published: then what came is recorded."""
    unpack: str | None = None
    """The folder, below that of the data, in which an archive is unpacked (`.` for that folder itself); None
    for a file that is read as it came."""
    inner: tuple[str, ...] = ()
    """Archives in the archive, by their paths in it, which are unpacked where they lie."""

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not self.file:
            raise ValueError(f"expected the http(s) address of a file, not {self.url!r}")

    @property
    def file(self) -> str:
        """The name of the file."""
        return unquote(PurePosixPath(urlsplit(self.url).path).name)


@dataclass(frozen=True, kw_only=True)
class Downloads:
    """The published files of a dataset."""

    parts: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    """By names that a user chooses from, such as a variant or a split."""
    usual: tuple[str, ...] = ()
    """The parts that are meant where none is named."""
    by_hand: str = ""
    """What has to be done by hand, or is not fetched; for data without any address everything."""


@runtime_checkable
class HasDownloads(Protocol):
    """A dataset's Config class that knows where its data is published, for `slotlab data fetch`. Optional."""

    downloads: ClassVar[Downloads]
