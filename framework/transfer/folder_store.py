"""Folders that fsspec reaches: of this machine, in memory, in S3's buckets, over SSH."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

from slotlab.framework.transfer.address import EXTRAS, Address
from slotlab.framework.transfer.contents import Contents, Item
from slotlab.framework.transfer.manifest import BLOCK, MANIFEST, MOST_BYTES, UNFINISHED, Entry, Manifest
from slotlab.framework.transfer.store import Report, Sink, missing, taken
from slotlab.registry import SlotlabError

PART = ".part"
"""The ending of a file that is being sent; it is hidden, too."""
NOTED = 4 * 2**20
"""Bytes after which the list of what was sent is written again, or after every file that is larger."""


@dataclass
class FolderStore:
    """A folder of a file system."""

    address: Address
    fs: Any
    root: str
    whole: bool = False
    """Whether a file of this file system appears only once all of it is there."""
    sent: dict[str, Entry] = field(default_factory=dict)
    """The files that are there, with what is known of them."""
    unnoted: int = 0

    @classmethod
    def open(cls, address: Address) -> "FolderStore":
        """Connect to the file system of an address.

        Raises:
            SlotlabError: if a library is missing, or the place cannot be reached.
        """
        import fsspec

        if address.scheme in ("file", "memory"):
            options = {"auto_mkdir": True} if address.scheme == "file" else {}
            root = address.rest if address.scheme == "file" else f"/{address.rest.lstrip('/')}"
            return cls(address, fsspec.filesystem(address.scheme, **options), root)
        with reaching(address):
            if address.scheme == "s3":
                return cls(address, _s3(address), address.rest, whole=True)
            fs, root = _ssh(address)
            return cls(address, fs, root)

    def path(self, name: str) -> str:
        """Return the path of a file on the file system."""
        return f"{self.root}/{name}"

    def names(self) -> set[str]:
        """Return the names of all files in the folder; none if it does not exist."""
        with reaching(self.address):
            self.fs.invalidate_cache()
            root = str(self.fs._strip_protocol(self.root)).rstrip("/")
            try:
                found = self.fs.find(root)
            except FileNotFoundError:
                return set()
        return {str(one)[len(root) :].lstrip("/") for one in found if str(one) != root}

    def read(self, name: str, most: int) -> bytes | None:
        """Return a small file; None if there is none."""
        with reaching(self.address):
            try:
                with self.fs.open(self.path(name), "rb") as file:
                    data: bytes = file.read(most + 1)
            except (FileNotFoundError, NotADirectoryError):
                return None
        if len(data) > most:
            raise SlotlabError(f"{self.address.text}: {name} has more than {most:,} bytes")
        return data

    def fetch(self, name: str, file: Sink) -> None:
        """Write the content of a file into an open one."""
        with reaching(self.address):
            try:
                with self.fs.open(self.path(name), "rb") as remote:
                    shutil.copyfileobj(remote, cast(Any, file), BLOCK)
            except FileNotFoundError:
                raise SlotlabError(
                    f"{self.address.text}: {name} is missing, and the manifest lists it"
                ) from None

    def publish(self, contents: Contents, *, overwrite: bool, report: Report) -> int:
        """Send the files, then the manifest. What an interrupted push has sent is not sent again."""
        wanted, there = contents.manifest, self.names()
        old = self.listed(MANIFEST) if MANIFEST in there else None
        begun = self.listed(UNFINISHED) if UNFINISHED in there else None
        self.refuse(wanted, there, old, begun, overwrite=overwrite)
        if old == wanted and not overwrite:
            self._tidy(wanted, begun)
            return 0
        known = {**(old.files if old is not None and old != wanted else {}), **(begun.files if begun else {})}
        self.sent = {name: one for name, one in known.items() if name in there}
        self._note(wanted)  # before the first file, by which the place could not be told from another's
        if old is not None:  # no reader may take new files for those of the old manifest
            self._remove(MANIFEST)
        done = self._send_all(contents, wanted, report)
        self.send(MANIFEST, Item.of(wanted.to_json()))
        self._tidy(wanted, Manifest("", "", known))
        return done

    def _tidy(self, wanted: Manifest, listed: Manifest | None) -> None:
        """Remove what pushes have left, and files of a run that lay here before."""
        known = set() if listed is None else set(listed.files)
        others = self.names() - {MANIFEST, *wanted.files}
        for name in sorted(others, key=lambda name: name == UNFINISHED):  # which lists the others, last
            if name in known or name == UNFINISHED or name.endswith(PART):
                self._remove(name)

    def refuse(
        self,
        wanted: Manifest,
        there: set[str],
        old: Manifest | None,
        begun: Manifest | None,
        *,
        overwrite: bool,
    ) -> None:
        """Refuse a place where something else is."""
        if old is None and begun is None:
            others = {name for name in there if not name.endswith(PART)}
            if "spec.yaml" in others:
                raise SlotlabError(
                    f"{self.address.text}: a run that was not pushed lies there; choose another place"
                )
            if others and not overwrite:
                raise taken(self.address, f"{len(others)} files that are no pushed run lie there")
        if old is not None and old != wanted and not overwrite:
            raise taken(self.address, f"'{old.name}' lies there, pushed with other files")

    def _send_all(self, contents: Contents, wanted: Manifest, report: Report) -> int:
        todo = [name for name in contents.order if self.sent.get(name) != wanted.files[name]]
        total, done = sum(wanted.files[name].size for name in todo), 0
        try:
            for name in todo:
                self.sent.pop(name, None)
                self.send(name, contents.items[name])
                self.sent[name] = wanted.files[name]
                done += wanted.files[name].size
                self.unnoted += wanted.files[name].size + BLOCK // 8
                report(done, total)
                if self.unnoted >= NOTED:
                    self._note(wanted)
        except BaseException:
            with suppress(Exception):
                self._note(wanted)
            raise
        return done

    def send(self, name: str, item: Item) -> None:
        """Send a file, under a temporary name where a part of it could be seen."""
        path = self.path(name)
        folder, _, last = path.rpartition("/")
        target = path if self.whole else f"{folder}/.{last}{PART}"
        with reaching(self.address):
            if not self.whole:
                self.fs.makedirs(folder, exist_ok=True)
            if item.path is not None:
                self.fs.put_file(str(item.path), target)
            else:
                self.fs.pipe_file(target, item.data)
            if target != path:
                if self.fs.exists(path):
                    self.fs.rm_file(path)
                self.fs.mv(target, path)

    def _note(self, wanted: Manifest) -> None:
        """Write the list of what was sent."""
        listed = Manifest(wanted.name, wanted.run_id, self.sent)
        self.send(UNFINISHED, Item.of(listed.to_json()))
        self.unnoted = 0

    def listed(self, name: str) -> Manifest | None:
        """Return a list of files; None if it cannot be read: then it counts as not there."""
        data = self.read(name, MOST_BYTES)
        with suppress(SlotlabError):
            return None if data is None else Manifest.of_json(data, name)
        return Manifest("", "", {})

    def _remove(self, name: str) -> None:
        with reaching(self.address), suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))


@contextmanager
def reaching(address: Address) -> Iterator[None]:
    """Say of whatever a file system or a network raises what could not be reached.

    Raises:
        SlotlabError: with the first line of the error.
    """
    try:
        yield
    except (SlotlabError, KeyboardInterrupt):
        raise
    except PermissionError as error:
        raise SlotlabError(f"{address.text}: permission denied ({first_line(error)})") from error
    except Exception as error:  # each library has errors of its own
        text = f"{address.text} cannot be read or written: {first_line(error)}"
        raise SlotlabError(f"{text}; the same command goes on from what is there") from error


def first_line(error: BaseException) -> str:
    """Return what an exception says in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _s3(address: Address) -> Any:
    try:
        import s3fs
    except ImportError:
        raise missing(address.scheme, EXTRAS[address.scheme], "s3fs") from None
    return s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)


def _ssh(address: Address) -> tuple[Any, str]:
    """Connect by asyncssh, which knows hosts and keys as `ssh` does; an unknown host is refused."""
    try:
        from sshfs import SSHFileSystem
    except ImportError:
        raise missing(address.scheme, EXTRAS[address.scheme], "sshfs") from None
    host, slash, path = address.rest.partition("/")
    if not slash:
        raise SlotlabError(f"{address.text}: it names no folder; write {address.scheme}://USER@HOST/FOLDER")
    user, _, name = host.rpartition("@")
    name, _, port = name.partition(":")
    if port and not port.isdecimal():
        raise SlotlabError(f"{address.text}: the port {port!r} is no number")
    # Of sshfs itself no host is unknown; this is asyncssh's own default, ~/.ssh/known_hosts.
    options: dict[str, Any] = {"known_hosts": (), "skip_instance_cache": True}
    options |= {"username": user} if user else {}
    return SSHFileSystem(name, **options, **({"port": int(port)} if port else {})), f"/{path}"
