"""Do the parts of a spec fit together? Answered before any data is touched.

The whole model is built on the meta device, where tensors have shapes and no values,
and two images are passed through, part by part.
"""

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.anneal import check_anneal
from slotlab.framework.assemble import Builder
from slotlab.framework.contracts import Decoded, Grouped, Slots
from slotlab.framework.groups import check_groups
from slotlab.framework.model import SlotModel
from slotlab.framework.names import fault
from slotlab.framework.sources import known_splits, own_splits
from slotlab.framework.spec.errors import Path, PathProblem, shorten
from slotlab.framework.spec.schema import HALVES, ExperimentSpec
from slotlab.registry import ComponentError, Ref, SlotlabError
from slotlab.registry.component import suggest
from slotlab.registry.errors import describe


def check_parts(spec: ExperimentSpec) -> list[PathProblem]:
    """Return every way in which the parts of a spec do not fit together."""
    builder = Builder(spec)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = builder.model()
        builder.metrics()
        builder.set_metrics(torch.device("cpu"))
        builder.problems += check_splits(spec)
        if model is not None:
            builder.problems += check_slots(spec, model)
            builder.problems += check_groups(spec, model)
            builder.problems += check_anneal(spec, model)
            builder.problems += check_best(spec)
            builder.problems += check_checkpoint(spec)
            builder.problems += check_shapes(spec, model)
    return builder.problems


def check_splits(spec: ExperimentSpec) -> Iterator[PathProblem]:
    """Refuse splits that neither the dataset's Config (an attribute `splits`) nor the protocol has."""
    dataset = spec.data.dataset
    known = known_splits(spec.data)
    owner = spec.data.protocol.name if own_splits(spec.data) is None else dataset.name
    wanted: dict[Path, str] = {
        ("data", "train_split"): spec.data.train_split,
        ("evaluation", "split"): spec.evaluation.split,
    }
    composition = spec.evaluation.composition
    if composition is not None:
        wanted["evaluation", "composition", "library"] = composition.library
        if composition.floor != HALVES:
            wanted["evaluation", "composition", "floor"] = composition.floor
    for path, split in wanted.items():
        if split not in known:
            hint = f"{suggest(split, known)} (splits: {shorten(', '.join(known), 500)})"
            yield PathProblem(path, f"'{owner}' has no split '{shorten(split)}'{hint}")
        elif (reason := fault(split)) is not None:
            yield PathProblem(path, f"the split '{shorten(split)}' names the evaluation's folder: {reason}")


def check_best(spec: ExperimentSpec) -> Iterator[PathProblem]:
    """Refuse to compare checkpoints by what is not measured."""
    best, known = spec.training.checkpoint.best, [ref.name for ref in spec.evaluation.metrics]
    if best is not None and best not in ("loss", *known):
        hint = f"{suggest(best, known)} (measured: loss, {', '.join(known)})"
        text = f"'{best}' is none of evaluation.metrics{hint}"
        yield PathProblem(("training", "checkpoint", "best"), text)


def check_checkpoint(spec: ExperimentSpec) -> Iterator[PathProblem]:
    """Refuse to measure the best checkpoint of a training that keeps none."""
    if spec.evaluation.checkpoint == "best" and spec.training.checkpoint.best is None:
        known = ", ".join(("loss", *(ref.name for ref in spec.evaluation.metrics)))
        text = (
            "no checkpoint is the best one: set training.checkpoint.best to what they are compared by "
            f"({known}) before the training, or measure the last one"
        )
        yield PathProblem(("evaluation", "checkpoint"), text)


def check_slots(spec: ExperimentSpec, model: SlotModel) -> Iterator[PathProblem]:
    """Refuse to evaluate learned slots with another number of slots than was trained."""
    wanted, trained = spec.evaluation.slots, spec.model.slots
    if wanted not in (None, trained) and model.initializer.fixed_num_slots:
        name = spec.model.initializer.name
        text = (
            f"the initializer '{name}' is made for {trained} slots and cannot make {wanted}; "
            f"leave 'slots' out, or train with an initializer that takes any number, such as gaussian"
        )
        yield PathProblem(("evaluation", "slots"), text)


