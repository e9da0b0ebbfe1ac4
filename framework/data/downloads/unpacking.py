"""Archives, unpacked whole or not at all."""

import os
import shutil
import tarfile
import zipfile
from pathlib import Path

from slotlab.framework.data.downloads.transfer import check_space
from slotlab.registry import SlotlabError


def unpack(archive: Path, folder: Path, inner: tuple[str, ...] = ()) -> None:
    """Unpack a ZIP or tar archive into a folder; files that are there with the same names are replaced.

    All of it is unpacked beside its place before the first file gets there. `inner` are archives in the
    archive, which are unpacked where they lie.

    Raises:
        SlotlabError: if it is damaged, holds a path that leads out of the folder, or does not fit on the
            disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{archive.name}.unpacking"
    shutil.rmtree(beside, ignore_errors=True)  # of a command that was killed
    try:
        extract(archive, beside)
        for name in inner:
            extract(beside / name, (beside / name).parent)
            (beside / name).unlink()
        move_into(beside, folder)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        text = f"{archive} cannot be unpacked: {reason}"
        raise SlotlabError(f"{text}; if it is damaged, remove it and fetch it again") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def extract(archive: Path, folder: Path) -> None:
    """Extract all members, none of which may lie outside of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as members:
            check_space(folder, sum(member.file_size for member in members.infolist()))
            for member in members.infolist():
                refuse_outside(folder, member.filename)
            members.extractall(folder)
        return
    with tarfile.open(archive) as members:
        members.extractall(folder, filter="data")


def refuse_outside(folder: Path, name: str) -> None:
    """Refuse a member whose path leads out of the folder (tar's own filter does that for tar)."""
    if not Path(os.path.normpath(folder / name)).is_relative_to(folder):
        raise OSError(f"the path {name!r} leads out of the folder")


def move_into(source: Path, folder: Path) -> None:
    """Move all files of a folder to the same places in another."""
    for path, _, files in os.walk(source):
        place = folder / Path(path).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for name in files:
            Path(path, name).replace(place / name)
