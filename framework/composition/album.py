"""Write composed pictures to a folder: a PNG each, a sheet of all, and a JSON of how they were made.

The folder is written beside its final place and then renamed.
"""

import io
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from slotlab.framework.system.atomic import clear_leavings, leavings
from slotlab.framework.system.json_files import write_json
from slotlab.framework.system.locks import exclusive
from slotlab.framework.system.privacy import nameless_data
from slotlab.framework.system.terminal import visible
from slotlab.registry import SlotlabError

RECORD = "composition.json"
SHEET = "grid.png"
ON_SHEET = 100
"""About the largest number of pictures on the sheet."""
_SIDE, _GAP, _LINE = 96, 6, 13
_PAPER, _INK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class AlbumPicture:
    """One picture, written as NAME.png."""

    name: str
    image_CHW: Tensor
    """uint8, with three channels or one (a mask)."""
    caption: str = ""
    made_of: Mapping[str, Any] = field(default_factory=dict)
    """How it was composed: JSON data."""
    on_sheet: bool = True


AlbumRow = Sequence[AlbumPicture]
"""Pictures side by side on the sheet."""


@dataclass
class CompositionAlbum:
    """A folder of composed pictures while it is written."""

    place: Path
    columns: int | None = None
    """Pictures per row of the sheet; None keeps the rows as they were added."""
    shown: list[AlbumRow] = field(default_factory=list)
    listed: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: AlbumRow) -> None:
        """Write the pictures of a row."""
        for tile in row:
            picture(tile.image_CHW).save(self.place / f"{tile.name}.png")
            self.listed.append({"file": f"{tile.name}.png", **tile.made_of})
        if sum(map(len, self.shown)) < ON_SHEET:
            self.shown.append([tile for tile in row if tile.on_sheet])

    def close(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write the sheet and the record, and return the record."""
        rows = self.shown
        if self.columns is not None:
            tiles = [tile for row in rows for tile in row][:ON_SHEET]
            rows = [tiles[start : start + self.columns] for start in range(0, len(tiles), self.columns)]
        (self.place / SHEET).write_bytes(sheet(rows))
        record = {"format": 1, **facts, "sheet": SHEET, "pictures": self.listed}
        write_json(self.place / RECORD, nameless_data(record))
        return record


def refuse_foreign(folder: Path) -> None:
    """Refuse to overwrite anything but an earlier album.

    Raises:
        SlotlabError: if the folder holds something else.
    """
    if folder.exists() and not (folder / RECORD).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise SlotlabError(f"{folder} exists and holds no composed pictures; choose another with --out DIR")


@contextmanager
def writing(folder: Path, *, columns: int | None = None) -> Iterator[CompositionAlbum]:
    """Yield an album that replaces `folder` if the block ends without an error.

    Args:
        folder: created if it does not exist.
        columns: pictures per row of the sheet; None keeps the rows as they are added.

    Raises:
        SlotlabError: if the folder holds anything but an earlier album.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear_leavings(leavings(folder.parent, of=folder.name))
    refuse_foreign(folder)
    new = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    old = new.with_suffix(".old")
    new.mkdir()
    try:
        with ExitStack() as stack:  # a locked folder is not cleared as a leftover
            stack.enter_context(exclusive(new, f"{new} is being written by another process"))
            yield CompositionAlbum(new, columns)
            if folder.exists():
                stack.enter_context(exclusive(folder, f"{folder} is being written by another process"))
                folder.replace(old)
            new.replace(folder)
    finally:
        if old.exists() and not folder.exists():  # stopped between the two renames
            old.replace(folder)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def picture(image_CHW: Tensor) -> Image.Image:
    """Return a uint8 image (C, H, W) with three channels or one as a PIL image."""
    pixels_HWC: NDArray[np.uint8] = np.ascontiguousarray(image_CHW.permute(1, 2, 0).cpu().numpy())
    return Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)


def sheet(rows: Sequence[AlbumRow]) -> bytes:
    """Return a PNG with rows of pictures above their captions; small pictures are enlarged."""
    strips = [strip(row) for row in rows if row]
    width = max((one.width for one in strips), default=1)
    paper = Image.new("RGB", (width + _GAP, sum(one.height for one in strips) + _GAP), _PAPER)
    top = _GAP
    for one in strips:
        paper.paste(one, (_GAP, top))
        top += one.height
    buffer = io.BytesIO()
    paper.save(buffer, "PNG")
    return buffer.getvalue()


def strip(row: AlbumRow) -> Image.Image:
    """Return one row of pictures above their captions."""
    lines = max(tile.caption.count("\n") + 1 if tile.caption else 0 for tile in row)
    font: Any = ImageFont.load_default(10)
    tiles = []
    for tile in row:
        image = picture(tile.image_CHW).convert("RGB")
        factor = max(1, round(_SIDE / image.height))
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        text = visible(tile.caption).splitlines()
        wide = max([image.width, *(int(font.getlength(line)) + 2 for line in text)])
        paper = Image.new("RGB", (wide + _GAP, image.height + lines * _LINE + _GAP), _PAPER)
        paper.paste(image, (0, 0))
        draw = ImageDraw.Draw(paper)
        for number, line in enumerate(text):
            draw.text((0, image.height + number * _LINE), line, _INK, font)
        tiles.append(paper)
    whole = Image.new("RGB", (sum(one.width for one in tiles), max(one.height for one in tiles)), _PAPER)
    left = 0
    for one in tiles:
        whole.paste(one, (left, 0))
        left += one.width
    return whole