def check_shapes(spec: ExperimentSpec, model: SlotModel) -> list[PathProblem]:
    """Pass two images through and compare every shape with what the contract promises.

    The first part that fails is reported; those behind it have nothing to work on.
    """
    walk = _Walk(spec, model)
    try:
        walk.through()
    except SlotlabError as error:
        return [PathProblem(walk.path, str(error))]
    except Exception as error:  # a stranger's component may fail in any way
        size = spec.data.image_size
        text = f"fails on images of {size}x{size} pixels: {describe(error, walk.file)}"
        return [PathProblem(walk.path, text)]
    return []


class _Walk:
    """One pass through the model that knows which part it is in."""

    def __init__(self, spec: ExperimentSpec, model: SlotModel):
        self.spec = spec
        self.model = model
        self.path: Path = ("model",)

    @property
    def file(self) -> FilePath | None:
        """The single-file plugin that the part comes from, if it does."""
        value: Any = self.spec
        for part in self.path:
            value = getattr(value, str(part))
        return value.registered.path if isinstance(value, Ref) else None

    def through(self) -> None:
        spec, model = self.spec, self.model
        images_BCHW = torch.zeros(2, 3, spec.data.image_size, spec.data.image_size)
        slots, dim = spec.model.slots, spec.model.slot_dim

        self.path = ("model", "encoder")
        encoder: Any = model.encoder
        features_BCHW = model.encoder(images_BCHW)
        expect(
            features_BCHW,
            (2, encoder.channels, *encoder.grid),
            "features, by the encoder's channels and grid,",
        )

        self.path = ("model", "projection", "position")
        tokens_BND = model.projection(features_BCHW)
        token_dim = spec.model.projection.dim or dim
        expect(tokens_BND, (2, encoder.grid[0] * encoder.grid[1], token_dim), "tokens")

        self.path = ("model", "initializer")
        initial = model.initializer(tokens_BND, None, generator=None)
        expect_type(initial, Slots)
        expect(initial.vectors_BKD, (2, slots, dim), "slots")

        self.path = ("model", "grouping")
        grouped = model.grouping(tokens_BND, initial, generator=None)
        expect_type(grouped, Grouped)
        expect(grouped.slots.vectors_BKD, (2, slots, dim), "slots")
        expect(grouped.attention_BKN, (2, slots, tokens_BND.shape[1]), "attention")

        self.path = ("objective",)
        target = model.objective.target_shape
        target_BCHW = model.objective.target(images_BCHW, features_BCHW)
        expect(
            target_BCHW, (2, target.channels, *target.size), "the target, by the objective's target_shape,"
        )

        self.path = ("model", "decoder")
        decoded = model.decode(grouped.slots, target_BCHW=target_BCHW)
        expect_type(decoded, Decoded)
        if decoded.target_BCHW is None:
            expect(decoded.prediction_BCHW, (2, target.channels, *target.size), "the prediction")
        if decoded.masks_BKHW is not None:
            expect(decoded.masks_BKHW[:, :, 0, 0], (2, slots), "masks, at each pixel,")
        elif spec.evaluation.mask_source == "decoder":
            self.path = ("evaluation", "mask_source")
            name = spec.model.decoder.name
            raise ComponentError(f"the decoder '{name}' has no masks; write 'mask_source: attention'")

        self.path = ("objective",)
        expect(model.objective.loss(decoded, target_BCHW).total, (), "the loss")


def expect_type(value: object, wanted: type) -> None:
    """Compare a type with what the contract promises.

    Raises:
        ComponentError: if they differ.
    """
    if not isinstance(value, wanted):
        raise ComponentError(f"forward should return {wanted.__name__}, not {type(value).__name__}")


def expect(tensor: Tensor, shape: tuple[int, ...], what: str) -> None:
    """Compare a shape with what the contract promises.

    Raises:
        ComponentError: if they differ.
    """
    expect_type(tensor, Tensor)
    if tuple(tensor.shape) != shape:
        raise ComponentError(f"{what} should have shape {shape}, not {tuple(tensor.shape)}")
