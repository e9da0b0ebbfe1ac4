"""A trained run that takes images apart into slots, and paints whatever slots it is given.

Axes: B images, K slots, D slot width, C channels, H rows, W columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Batch, Decoded, Slots
from slotlab.framework.data.loader import Loader, evaluation_loader, to_uint8
from slotlab.framework.data.source import known_splits
from slotlab.framework.model.anneal import load_state
from slotlab.framework.model.build import build_model
from slotlab.framework.model.check import check_checkpoint
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.randomness.seeds import painting, streams
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.versions import check_versions
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.load import LoadedSpec, load_spec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest
from slotlab.registry.errors import describe


@dataclass(frozen=True)
class Seen:
    """Some images of a split, and the slots that the model finds in them."""

    split: str
    positions: tuple[int, ...]
    batch: Batch
    slots: Slots
    attention_BKHW: Tensor
    """float32, brought to the images' size; sums to one over K."""


@dataclass(frozen=True)
class Composed:
    """Pictures that were painted from slots."""

    images_BCHW: Tensor
    """uint8 of shape (B, 3, H, W)."""
    masks_BKHW: Tensor | None = None
    """float32 at the images' size, summing to one over K; None for decoders without masks."""
    parts_BKCHW: Tensor | None = None
    """Each slot's own picture, uint8; None for decoders without parts."""

    def cutouts(self, ground: float = 1.0) -> Tensor | None:
        """Return each slot's picture where its mask is, uint8 (B, K, C, H, W), on gray of 0 to 1.

        1 is white, as in the figures of Locatello et al. 2020. None without masks or parts.
        """
        if self.masks_BKHW is None or self.parts_BKCHW is None:
            return None
        mask_BK1HW = self.masks_BKHW[:, :, None]
        mixed_BKCHW = mask_BK1HW * self.parts_BKCHW + (1 - mask_BK1HW) * (255 * ground)
        return mixed_BKCHW.round().to(torch.uint8)


