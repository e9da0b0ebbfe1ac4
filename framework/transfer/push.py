"""Runs sent to an address."""

from dataclasses import dataclass
from pathlib import Path

from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.transfer.address import Address
from slotlab.framework.transfer.card import card
from slotlab.framework.transfer.contents import Choice, Contents, Item, contents_of
from slotlab.framework.transfer.folder_store import FolderStore
from slotlab.framework.transfer.hub_store import HubStore
from slotlab.framework.transfer.manifest import CARD
from slotlab.framework.transfer.store import Report, Store
from slotlab.registry import SlotlabError

ADDRESS_UNTOLD = "ADDRESS"
"""In a card, in place of an address that only its owner knows."""


@dataclass(frozen=True)
class Pushed:
    """What was sent."""

    address: str
    contents: Contents
    sent: int
    """Bytes; 0 if all of it was there before."""


def open_store(text: str, *, public: bool = False) -> Store:
    """Open the place of an address.

    Raises:
        SlotlabError: for what is no address, and if it cannot be reached.
    """
    address = Address.parse(text)
    return HubStore.of(address, public=public) if address.scheme == "hf" else FolderStore.open(address)


def push_run(
    run: RunFolder, store: Store, choice: Choice, *, license_: str | None, overwrite: bool, report: Report
) -> Pushed:
    """Send a run with its card.

    Raises:
        SlotlabError: for what cannot be sent, and a place that is taken.
    """
    address = store.address
    if address.scheme == "file" and run.path.resolve() == Path(address.rest).resolve():
        raise SlotlabError(f"{address.text} is the run itself; push it to another place")
    contents = contents_of(run, choice)
    known = address.text if address.scheme == "hf" else ADDRESS_UNTOLD
    contents.items[CARD] = Item.of(card(contents, known, license_).encode())
    return Pushed(address.text, contents, store.publish(contents, overwrite=overwrite, report=report))
