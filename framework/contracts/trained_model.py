"""What is trained: the contract of the kind `model`, and what a model may be able to do.

A model computes the losses of a batch; nothing else is required. Evaluation, figures, composition and the
studio ask what else it can do (`model_capabilities`), never which model it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Generator, Tensor, nn

from slotlab.framework.contracts.capabilities import Cue
from slotlab.framework.contracts.component_calls import called
from slotlab.framework.contracts.data import Batch, Field, Size
from slotlab.framework.contracts.model import Decoded, Losses, RandomSource, Slots
from slotlab.registry import ComponentConfig, ComponentError, Ref, SlotlabError


class Parts(Protocol):
    """Builds the components that a model's settings name, and collects what is wrong with them."""

    @property
    def failed(self) -> bool:
        """Whether anything was wrong so far: `build` then returns what it likes, and is not used."""

    def build(
        self,
        ref: Ref,
        context: Any,
        *path: str | int,
        attributes: tuple[str, ...] = (),
        check: Callable[[Any], None] = lambda built: None,
    ) -> Any:
        """Build one component; on a mistake note it and return None.

        Args:
            ref: the component.
            context: what its kind is told.
            path: where the component lies in the model's settings: `"encoder"`.
            attributes: those that the kind's contract requires of what is built.
            check: raises ComponentError for other violations of the contract.
        """

    def mistake(self, text: str, *path: str | int) -> None:
        """Note something else that is wrong, at a path in the model's settings."""

    def objective(self, context: Any) -> Any:
        """Build the spec's `objective`, as `build` does. A model that does not call it has no objective."""

    def auxiliaries(self, context: Any) -> Mapping[str, nn.Module]:
        """Build the spec's `auxiliary` losses, by name; each holds its `weight`, and applies it."""


@dataclass(frozen=True, kw_only=True)
class ModelContext:
    """For models: the images, and what builds the parts."""

    image_size: Size
    parts: Parts
    image_channels: int = 3
    value_range: tuple[float, float] = (-1.0, 1.0)
    """Least and largest value of the images: (-1, 1) or (0, 1), by the spec's protocol."""
    names: Mapping[str, str] = field(default_factory=dict)
    """How messages name the parts: `encoder 'cnn'`, by the part's attribute in the model."""
    half_features: bool = False
    """Whether the frozen encoder's features are rounded to 16 bits (see `TakesFeatures`)."""
    half_targets: bool = False
    """Whether the objective's target is rounded to 16 bits (see `TakesTargets`)."""


class Model(nn.Module, ABC):
    """What is trained. Its children, in the order in which they are set, are its parts.

    The parts are what messages name, what FLOPs are counted for, and what `training.groups` and
    `training.speed.recompute` choose from. All randomness comes from the `generator` arguments.
    """

    supervised: bool = False
    """Whether `losses` reads the batch's true masks, which otherwise need not be loaded."""
    fields: Sequence[Field] = ()
    """What `losses` reads in `Batch.fields`: the dataset must have it."""
    clips: bool = False
    """Whether it reads clips (`Batch.frames`): `losses`, and `find_slots` and `reconstruct`, which are then
    told `frames=T`, get one random stream per clip, and images (clips x T, 3, H, W), clip after clip. What
    they return has a first axis of frames, like the images. A model that does not takes each frame by
    itself."""
    told: Cue | None = None
    """What a model of clips is told of each object in the first frame: `find_slots` and `reconstruct` then
    take `first_masks_BHW`, the true masks of first frames, int64 (clips, H, W), or None; `losses` reads them
    in the batch, and `supervised` is true. Results say what was told, and are not compared with others."""
    compiled: Sequence[str] = ()
    """The parts that `training.speed.compile` compiles, each by itself, as generators must stay outside."""

    def __init__(self, names: Mapping[str, str] | None = None):
        super().__init__()
        self.names = dict(names or {})
        """How messages name the parts, such as `encoder 'cnn'` (`ModelContext.names`)."""

    @property
    def sampling(self) -> Mapping[str, Any] | None:
        """The settings by which it makes pictures (`HasSampling`); None if it has none."""
        return None

    @abstractmethod
    def losses(self, batch: Batch, *, generator: RandomSource = None) -> Losses:
        """Compute the losses of a batch, as in training: scalars, means over the images.

        With one generator per image, in validation, an image's part of them does not depend on its batch.
        """

    @contextmanager
    def promising(self, part: str) -> Iterator[None]:
        """Name a part in the message if it breaks a promise that the block checks."""
        try:
            yield
        except ComponentError as error:
            raise SlotlabError(f"{self.names.get(part, part)}: {error}") from None

    def calling(self, part: str) -> AbstractContextManager[None]:
        """Name a part in the message if it raises."""
        return called(self.names.get(part, part))


