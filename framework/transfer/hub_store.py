"""Repositories of the Hugging Face Hub: a push is one commit, and so whole or not there."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from slotlab.framework.transfer.address import EXTRAS, Address
from slotlab.framework.transfer.contents import Contents, Item
from slotlab.framework.transfer.folder_store import FolderStore, reaching
from slotlab.framework.transfer.manifest import MANIFEST
from slotlab.framework.transfer.store import Report, missing
from slotlab.registry import SlotlabError

OTHERS = ("datasets", "spaces")
OF_THE_HUB = frozenset({".gitattributes"})
"""Files that the Hub puts into a new repository."""


@dataclass
class HubStore(FolderStore):
    """A model repository, or a folder in one. It is read by the Hub's file system for fsspec."""

    repository: str = ""
    revision: str | None = None
    inside: str = ""
    """The folder in the repository; empty for the repository itself."""
    public: bool = False
    """Whether a new repository is public."""

    @classmethod
    def of(cls, address: Address, *, public: bool = False) -> "HubStore":
        """Read an address `hf://OWNER/NAME[@REVISION][/FOLDER]`, with the token of the Hub's own tools.

        Raises:
            SlotlabError: if it names no model repository, or the library is missing.
        """
        repository, revision, inside = parts_of(address)
        try:
            from huggingface_hub import HfFileSystem, constants
        except ImportError:
            raise missing(address.scheme, EXTRAS[address.scheme], "huggingface_hub") from None
        # Listings are remembered by the class, and may be of before a push.
        fs = HfFileSystem(endpoint=constants.ENDPOINT, skip_instance_cache=True)
        at = "" if revision is None else f"@{revision}"
        root = f"{repository}{at}{f'/{inside}' if inside else ''}"
        store = cls(address, fs, root, True)
        store.repository, store.revision, store.inside, store.public = repository, revision, inside, public
        return store

    def publish(self, contents: Contents, *, overwrite: bool, report: Report) -> int:
        """Send what the repository does not have in one commit.

        Large files are uploaded before it; the Hub keeps those of a push that was interrupted.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants

        api = HfApi(endpoint=constants.ENDPOINT, library_name="slotlab")
        with reaching(self.address):
            api.create_repo(self.repository, private=not self.public, exist_ok=True)
        wanted, there = contents.manifest, self.names() - OF_THE_HUB
        old = self.listed(MANIFEST) if MANIFEST in there else None
        self.refuse(wanted, there, old, None, overwrite=overwrite)
        if old == wanted and not overwrite:
            return 0
        known = (
            {}
            if old is None or old == wanted
            else {name: old.files[name] for name in old.files if name in there}
        )
        todo = [name for name in contents.order if known.get(name) != wanted.files[name]]
        items = {name: contents.items[name] for name in todo}
        items[MANIFEST] = Item.of(wanted.to_json())
        prefix = f"{self.inside}/" if self.inside else ""
        operations: list[Any] = [
            CommitOperationAdd(f"{prefix}{name}", item.data if item.data is not None else str(item.path))
            for name, item in items.items()
        ]
        operations += [CommitOperationDelete(f"{prefix}{name}") for name in known if name not in wanted.files]
        total = sum(wanted.files[name].size for name in todo)
        report(0, total)
        with reaching(self.address):
            api.create_commit(
                self.repository,
                operations,
                commit_message=f"{contents.name} by slotlab",
                revision=self.revision,
            )
            with suppress(AttributeError):
                self.fs.invalidate_cache()
        report(total, total)
        return total


def parts_of(address: Address) -> tuple[str, str | None, str]:
    """Return repository, revision and folder of an address of the Hub.

    Raises:
        SlotlabError: if it names no model repository.
    """
    words = address.rest.removeprefix("models/").split("/")
    if words[0] in OTHERS:
        raise SlotlabError(f"{address.text}: runs lie in model repositories, not in {words[0]}")
    if len(words) < 2 or not all(words):
        raise SlotlabError(f"{address.text}: it names no repository; write hf://OWNER/NAME")
    name, at, revision = words[1].partition("@")
    return f"{words[0]}/{name}", revision if at else None, "/".join(words[2:])
