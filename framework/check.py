"""Do the parts of a spec fit together? Answered before any data is touched.

The whole model is built on the meta device, where tensors have shapes and no values,
and two images are passed through, part by part.
"""

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor, nn

from slotlab.framework.anneal import check_anneal
from slotlab.framework.assemble import Builder
from slotlab.framework.contracts import (
    Decoded,
    Grouped,
    OptimizerContext,
    Sampler,
    ScheduleContext,
    Slots,
)
from slotlab.framework.groups import check_groups, parameter_groups
from slotlab.framework.model import SlotModel
from slotlab.framework.names import fault
from slotlab.framework.promises import (
    expect,
    expect_decoded,
    expect_grouped,
    expect_losses,
    expect_picture,
    expect_slots,
    expect_type,
)
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
            builder.problems += check_optimizing(spec, model)
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
        """Pass two images through, as in training and then as they are measured."""
        spec, model = self.spec, self.model
        side = spec.data.image_size
        images_BCHW = torch.zeros(2, 3, side, side)
        slots = (2, spec.model.slots, spec.model.slot_dim)

        self.at("model", "encoder", part=model.encoder)
        encoder: Any = model.encoder
        features_BCHW = model.encoder(images_BCHW)
        what = "features, by the encoder's channels and grid,"
        expect(features_BCHW, (2, encoder.channels, *encoder.grid), what)

        position: Any = model.projection.position
        self.at("model", "projection", "position", part=position)
        tokens_BND = model.projection(features_BCHW)
        token_dim = spec.model.projection.dim or spec.model.slot_dim
        expect(tokens_BND, (2, encoder.grid[0] * encoder.grid[1], token_dim), "tokens")

        initial = self.initial_slots(tokens_BND, None, slots)
        grouped = self.group(tokens_BND, initial, slots)

        self.at("objective")
        target = model.objective.target_shape
        target_BCHW = model.objective.target(images_BCHW, features_BCHW)
        what = "the target, by the objective's target_shape,"
        expect(target_BCHW, (2, target.channels, *target.size), what, floating=False)

        self.at("model", "decoder", part=model.decoder)
        decoded = model.decoder(grouped.slots, target_BCHW=target_BCHW, generator=None)
        self.check_decoded(decoded, slots[1], "forward")
        made = self.paint(grouped.slots, decoded)

        self.at("objective")
        losses = model.objective.loss(decoded, target_BCHW)
        expect_losses(losses)
        self.check_gradient(grouped.slots, decoded, losses.total)
        self.at("objective")
        prediction_BCHW = decoded.prediction_BCHW if made is None else made.prediction_BCHW
        if made is not None or decoded.target_BCHW is None:
            expect_picture(model.objective.to_image(prediction_BCHW), 2, (side, side))

        wanted = spec.evaluation.slots
        if wanted not in (None, spec.model.slots) and not model.initializer.fixed_num_slots:
            more = (2, wanted, spec.model.slot_dim)
            initial = self.initial_slots(tokens_BND, wanted, more)
            self.paint(self.group(tokens_BND, initial, more).slots, None)

    def at(self, *path: str, part: object = None) -> None:
        """Say which part the pass is in, and check that one with weights is a module."""
        self.path = path
        if part is not None and not isinstance(part, nn.Module):
            raise ComponentError(f"what it builds should be a torch.nn.Module, not a {type(part).__name__}")

    def initial_slots(self, tokens_BND: Tensor, number: int | None, shape: tuple[int, int, int]) -> Slots:
        """Check the initializer, also for another number of slots."""
        self.at("model", "initializer", part=self.model.initializer)
        initial: Slots = self.model.initializer(tokens_BND, number, generator=None)
        expect_slots(initial, shape)
        return initial

    def group(self, tokens_BND: Tensor, initial: Slots, shape: tuple[int, int, int]) -> Grouped:
        """Check the grouping."""
        self.at("model", "grouping", part=self.model.grouping)
        grouped: Grouped = self.model.grouping(tokens_BND, initial, generator=None)
        expect_grouped(grouped, shape, tokens_BND.shape[1])
        if has_weights(self.model.grouping) and not grouped.slots.vectors_BKD.requires_grad:
            raise ComponentError("slots have no gradient: its weights would never be trained")
        return grouped

    def check_decoded(self, decoded: object, slots: int, method: str) -> None:
        """Check what the decoder gives."""
        side, target = self.spec.data.image_size, self.model.objective.target_shape
        expect_decoded(decoded, 2, slots, target, image=(side, side), method=method)

    def paint(self, slots: Slots, decoded: Decoded | None) -> Decoded | None:
        """Check the picture that is shown and measured, and whether there are masks where they are asked for.

        Returns None where only values tell, or where there is none: of a decoder that needs the target.
        """
        self.at("model", "decoder")
        decoder, made, reason = self.model.decoder, None, ""
        number = slots.vectors_BKD.shape[1]
        if isinstance(decoder, Sampler):
            try:
                made = decoder.sample(slots, generator=None)
                self.check_decoded(made, number, "sample")
            except (NotImplementedError, RuntimeError) as error:
                if "meta" not in str(error):
                    raise
                made = None  # it looks at values, which there are none of here: `rehearsal` has some
        else:
            try:
                made = decoder(slots, target_BCHW=None, generator=None)
            except Exception as error:  # which it was not when it was told the target
                reason = describe(error, self.file)
            else:
                self.check_decoded(made, number, "forward")
        self.check_masks(decoded if made is None and not reason else made, reason)
        return made

    def check_masks(self, made: Decoded | None, reason: str) -> None:
        """Refuse to measure the decoder's masks where it has none that did not see the target."""
        if self.spec.evaluation.mask_source != "decoder":
            return
        name = self.spec.model.decoder.name
        self.path = ("evaluation", "mask_source")
        if reason:
            text = (
                "needs the target, which it is not told when masks are measured, and has no method 'sample'"
            )
            hint = f"write 'mask_source: attention' (without the target: {reason})"
            raise ComponentError(f"the decoder '{name}' {text}; {hint}")
        if made is not None and made.masks_BKHW is None:
            raise ComponentError(f"the decoder '{name}' has no masks; write 'mask_source: attention'")

    def check_gradient(self, slots: Slots, decoded: Decoded, total: Tensor) -> None:
        """Refuse a loss that nothing can be learned from, and name who lost the gradient."""
        given = (decoded.prediction_BCHW, decoded.masks_BKHW, decoded.parts_BKCHW)
        asked = slots.vectors_BKD.requires_grad or has_weights(self.model.decoder)
        lost = not any(tensor is not None and tensor.requires_grad for tensor in given)
        if (lost and asked) or not (total.requires_grad or decoded.prediction_BCHW.requires_grad):
            self.path = ("model", "decoder")
            raise ComponentError("the prediction has no gradient: nothing could be learned from it")
        if not total.requires_grad:
            raise ComponentError("the loss has no gradient: nothing could be learned from it")


