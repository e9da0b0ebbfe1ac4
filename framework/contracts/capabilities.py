"""What the parts of a model may be able to do besides what their kind asks for.

The framework looks for the attribute, never for the component: a part without it is taken not to have the
ability.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Generator, Tensor, nn

from slotlab.framework.contracts.model import Decoded, Losses, RandomSource, Slots


@runtime_checkable
class Sampler(Protocol):
    """A decoder that makes pictures in another way than it is trained: autoregressive ones, diffusion.

    Wherever a picture is shown or evaluated, `sample` makes it, and its `masks_BKHW` and `parts_BKCHW` are
    those that are shown and evaluated; `forward` is for the loss. A decoder without `sample` is called
    without the target instead.
    """

    def sample(self, slots: Slots, *, generator: Generator | None = None) -> Decoded:
        """Return pictures of slots alone: the prediction has the objective's `target_shape`.

        All randomness comes from `generator`. A decoder that draws is called for each picture alone.
        """


Cue = Literal["boxes", "centers"]
"""What a conditional model is told of each object in a clip's first frame."""


@runtime_checkable
class TakesCues(Protocol):
    """An initializer that is told where objects are in a clip's first frame (`framework.model.cues`).

    Where `cue` is not None, it is also given `cues_BKC=`, float32 (B, K, 4 or 2), if they are known.
    """

    @property
    def cue(self) -> Cue | None:
        """What it is told, with its present settings."""


@runtime_checkable
class SamplesTogether(Protocol):
    """A `Sampler` that draws, and can make the pictures of a batch together all the same.

    Where `streams_per_image` is true, the `generator` of its `sample` may also be a sequence of streams, one
    per image, and each image draws from its own alone. One without it is called for each picture by itself.
    """

    @property
    def streams_per_image(self) -> bool:
        """Whether it can."""


@runtime_checkable
class SamplesInSteps(Protocol):
    """A `Sampler` that makes a picture step by step, and can show them."""

    def strip(self, slots: Slots, *, generator: RandomSource = None) -> Iterator[Tensor]:
        """Yield predictions (B, *target_shape) on the way to what `sample` makes of the same arguments."""


@runtime_checkable
class HasSampling(Protocol):
    """A `Sampler` with settings of how it makes pictures, which have no effect on a training.

    They are a part of its Config, `sampling`, which its class attribute `without_effect` names. An evaluation
    may change them (`evaluation.sampling`); its results say which they were, and evaluations with different
    ones are not compared.
    """

    @property
    def sampling(self) -> Mapping[str, Any]:
        """The settings, as they are used: plain data that JSON can hold."""


@runtime_checkable
class Freezable(Protocol):
    """An encoder that says whether it is frozen.

    Where `frozen` is true, its output depends on the images alone: it is never trained, is always in
    evaluation mode, draws nothing, and no image's features depend on its batch. They may then be stored.
    """

    @property
    def frozen(self) -> bool:
        """Whether it is, with its present settings."""


@runtime_checkable
class IteratesByCall(Protocol):
    """A grouping whose number of iterations may differ by call, such as for the first frame of a clip.

    Where `iterates_by_call` is true, its `forward` also takes `iterations=`: a positive number, or None for
    that of its settings.
    """

    @property
    def iterates_by_call(self) -> bool:
        """Whether it may, with its present settings."""


@runtime_checkable
class Guided(Protocol):
    """A decoder that may use the grouping besides the slots, such as the attention for a choice of slots.

    Where `guided` is true, its `forward` and its `sample` are also given `grouped=` (a `Grouped`, or None for
    slots that were mixed or drawn and belong to no image: a decoder that cannot do without refuses them with
    a `ComponentError` that says so).
    """

    @property
    def guided(self) -> bool:
        """Whether it does, with its present settings."""


