"""Check that the parts of a spec fit together, before any data is read.

The whole model is built on the meta device, where tensors have shapes but no values,
and two images are passed through, part by part.
"""

from collections.abc import Iterator
from typing import Any

import torch

from slotlab.framework.contracts import (
    Batch,
    FindsSlots,
    Model,
    OptimizerContext,
    PaintsSlots,
    Reconstructs,
    ScheduleContext,
)
from slotlab.framework.contracts.promises import expect_type
from slotlab.framework.data.fields import lacking
from slotlab.framework.data.source import known_splits, own_splits
from slotlab.framework.model.anneal import check_anneal
from slotlab.framework.model.build import Builder
from slotlab.framework.model.needs import blank_fields
from slotlab.framework.model.parameter_groups import check_groups, parameter_groups
from slotlab.framework.model.storables import check_storables
from slotlab.framework.model.trial_pass import Walk
from slotlab.framework.spec.errors import Path, PathProblem, shorten
from slotlab.framework.spec.schema import HALVES, ExperimentSpec
from slotlab.framework.system.file_names import fault
from slotlab.registry import ComponentError
from slotlab.registry.component import suggest
from slotlab.registry.errors import describe


def check_parts(spec: ExperimentSpec) -> list[PathProblem]:
    """Return all problems with how the parts of a spec fit together."""
    builder = Builder(spec)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = builder.model()
        builder.metrics()
        builder.set_metrics(torch.device("cpu"))
        builder.problems += check_splits(spec)
        if model is not None:
            builder.problems += check_slots(spec, model)
            builder.problems += check_capabilities(spec, model)
            builder.problems += check_recompute(spec, model)
            builder.problems += check_groups(spec, model)
            builder.problems += check_anneal(spec, model)
            builder.problems += check_storables(spec, model)
            builder.problems += check_best(spec)
            builder.problems += check_checkpoint(spec)
            builder.problems += check_fields(spec, model)
            builder.problems += check_shapes(spec, model)
            builder.problems += check_optimizing(spec, model)
    return builder.problems


def check_splits(spec: ExperimentSpec) -> Iterator[PathProblem]:
    """Refuse splits that neither the dataset's Config (by its attribute `splits`) nor the protocol has."""
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
    """Refuse to compare checkpoints by a metric that is not among the spec's."""
    best, known = spec.training.checkpoint.best, [ref.name for ref in spec.evaluation.metrics]
    if best is not None and best not in ("loss", *known):
        hint = f"{suggest(best, known)} (measured: loss, {', '.join(known)})"
        text = f"'{best}' is none of evaluation.metrics{hint}"
        yield PathProblem(("training", "checkpoint", "best"), text)


def check_checkpoint(spec: ExperimentSpec) -> Iterator[PathProblem]:
    """Refuse to evaluate the best checkpoint of a training that keeps none."""
    if spec.evaluation.checkpoint == "best" and spec.training.checkpoint.best is None:
        known = ", ".join(("loss", *(ref.name for ref in spec.evaluation.metrics)))
        text = (
            "no checkpoint is the best one: set training.checkpoint.best to what they are compared by "
            f"({known}) before the training, or measure the last one"
        )
        yield PathProblem(("evaluation", "checkpoint"), text)


def check_slots(spec: ExperimentSpec, model: Model) -> Iterator[PathProblem]:
    """Refuse to evaluate learned slots with another number of slots than in the training."""
    wanted, trained = spec.evaluation.slots, spec.slots
    if wanted in (None, trained) or not isinstance(model, FindsSlots):
        return
    if model.fixed_num_slots:
        who = model.names.get("initializer", f"model '{spec.model.name}'")
        text = (
            f"the {who} is made for {trained} slots and cannot make {wanted}; "
            f"leave 'slots' out, or train with an initializer that takes any number, such as gaussian"
        )
        yield PathProblem(("evaluation", "slots"), text)


