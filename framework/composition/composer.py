"""A trained run that finds the slots of images, and decodes any slots into pictures.

Axes: B images, K slots, D slot width, C channels, H rows, W columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from slotlab.framework.contracts import Batch, Decoded, Model, PaintsInSteps, PaintsSlots, RandomSource, Slots
from slotlab.framework.contracts.component_calls import place_of
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.loaders import evaluation_loader
from slotlab.framework.data.pixels import to_uint8
from slotlab.framework.data.source import known_splits
from slotlab.framework.evaluation.evaluate import find_slots
from slotlab.framework.evaluation.trained_run import Subject
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.masks import kept_attention, resized_masks
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.randomness.seeds import painting
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.load import LoadedSpec, load_spec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest
from slotlab.registry.errors import describe


@dataclass(frozen=True)
class Seen:
    """Images of a split, and the slots that the model finds in them."""

    split: str
    positions: tuple[int, ...]
    batch: Batch
    slots: Slots
    attention_BKHW: Tensor
    """float32 at the images' size; sums to one over K."""


@dataclass(frozen=True)
class Composed:
    """Pictures that were decoded from slots."""

    images_BCHW: Tensor
    """uint8 of shape (B, 3, H, W)."""
    masks_BKHW: Tensor | None = None
    """float32 at the images' size, summing to one over K; None for decoders without masks."""
    parts_BKCHW: Tensor | None = None
    """The picture of each slot alone, uint8; None for decoders without parts."""

    def cutouts(self, ground: float = 1.0) -> Tensor | None:
        """Return each slot's picture where its mask is, uint8 (B, K, C, H, W), on a gray ground.

        `ground` goes from 0 (black) to 1 (white, as in the figures of Locatello et al. 2020). None without
        masks or parts.
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
    model: Model
    step: int
    """The step of the weights."""
    run: RunFolder | None = None
    _loaders: dict[str, Loader] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls, path: Path, *, device: torch.device, sets: Sequence[str] = (), trust: Ask = refuse
    ) -> "Composer":
        """Open a trained run; `sets` changes settings of its resolved spec.

        The plugins of another user's run are refused, unless `trust` accepts them.

        Raises:
            SlotlabError: if it is not a run folder, has no weights, or they do not fit its spec.
        """
        run = RunFolder.open(path)
        loaded = load_spec(run.spec, sets=sets, trust=trust, of_run=True)
        subject = Subject.open(run, loaded, device)
        model = subject.model(loaded.spec)
        return cls(loaded, subject.engine, model.eval(), subject.weights.step, run)

    @classmethod
    def of(
        cls,
        loaded: LoadedSpec,
        model: Model,
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
        """Return the folder for composed pictures of this name.

        Raises:
            SlotlabError: for a model that belongs to no run.
        """
        if self.run is None:
            raise SlotlabError("the model belongs to no run folder; choose one with --out DIR")
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
            # One process composes for all; of videos, each frame is a picture.
            self._loaders[split] = replace(loader, rank=0, processes=1, clips=None)
        return self._loaders[split]

    def look(self, split: str, positions: Sequence[int]) -> Seen:
        """Read images of a split by their positions, and find their slots.

        The slots are those of the run's evaluation: image `positions[i]` draws from its own stream.

        Raises:
            SlotlabError: if there is no such split or position.
        """
        batch = self.read(split, positions)
        slots, attention_BKHW = self.encode(batch.images_BCHW, positions)
        return Seen(split, tuple(positions), batch, slots, attention_BKHW)

    def read(self, split: str, positions: Sequence[int]) -> Batch:
        """Read images of a split by their positions, as the model sees them.

        Raises:
            SlotlabError: if there is no such split or position.
        """
        loader = self.loader(split)
        for position in positions:
            if not 0 <= position < len(loader.dataset):
                last = len(loader.dataset) - 1
                raise SlotlabError(f"split '{split}' has no image {position}: they are 0 to {last}")
        # At once, whatever the loader's batch size: the caller has room for the images.
        return next(replace(loader, batch_size=max(len(positions), 1)).epoch(list(positions)))

    @torch.no_grad()
    def encode(self, images_BCHW: Tensor, positions: Sequence[int]) -> tuple[Slots, Tensor]:
        """Return slots, and attention as float32 (B, K, H, W) at the images' size.

        Args:
            images_BCHW: float, in the spec's value range.
            positions: of the images in the split, which seed the noise of their initial slots.
        """
        found = find_slots(self.spec, self.model, images_BCHW, positions)
        size = (images_BCHW.shape[2], images_BCHW.shape[3])
        attention_BKHW = kept_attention(found)
        if attention_BKHW is None:
            raise SlotlabError(
                f"the model '{self.spec.model.name}' does not tell where in an image a slot is"
            )
        return found.slots, resized_masks(attention_BKHW, size)

    @torch.no_grad()
    def decode(
        self,
        slots: Slots,
        *,
        seed: int | None = None,
        positions: Sequence[int] | None = None,
        noise: RandomSource = None,
    ) -> Composed:
        """Decode slots, of any number that the decoder takes, all images at once.

        A stochastic decoder (diffusion) draws each picture from its own random stream, which follows from
        `seed` (None: the spec's) and the picture's number in `positions` (None: from 0). With an image's
        slots, the spec's seed and the image's position, the picture is the reconstruction that evaluation
        measures. `noise` may be given in place of both.

        Raises:
            SlotlabError: if the model's predictions are not images, or the decoder fails on so many slots.
        """
        self.model.eval()
        number = slots.vectors_BKD.shape[0]
        if noise is None:
            places = range(number) if positions is None else positions
            noise = painting(self.spec.seed if seed is None else seed, places, slots.vectors_BKD.device)
        decoded = self._paint(slots, noise)
        images_BCHW = self.picture(decoded.prediction_BCHW)
        if images_BCHW is None:
            who = self.part("objective")
            raise SlotlabError(f"the {who} predicts no images: slots cannot be shown as pictures")
        size = (images_BCHW.shape[2], images_BCHW.shape[3])
        masks_BKHW, parts_BKCHW = decoded.masks_BKHW, decoded.parts_BKCHW
        if parts_BKCHW is not None:
            flat = self.picture(parts_BKCHW.flatten(0, 1))
            parts_BKCHW = None if flat is None else flat.reshape(number, -1, *flat.shape[1:])
        return Composed(
            images_BCHW, None if masks_BKHW is None else resized_masks(masks_BKHW, size), parts_BKCHW
        )

    @torch.no_grad()
    def strip(self, slots: Slots, *, seed: int, positions: Sequence[int]) -> Iterator[Tensor] | None:
        """Yield uint8 pictures (B, 3, H, W) on the way to what `decode` makes of the same arguments.

        None for a model that does not make pictures step by step.
        """
        model = self.model.eval()
        if not isinstance(model, PaintsInSteps):
            return None
        noise = painting(seed, positions, slots.vectors_BKD.device)
        predictions = model.paint_steps(slots, generator=noise)
        if predictions is None:
            return None
        made = (self.picture(prediction_BCHW) for prediction_BCHW in predictions)
        return (picture_BCHW for picture_BCHW in made if picture_BCHW is not None)

    def picture(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return a prediction as uint8 images, or None if it is not an image."""
        images_BCHW = self.painter.to_image(prediction_BCHW)
        return None if images_BCHW is None else to_uint8(images_BCHW, self.spec.data.bounds)

    def _paint(self, slots: Slots, noise: RandomSource) -> Decoded:
        try:
            return self.painter.paint(slots, generator=noise)
        except SlotlabError:
            raise
        except Exception as error:
            number, text = slots.vectors_BKD.shape[1], f"{describe(error)} ({place_of(error)})"
            raise SlotlabError(f"the {self.part('decoder')} cannot paint {number} slots: {text}") from error

    @property
    def painter(self) -> PaintsSlots:
        """The model, as one that makes pictures of slots.

        Raises:
            SlotlabError: if it is none.
        """
        if not isinstance(self.model, PaintsSlots):
            raise SlotlabError(f"the model '{self.spec.model.name}' makes no pictures of slots")
        return self.model

    def part(self, name: str) -> str:
        """Return how messages name a part of the model, or the model if it has no such part."""
        return self.model.names.get(name, f"model '{self.spec.model.name}'")


def missing_parts(composer: Composer, composed: Composed) -> str | None:
    """Return why slots cannot be shown one by one; None if they can."""
    lacking = {"masks": composed.masks_BKHW, "pictures of single slots": composed.parts_BKCHW}
    names = [name for name, tensor in lacking.items() if tensor is None]
    if not names:
        return None
    return f"the {composer.part('decoder')} gives no {' and no '.join(names)}: what it lacks is left out"