@dataclass(frozen=True)
class Found:
    """The slots that a model finds in images."""

    slots: Slots
    attention_BKHW: Tensor | None = None
    """The attention, or whatever shares out the feature map among the slots: not negative, summing to one
    over K at each position; None for a model without it."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of images."""

    indices_BHW: Tensor
    """int64, each in [0, codes)."""
    codes: int
    """How many codes there are."""


@dataclass(frozen=True)
class Reconstruction:
    """What a model makes of images when it is shown nothing but them: what is measured and shown."""

    found: Found | None
    """The slots; None for a model without slots."""
    decoded: Decoded | None
    """What slots were decoded to; None for a decoder that needs the target and has no `sample`."""
    images_BCHW: Tensor | None
    """The prediction as images in the spec's value range; None if it is not an image, or missing."""
    lacking: str = ""
    """Why there is no picture, as part of a message."""
    tokens: Tokens | None = None
    """The tokens that the picture was made of, for a model that is a codec or trains one."""

    @property
    def attention_BKHW(self) -> Tensor | None:
        """The attention on the feature map's grid."""
        return None if self.found is None else self.found.attention_BKHW


NO_IMAGE = "the prediction is no image"
"""Why there may be no picture of a reconstruction."""


class Trial(Protocol):
    """Two images on their way through a model, before a training; it knows where in the spec they are."""

    @property
    def images_BCHW(self) -> Tensor:
        """On the meta device, where tensors have no values, or real ones."""

    @property
    def frames(self) -> int:
        """How many frames each clip has: the images are then those of two clips; 1 for images."""

    @property
    def fields(self) -> Mapping[Field, Tensor]:
        """The images' fields that the model's losses read (`Model.fields`)."""

    @property
    def values(self) -> bool:
        """Whether tensors have values, not only shapes."""

    @property
    def image_size(self) -> Size:
        """The model's image size."""

    @property
    def other_num_slots(self) -> int | None:
        """The number of slots at evaluation, if it is another than the trained one."""

    @property
    def scores_decoder(self) -> bool:
        """Whether the evaluation scores the decoder's masks."""

    def at(self, *path: str | int, part: object = None) -> None:
        """Enter a part at a path of the spec: `"model", "encoder"`. Mistakes are shown there.

        Raises:
            ComponentError: if `part` is given and is no module.
        """

    def stream(self) -> Generator | None:
        """Return a random stream for a part; None on the meta device."""

    def look(self, found: Tensor, what: str, *, draws: bool = False) -> None:
        """Refuse values that are not finite, and draws from torch's own stream unless `draws` allows them.

        Raises:
            ComponentError: saying what is wrong.
        """

    def explain(self, error: BaseException) -> str:
        """Return the text of an error of the present part, with the line of its plugin's file."""


@runtime_checkable
class Rehearses(Protocol):
    """A model that passes a trial through its parts one by one, so that each mistake is shown at its part.

    Without it, the losses and the reconstruction of two images are checked as a whole.
    """

    def rehearse(self, trial: Trial) -> None:
        """Pass the images through, and compare each part with its promises.

        Raises:
            ComponentError: at the part that the trial is `at`.
        """


@runtime_checkable
class HasSlots(Protocol):
    """Settings of a model with slots."""

    @property
    def slots(self) -> int:
        """The number of slots in training."""


@runtime_checkable
class HasWeightInit(Protocol):
    """Settings of a model that let the spec choose how weights are drawn."""

    @property
    def weight_init(self) -> str:
        """`torch` or `keras`."""


def slots_of(settings: ComponentConfig) -> int | None:
    """Return the number of slots that a model is trained with; None for one without slots."""
    return settings.slots if isinstance(settings, HasSlots) else None


def weight_init_of(settings: ComponentConfig) -> str:
    """Return how the weights of a model are drawn."""
    return settings.weight_init if isinstance(settings, HasWeightInit) else "torch"