@runtime_checkable
class MaskedWithTarget(Protocol):
    """A decoder whose masks of images may be measured as they come in training, where it is told the target.

    Where `masks_with_target` is true, measured and shown masks of an image are those of `forward` with the
    objective's target for that image. Pictures never are, nor masks of slots that were mixed or drawn:
    `sample` makes them. The target is made of the image, which every model is given, and not of its true
    masks; but such masks say how a model divides an image that it sees, not what its slots alone know of it.
    """

    @property
    def masks_with_target(self) -> bool:
        """Whether they are, with the decoder's present settings."""


@runtime_checkable
class Annealable(Protocol):
    """A part of a model some of whose attributes may change during training (`training.anneal`)."""

    @property
    def schedulable(self) -> Collection[str]:
        """The names of these attributes, each a float or a floating-point tensor of one value."""


@runtime_checkable
class HasOwnWeights(Protocol):
    """A part of a model that may bring its weights with it, such as a pretrained encoder."""

    @property
    def own_weights(self) -> bool:
        """Whether it does: the spec's `model.weight_init` then leaves it and its children as they are."""


@runtime_checkable
class StorableTarget(Protocol):
    """An objective that says whether its target may be stored.

    Where `target_maker` is a module, the target depends on the images alone: the module is never trained, is
    always in evaluation mode and draws nothing, `target` never reads its argument `features_BCHW`, and no
    image's target depends on its batch.
    """

    @property
    def target_maker(self) -> nn.Module | None:
        """The frozen module that makes it, by whose weights a store is found; None where there is none."""

    @property
    def target_settings(self) -> Collection[str]:
        """The names of the objective's settings that decide about the target, besides these weights."""


@dataclass(frozen=True)
class Prepared:
    """The target of a batch, and the losses of what makes it."""

    target_BCHW: Tensor
    """As of `Objective.target`: (B, *target_shape), without a gradient."""
    losses: Losses | None = None
    """Means over images, with a gradient to the weights of what makes the target. They are added to the
    objective's loss, and their terms stand in the log beside its own. None where nothing is trained."""


@runtime_checkable
class TrainsWithTarget(Protocol):
    """An objective that may train what makes its target together with the model: a codec, for example.

    Where `trains_with_target` is true, `prepare` takes the place of `target` in the loss of a batch. `target`
    draws nothing, and serves where no loss is computed, such as for masks that are told the target. Both read
    the images alone. What is trained is a child module of the objective, say `codec`: it is saved and
    averaged with the model, and `training.groups` and `training.anneal` reach it by its path
    (`objective.codec`). No store holds such a target, and `loss` gives it no gradient.
    """

    @property
    def trains_with_target(self) -> bool:
        """Whether it does, with its present settings."""

    def prepare(self, images_BCHW: Tensor, *, generator: Generator | None = None) -> Prepared:
        """Return the target of images (B, 3, H, W), and the losses of what makes it.

        All randomness comes from `generator`; no image's part of either depends on its batch.
        """


Need = Literal["flow", "depth", "frames"]
"""What an objective's target may be made of besides images and features; see `HasNeeds`."""


@runtime_checkable
class HasNeeds(Protocol):
    """An objective whose target is made of more than images and features.

    Its `target` is also given what it needs, by name: `flow_B2HW` and `depth_B1HW`, float32 of the images'
    size (`Field` says what they are; the dataset must have them), and `frames`, the number T of frames of
    each clip: images and features are then those of whole clips, clip after clip. An evaluation measures no
    target, and needs none of it. Decoders that are told the target there (`MaskedWithTarget`) do not go with
    it.
    """

    @property
    def needs(self) -> Collection[Need]:
        """What it needs, with its present settings."""


@runtime_checkable
class TargetOfImages(Protocol):
    """An objective that says whether its target is made of the images alone."""

    @property
    def of_images(self) -> bool:
        """Whether `target` never reads its argument `features_BCHW`."""


@runtime_checkable
class HasNearest(Protocol):
    """An objective whose target can only have certain values, such as the codes of a codec."""

    def nearest(self, latents_BCHW: Tensor) -> Tensor:
        """Return (B, *target_shape): the values that are nearest to those given, which it may have."""
