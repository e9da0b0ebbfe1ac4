"""What a model may be able to do besides giving losses: what evaluation, figures and the studio ask for.

They look for the methods, never for the model: one without them is not asked.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from slotlab.framework.contracts.data import Batch
from slotlab.framework.contracts.model import Decoded, RandomSource, Slots
from slotlab.framework.contracts.trained_model import Found, Model, Reconstruction


@runtime_checkable
class FindsSlots(Protocol):
    """A model with slots."""

    def find_slots(
        self, images_BCHW: Tensor, *, num_slots: int | None = None, generator: RandomSource = None
    ) -> Found:
        """Find the slots of images (B, 3, H, W), float, in the spec's value range."""

    @property
    def fixed_num_slots(self) -> bool:
        """Whether it can find no other number of slots than it was built with."""


@runtime_checkable
class Reconstructs(Protocol):
    """A model that segments or reconstructs images: it can be evaluated image by image."""

    def reconstruct(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        painting: RandomSource = None,
    ) -> Reconstruction:
        """Return slots, masks and pictures of images (B, 3, H, W), float, in the spec's value range.

        Args:
            images_BCHW: float, in the spec's value range.
            num_slots: another number than the trained one.
            generator: the noise of slots.
            painting: the noise of pictures.

        Raises:
            SlotlabError: naming the part, if one raises.
        """


@runtime_checkable
class TakesFeatures(Protocol):
    """A model whose frozen encoder's features may come from a store, rounded to 16 bits.

    Its `losses` uses `Batch.features_BCHW` and its `reconstruct` an argument `features_BCHW`, where they are
    not None, in place of calling the encoder. It rounds what the encoder computes in the same way
    (`framework.model.half_features`), so that a store changes nothing but the time.

    Its child `encoder` (`Freezable`) makes a feature map of images (B, 3, H, W) in the spec's value range. A
    child is no member of a protocol: from Python 3.12 on they are looked up without torch, and not found.
    """

    @property
    def half_features(self) -> bool:
        """Whether it does so: what `ModelContext.half_features` said."""


@runtime_checkable
class TakesTargets(Protocol):
    """A model whose objective's target may come from a store, rounded to 16 bits; classes are exact.

    Its `losses` uses `Batch.target_BCHW`, where it is not None, in place of calling the objective's `target`.
    It rounds what the objective computes in the same way (`framework.model.half_targets`). Its child
    `objective` is a `StorableTarget`.
    """

    @property
    def half_targets(self) -> bool:
        """Whether it does so: what `ModelContext.half_targets` said."""


class SlotSource(Protocol):
    """A frozen model that finds slots in clips, for another one that is trained on them."""

    @property
    def made_by(self) -> str:
        """The command that stores these slots, for messages."""

    @property
    def once(self) -> bool:
        """Whether what it draws for a clip is the same each time: it depends on the clip's id alone."""

    def facts(self) -> dict[str, Any]:
        """Return what decides about the slots besides the clips and the streams, as JSON data."""

    def draws(self, batch: Batch) -> bool:
        """Return whether finding the slots of these clips takes random numbers."""

    def find(self, batch: Batch, generator: RandomSource = None) -> Tensor:
        """Return the slots of all frames, float32 (clips, T, K, D), without gradients.

        The true masks of first frames are read by one that is told of them (`Model.told`).
        """


@runtime_checkable
class TakesSlots(Protocol):
    """A model that is trained on the slots that a frozen one finds in clips, which may come from a store.

    Its `losses` uses `Batch.slots_BKD`, where they are not None, in place of finding them.
    """

    @property
    def slot_source(self) -> SlotSource:
        """What finds them."""


@runtime_checkable
class PaintsSlots(Protocol):
    """A model that makes pictures of any slots, also mixed or drawn ones that belong to no image."""

    def paint(self, slots: Slots, *, generator: RandomSource = None) -> Decoded:
        """Decode slots alone."""

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return a prediction as images in the spec's value range, or None if it is not an image."""


@runtime_checkable
class PaintsInSteps(PaintsSlots, Protocol):
    """A model that may make pictures in several steps, such as one that takes noise away."""

    def paint_steps(self, slots: Slots, *, generator: RandomSource = None) -> Iterator[Tensor] | None:
        """Yield predictions on the way to that of `paint`; None if there is but one step."""


@runtime_checkable
class HasBaselines(Protocol):
    """A model that is compared with others for which nothing has to be trained.

    An evaluation measures them on the same images, each under its name beside the trivial segmentations.
    """

    def baselines(self) -> Mapping[str, Model]:
        """Return them by name, on the model's device: each `Reconstructs`, and reads clips if it does."""


@runtime_checkable
class HasCodec(Protocol):
    """A model whose pictures are made by a codec."""

    @property
    def has_codec(self) -> bool:
        """Whether they are, with its present settings."""

    def through_codec(self, images_BCHW: Tensor) -> Tensor:
        """Return images as they come back from the codec: as near as a picture can come."""


@runtime_checkable
class Foretells(Protocol):
    """A model of clips that sees their first frames alone, and foretells the slots of the others."""

    @property
    def history(self) -> int:
        """How many frames it sees."""

    def foretell(self, slots_BTKD: Tensor, steps: int) -> Tensor:
        """Return the slots of so many frames that follow those of T frames, float32 (B, steps, K, D).

        Raises:
            SlotlabError: naming the part, if one raises or breaks its promise.
        """
