"""Score label masks from any program like those of a model: two folders of masks, without a spec.

Masks are gray, palette or RGB PNGs, or NumPy arrays, matched by name. Gray and palette masks hold labels, 0
for the true background; RGB masks hold a color per segment, black for 0. Reconstructions can be scored
against images too. Everything that is wrong with the files is reported before any score.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import DataError, DataProblem, Metric, Outcome, Sample
from slotlab.framework.data.formats.exif import Exif
from slotlab.framework.data.formats.mask_pictures import PLAIN, MaskCode
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.evaluation.rows import Evaluation, Ledger
from slotlab.framework.evaluation.score_folders import ScoredFiles
from slotlab.framework.evaluation.score_reading import (
    agree,
    read_labels,
    read_pixels,
)
from slotlab.framework.runs.folder import MODEL

BOUNDS = (0.0, 1.0)
"""The value range of images; metrics that are defined on another range convert."""
WORDS = {
    "masks_BKHW": "label masks do not tell how soft the masks were",
    "reconstructions_BCHW": "no reconstructions are given; add --images and --recon",
}
"""Why a metric is left out, by the missing field of `Outcome`."""
_TOGETHER = 32


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The masks and pictures of one image, as read from the files."""

    id: str
    true_HW: Tensor
    predicted_HW: Tensor
    image_CHW: Tensor | None
    """uint8."""
    recon_CHW: Tensor | None
    """uint8."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return tuple(self.true_HW.shape)


@dataclass
class Reader:
    """Reads the files that belong together, and collects what is wrong with them."""

    files: ScoredFiles
    preparation: Preparation | None = None
    """Crops and resizes true masks and images first; None leaves them as they are."""
    slots: int | None = None
    """How many slots the model had; None if unknown."""
    code: MaskCode = PLAIN
    """Says which labels of true masks are background and void."""
    exif: Exif | None = None
    """Whether files are rotated by their EXIF orientation; None refuses orientations that differ."""
    problems: list[DataProblem] = field(default_factory=list)

    def read(self, name: str, files: Mapping[str, Path]) -> Scored | None:
        """Return one image; None if something is wrong with it."""
        before = len(self.problems)
        opened = {
            option: self._caught(partial(self.files.open, path, option)) for option, path in files.items()
        }
        if len(self.problems) > before:
            return None
        whole = {option: (files[option], file) for option, file in opened.items()}
        exif = self._caught(lambda: agree(whole, self.exif))
        if exif is None:
            return None
        true_HW = self._caught(lambda: read_labels(*whole["--true"], self.code, exif))
        predicted_HW = self._caught(lambda: read_labels(*whole["--pred"], PLAIN, exif))
        image_CHW = (
            self._caught(lambda: read_pixels(*whole["--images"], exif)) if "--images" in files else None
        )
        recon_CHW = self._caught(lambda: read_pixels(*whole["--recon"], exif)) if "--recon" in files else None
        if true_HW is None or predicted_HW is None or len(self.problems) > before:
            return None
        if self.preparation is not None:
            prepared = self._caught(lambda: self._prepare(name, files, true_HW, image_CHW))
            if prepared is None:
                return None
            true_HW, image_CHW = prepared
        seen = true_HW.shape if self.preparation is None else self.preparation.size
        wanted = {"--pred": true_HW.shape, "--images": seen, "--recon": seen}
        for option, tensor in (("--pred", predicted_HW), ("--images", image_CHW), ("--recon", recon_CHW)):
            if tensor is not None and tensor.shape[-2:] != wanted[option]:
                what = "its true mask" if wanted[option] == true_HW.shape else "the protocol's images"
                text = f"it has {_size(tensor)} pixels, {what} {by(wanted[option])}"
                hint = "" if self.preparation is None else " once it is prepared"
                self.problems.append(DataProblem(str(files[option]), text + hint))
        if self.slots is not None and int(predicted_HW.max()) >= self.slots:
            text = (
                f"it has the label {int(predicted_HW.max())}, {self.slots} slots have 0 to {self.slots - 1}"
            )
            self.problems.append(DataProblem(str(files["--pred"]), text))
        if len(self.problems) > before:
            return None
        return Scored(
            id=name, true_HW=true_HW, predicted_HW=predicted_HW, image_CHW=image_CHW, recon_CHW=recon_CHW
        )

    def _prepare(
        self, name: str, files: Mapping[str, Path], true_HW: Tensor, image_CHW: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        assert self.preparation is not None
        blank_CHW = torch.zeros(3, *true_HW.shape, dtype=torch.uint8)
        raw_CHW = blank_CHW if image_CHW is None else image_CHW
        sample = Sample(id=name, image_CHW=raw_CHW, mask_HW=true_HW, path=str(files["--true"]))
        prepared = self.preparation(sample).sample
        assert prepared.mask_HW is not None
        return prepared.mask_HW, None if image_CHW is None else prepared.image_CHW

    def _caught(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except DataError as error:
            self.problems += error.problems
            return None


def score(
    reader: Reader,
    metrics: Mapping[str, Metric],
    *,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Evaluation, dict[str, int]]:
    """Score all images; the numbers depend neither on their order nor on how they are batched.

    Args:
        reader: of the files.
        metrics: by name, built for images in `BOUNDS`.
        report: called with (images read, images in all).

    Returns:
        The evaluation, and the number of images of each size (`128x128`: columns x rows).

    Raises:
        DataError: with everything that is wrong with the files.
        SlotlabError: if a folder does not exist, or the folders have no name in common.
    """
    names, problems = reader.files.match()
    reader.problems += problems
    ledger = Ledger(metrics, {MODEL: []})
    sizes: Counter[str] = Counter()
    done = 0
    for group in _together(reader, names, report):
        if not reader.problems:  # otherwise the errors are shown instead
            ledger.add(
                MODEL,
                range(done, done + len(group)),
                [one.id for one in group],
                outcome_of(group),
                WORDS,
            )
        sizes[_size(group[0].true_HW)] += len(group)
        done += len(group)
    if reader.problems:
        raise DataError(*sorted(reader.problems))
    return ledger.close(), dict(sizes)


def _together(
    reader: Reader, names: Sequence[tuple[str, Mapping[str, Path]]], report: Callable[[int, int], None]
) -> Iterator[list[Scored]]:
    """Yield images of one size together, a few at a time, in their order."""

    def read_all() -> Iterator[Scored]:
        for place, (name, files) in enumerate(names):
            one = reader.read(name, files)
            report(place + 1, len(names))
            if one is not None:
                yield one

    for _, alike in groupby(read_all(), key=lambda one: one.shape):
        while group := list(islice(alike, _TOGETHER)):
            yield group


def outcome_of(group: Sequence[Scored]) -> Outcome:
    """Return images of one size as one outcome."""
    true_BHW = torch.stack([one.true_HW for one in group]).to(torch.int64)
    images = [one.image_CHW for one in group if one.image_CHW is not None]
    recons = [one.recon_CHW for one in group if one.recon_CHW is not None]
    blank_BCHW = torch.zeros(1, 1, 1, 1).expand(len(group), 3, *true_BHW.shape[1:])
    return Outcome(
        images_BCHW=torch.stack(images).float() / 255 if images else blank_BCHW,
        true_BHW=true_BHW,
        predicted_BHW=torch.stack([one.predicted_HW for one in group]).to(torch.int64),
        reconstructions_BCHW=torch.stack(recons).float() / 255 if recons else None,
    )


def _size(pixels_xHW: Tensor) -> str:
    return by(pixels_xHW.shape[-2:])


def by(size: Sequence[int]) -> str:
    """Return (rows, columns) as `320x240`, columns first."""
    return f"{size[1]}x{size[0]}"
