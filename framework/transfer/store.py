"""What a place is where runs lie: a folder of files that can be listed, read and filled."""

from collections.abc import Callable
from typing import Protocol

from slotlab.framework.transfer.address import Address
from slotlab.framework.transfer.contents import Contents
from slotlab.registry import SlotlabError

Report = Callable[[int, int], None]
"""Told how many of how many bytes are sent or fetched."""


def silent(done: int, total: int) -> None:
    """Report to nobody."""


class Sink(Protocol):
    """What a file's content is written into."""

    def write(self, data: bytes, /) -> int:
        """Write a block, and return its length."""


class Store(Protocol):
    """A folder somewhere. Every method raises `SlotlabError` if the place cannot be reached."""

    address: Address

    def read(self, name: str, most: int) -> bytes | None:
        """Return a small file; None if there is none.

        Raises:
            SlotlabError: if it has more than `most` bytes.
        """

    def fetch(self, name: str, file: Sink) -> None:
        """Write the content of a file into an open one."""

    def publish(self, contents: Contents, *, overwrite: bool, report: Report) -> int:
        """Send a run, so that a reader finds it whole or not at all; return how many bytes were sent.

        Raises:
            SlotlabError: if another run or something else is there, unless `overwrite` is given.
        """


def missing(scheme: str, extra: str, package: str) -> SlotlabError:
    """Return the error for a library that is not installed."""
    return SlotlabError(f"{scheme}:// needs {package}; it comes with: pip install 'slotlab[{extra}]'")


def taken(address: Address, what: str) -> SlotlabError:
    """Return the error for a place where something is already."""
    return SlotlabError(f"{address.text}: {what}; choose another place, or give --overwrite to replace it")