def has_weights(part: nn.Module) -> bool:
    """Return whether a part has weights to train."""
    return any(parameter.requires_grad for parameter in part.parameters())


def check_optimizing(spec: ExperimentSpec, model: SlotModel) -> Iterator[PathProblem]:
    """Build each phase's optimizer and schedule, and step them once, without gradients."""
    for number, phase in enumerate(spec.training.phases):
        groups = parameter_groups(spec, model, phase.lr)
        if not groups:  # which `check_groups` tells
            return
        ref, where = spec.training.optimizer, ("training", "optimizer")
        path: Path = where
        try:
            optimizer: Any = ref.build(OptimizerContext(params=groups, lr=phase.lr))
            expect_type(optimizer, torch.optim.Optimizer, "build")
            ref, path = phase.schedule, ("training", "phases", number, "schedule")
            context = ScheduleContext(optimizer=optimizer, total_steps=phase.steps or _LONG)
            schedule: Any = ref.build(context)
            expect_type(schedule, torch.optim.lr_scheduler.LRScheduler, "build")
            ref, path = spec.training.optimizer, where
            optimizer.step()
            ref, path = phase.schedule, ("training", "phases", number, "schedule")
            schedule.step()
        except ComponentError as error:
            at = path if error.field is None else (*path, error.field)
            yield PathProblem(at, f"{ref.name}: {error}")
        except Exception as error:  # a stranger's component may fail in any way
            yield PathProblem(
                path, f"{ref.name}: fails in its first step: {describe(error, ref.registered.path)}"
            )
        else:
            continue
        if path == where:  # the same for every phase
            return


_LONG = 1_000_000
"""Steps of a phase that is counted in epochs, where the number of images is not known yet."""