def check_capabilities(spec: ExperimentSpec, model: Model) -> Iterator[PathProblem]:
    """Refuse what an evaluation wants and the model cannot do."""
    wanted, name = spec.evaluation, spec.model.name
    for setting, value, plain in (
        ("clip_frames", wanted.clip_frames, None),
        ("from_frame", wanted.from_frame, 0),
    ):
        if spec.data.clip is None and value != plain:
            text = f"'{setting}' is of clips, and these are single pictures; leave it out, or set data.clip"
            yield PathProblem(("evaluation", setting), text)
    if wanted.slots is not None and not isinstance(model, FindsSlots):
        yield PathProblem(("evaluation", "slots"), f"the model '{name}' has no slots; leave 'slots' out")
    if wanted.baselines and spec.evaluated_slots is None:
        text = f"baselines have as many segments as there are slots, and the model '{name}' has no slots"
        yield PathProblem(("evaluation", "baselines"), f"{text}; leave 'baselines' out")
    if wanted.composition is not None and not (
        isinstance(model, FindsSlots) and isinstance(model, PaintsSlots)
    ):
        text = f"the model '{name}' makes no pictures of slots: there is nothing to compose"
        yield PathProblem(("evaluation", "composition"), text)
    measured = spec.training.checkpoint.best not in (None, "loss")
    if measured and not isinstance(model, Reconstructs):
        text = f"the model '{name}' neither segments nor reconstructs images: compare checkpoints by 'loss'"
        yield PathProblem(("training", "checkpoint", "best"), text)


def check_recompute(spec: ExperimentSpec, model: Model) -> Iterator[PathProblem]:
    """Refuse to recompute what is no part of the model."""
    known = [name for name, _ in model.named_children()]
    for index, name in enumerate(spec.training.speed.recompute):
        if name not in known:
            text = f"the model has no part '{name}'{suggest(name, known)} (parts: {', '.join(known)})"
            yield PathProblem(("training", "speed", "recompute", index), text)


def check_fields(spec: ExperimentSpec, model: Model) -> Iterator[PathProblem]:
    """Refuse a model whose losses read fields that the dataset's class does not have.

    A dataset that a function builds is asked when it is there (`data.fields`).
    """
    ref = spec.data.dataset
    made = ref.registered.component.build
    for name in model.fields if isinstance(made, type) else ():
        if not hasattr(made, name):
            problem = lacking(name, ref.name)
            yield PathProblem(problem.path, f"{spec.objective.name}: {problem.text}")


def check_shapes(spec: ExperimentSpec, model: Model) -> list[PathProblem]:
    """Pass two images, or clips, through and compare every shape with the contract.

    Only the first part that fails is reported; those behind it would receive no input.
    """
    frames = spec.data.frames
    images_BCHW = torch.zeros(2 * frames, 3, *spec.data.size)
    images = Batch(
        images_BCHW=images_BCHW,
        masks_BHW=torch.zeros(2 * frames, *spec.data.size, dtype=torch.int64),
        ids=("0", "1"),
        attributes=({},) * (2 * frames),
        frames=frames,
        fields=blank_fields(model.fields, images_BCHW),
    )
    problem = Walk(spec, model, images).problem()
    return [] if problem is None else [problem]


def check_optimizing(spec: ExperimentSpec, model: Model) -> Iterator[PathProblem]:
    """Build each phase's optimizer and schedule, and step them once, without gradients."""
    for number, phase in enumerate(spec.training.phases):
        groups = parameter_groups(spec, model, phase.lr)
        if not groups:  # which `check_groups` reports
            return
        ref, where = spec.training.optimizer, ("training", "optimizer")
        path: Path = where
        try:
            optimizer: Any = ref.build(OptimizerContext(params=groups, lr=phase.lr))
            expect_type(optimizer, torch.optim.Optimizer, "build")
            ref, path = phase.schedule, ("training", "phases", number, "schedule")
            steps = phase.epochs if phase.interval == "epoch" and phase.epochs else phase.steps
            context = ScheduleContext(optimizer=optimizer, total_steps=steps or _LONG)
            schedule: Any = ref.build(context)
            expect_type(schedule, torch.optim.lr_scheduler.LRScheduler, "build")
            ref, path = spec.training.optimizer, where
            optimizer.step()
            ref, path = phase.schedule, ("training", "phases", number, "schedule")
            schedule.step()
        except ComponentError as error:
            at = path if error.field is None else (*path, error.field)
            yield PathProblem(at, f"{ref.name}: {error}")
        except (Exception, SystemExit) as error:  # a third party's component may fail in any way
            yield PathProblem(
                path, f"{ref.name}: fails in its first step: {describe(error, ref.registered.path)}"
            )
        else:
            continue
        if path == where:  # the same for every phase
            return


_LONG = 1_000_000
"""Steps of a phase that is counted in epochs, while the number of images is unknown."""