@dataclass(frozen=True, eq=False)
class Composer:
    """The model of a run with its weights, and its data."""

    loaded: LoadedSpec
    engine: Engine
    model: SlotModel
    step: int
    """Of the weights."""
    run: RunFolder | None = None
    _loaders: dict[str, Loader] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls, path: Path, *, device: torch.device, sets: Sequence[str] = (), trust: Ask = refuse
    ) -> "Composer":
        """Open a trained run; `sets` lays assignments over its resolved spec.

        Its plugins are refused if the run is another user's, unless `trust` lets them through.

        Raises:
            SlotlabError: if it is no run folder, has no weights, or they do not fit its spec.
        """
        run = RunFolder.open(path)
        loaded = load_spec(run.spec, sets=sets, trust=trust, of_run=True)
        check_versions(run, loaded.spec)
        if problems := list(check_checkpoint(loaded.spec)):
            raise loaded.error(problems)
        weights = run.load_weights(loaded.spec.evaluation.checkpoint)
        model = build_model(loaded.spec)
        try:
            load_state(loaded.spec, model, weights.model, weights.step)
        except RuntimeError as error:
            where = run.checkpoints.folder
            raise SlotlabError(f"the weights in {where} do not fit {run.spec}: {error}") from None
        return cls.of(loaded, model, device=device, step=weights.step, run=run)

    @classmethod
    def of(
        cls,
        loaded: LoadedSpec,
        model: SlotModel,
        *,
        device: torch.device,
        step: int = 0,
        run: RunFolder | None = None,
    ) -> "Composer":
        """Return the composer of a model that is already in memory."""
        engine = Engine.open(loaded.spec, device, warn=lambda text: None)
        return cls(loaded, engine, engine.place(model).eval(), step, run)

    @property
    def spec(self) -> ExperimentSpec:
        """The run's spec."""
        return self.loaded.spec

    def folder(self, name: str) -> Path:
        """Return where composed pictures of this name belong.

        Raises:
            SlotlabError: for a model that is of no run.
        """
        if self.run is None:
            raise SlotlabError("the model is of no run folder; say where the pictures go with --out DIR")
        return self.run.composition(name)

    def loader(self, split: str) -> Loader:
        """Return the images of a split, in the dataset's own order, under the run's protocol.

        Raises:
            SlotlabError: if there is no such split, or its data cannot be read.
        """
        if split not in self._loaders:
            known = known_splits(self.spec.data)
            if split not in known:
                name, hint = self.spec.data.dataset.name, f"{suggest(split, known)}"
                raise SlotlabError(f"'{name}' has no split '{split}'{hint} (splits: {', '.join(known)})")
            try:
                loader = evaluation_loader(self.engine.spec, self.engine.placement, split)
            except PathProblem as problem:
                raise self.loaded.error([problem]) from None
            self._loaders[split] = replace(loader, rank=0, processes=1)  # one process composes for all
        return self._loaders[split]

    def look(self, split: str, positions: Sequence[int]) -> Seen:
        """Read images of a split by their positions, and find their slots.

        The slots are those of the run's evaluation: image `positions[i]` draws from its own stream.

        Raises:
            SlotlabError: if there is no such split or position.
        """
        loader = self.loader(split)
        for position in positions:
            if not 0 <= position < len(loader.dataset):
                last = len(loader.dataset) - 1
                raise SlotlabError(f"split '{split}' has no image {position}: they are 0 to {last}")
        # At once, whatever the loader's batch size: who asks for images has room for them.
        batch = next(replace(loader, batch_size=max(len(positions), 1)).epoch(list(positions)))
        slots, attention_BKHW = self.encode(batch.images_BCHW, positions)
        return Seen(split, tuple(positions), batch, slots, attention_BKHW)

    @torch.no_grad()
    def encode(self, images_BCHW: Tensor, positions: Sequence[int]) -> tuple[Slots, Tensor]:
        """Return slots, and attention (B, K, H, W) at the images' size.

        Args:
            images_BCHW: float, in the spec's value range.
            positions: which random stream each image's initial slots draw from.
        """
        self.model.eval()
        noise = streams(self.spec.seed, positions, images_BCHW.device)
        encoded = self.model.encode(images_BCHW, num_slots=self.spec.evaluation.slots, generator=noise)
        size = (images_BCHW.shape[2], images_BCHW.shape[3])
        return encoded.grouped.slots, resized(encoded.attention_BKHW.float(), size)

    @torch.no_grad()
    def decode(
        self, slots: Slots, *, seed: int | None = None, positions: Sequence[int] | None = None
    ) -> Composed:
        """Paint slots, of any number that the decoder takes, all images at once.

        A decoder that draws (diffusion) gives each picture its own stream, of `seed` (None: the
        spec's) and the picture's number in `positions` (None: from 0). With an image's slots, the spec's
        seed and the image's position, the picture is the reconstruction that evaluation measures.

        Raises:
            SlotlabError: if the model's predictions are no images, or the decoder fails on so many slots.
        """
        self.model.eval()
        number = slots.vectors_BKD.shape[0]
        places = range(number) if positions is None else positions
        decoded = self._paint(slots, self.spec.seed if seed is None else seed, places)
        images_BCHW = self.picture(decoded.prediction_BCHW)
        if images_BCHW is None:
            name = self.spec.objective.name
            raise SlotlabError(
                f"the objective '{name}' predicts no images: slots cannot be shown as pictures"
            )
        size = (images_BCHW.shape[2], images_BCHW.shape[3])
        masks_BKHW, parts_BKCHW = decoded.masks_BKHW, decoded.parts_BKCHW
        if parts_BKCHW is not None:
            flat = self.picture(parts_BKCHW.flatten(0, 1))
            parts_BKCHW = None if flat is None else flat.reshape(number, -1, *flat.shape[1:])
        return Composed(
            images_BCHW, None if masks_BKHW is None else resized(masks_BKHW.float(), size), parts_BKCHW
        )

    def picture(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return a prediction as uint8 images, or None if it is no image."""
        images_BCHW = self.model.objective.to_image(prediction_BCHW)
        return None if images_BCHW is None else to_uint8(images_BCHW, self.spec.data.bounds)

    def _paint(self, slots: Slots, seed: int, positions: Sequence[int]) -> Decoded:
        try:
            return self.model.paint(slots, generator=painting(seed, positions, slots.vectors_BKD.device))
        except SlotlabError:
            raise
        except Exception as error:
            number, ref = slots.vectors_BKD.shape[1], self.spec.model.decoder
            text = describe(error, ref.registered.path)
            raise SlotlabError(f"the decoder '{ref.name}' cannot paint {number} slots: {text}") from error


def missing_parts(composer: Composer, composed: Composed) -> str | None:
    """Say what keeps slots from being shown one by one; None if nothing does."""
    lacking = {"masks": composed.masks_BKHW, "pictures of single slots": composed.parts_BKCHW}
    names = [name for name, tensor in lacking.items() if tensor is None]
    if not names:
        return None
    decoder = composer.spec.model.decoder.name
    return f"the decoder '{decoder}' gives no {' and no '.join(names)}: what it lacks is left out"


def resized(masks_BKHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring masks to a size bilinearly, which keeps their sum."""
    if tuple(masks_BKHW.shape[2:]) == size:
        return masks_BKHW
    return F.interpolate(masks_BKHW, size=size, mode="bilinear", align_corners=False)
