"""Looking at a model between the steps of its training: its metrics on a few images, and a picture of masks.

A look changes nothing: it draws from streams of its own, and the weights are the same bits without it. It is
due at steps that the spec determines, so that a training that was killed and goes on leaves the same files.
One that fails is told of, and the training goes on.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from slotlab.framework.contracts import Model
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.training import WatchSpec
from slotlab.framework.system.atomic import write_atomically
from slotlab.framework.training.state import Trainee
from slotlab.framework.training.trackers import Trackers, undisturbed
from slotlab.registry.errors import describe

USUAL, MOST_LOOKS = 1_000, 100
"""`every_steps: auto`: the steps between two looks, and the most looks of a training."""
PICTURES = "watch/pictures"
"""The name under which trackers know the pictures."""


@dataclass(frozen=True)
class Seen:
    """What a look found."""

    values: Mapping[str, float | None]
    """The mean of each metric; None where it is not defined."""
    picture: bytes
    """A PNG."""


Look = Callable[[Model], Seen]
"""Looks at a model, which is left in evaluation mode."""


def steps_between(settings: WatchSpec, total: int) -> int | None:
    """Return the steps between two looks of a training of `total` steps; None for no look.

    >>> steps_between(WatchSpec(), 500_001)
    6000
    """
    if settings.every_steps != "auto":
        return settings.every_steps
    return USUAL * max(1, -(-total // (USUAL * MOST_LOOKS)))


@dataclass
class Watch:
    """Looks at a training when it is due, in the first process alone."""

    run: RunFolder
    every: int | None
    look: Look | None
    """None for a training that is not looked at, and in other processes."""
    trackers: Trackers
    log: Callable[[Mapping[str, Any]], None]
    warn: Callable[[str], None]

    def after_step(self, trainee: Trainee) -> None:
        """Look, if it is due."""
        if self.look is None or self.every is None or trainee.step % self.every:
            return
        try:
            with undisturbed(), in_modes_of(trainee.measured), torch.no_grad(), quiet():
                seen = self.look(trainee.measured)
            path = self.run.picture(trainee.step)
            write_atomically(path, seen.picture)
        except Exception as error:  # a bug in a plugin, a full disk or GPU, weights that are not finite
            self.look = None
            reason = describe(error).partition("\n")[0]
            text = f"step {trainee.step}: the model cannot be looked at any more, and the training goes on"
            self.warn(f"{text}: {reason}")
            return
        self.log({"kind": "watch", "step": trainee.step, "epoch": trainee.epoch, **seen.values})
        self.trackers.image(PICTURES, path)


@contextmanager
def in_modes_of(model: Model) -> Iterator[None]:
    """Restore which parts of a model are in training mode after the block, which may change it."""
    before = [(part, part.training) for part in model.modules()]
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of libraries off the screen: they were shown when the training was rehearsed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def forget_after(run: RunFolder, step: int) -> None:
    """Remove pictures of later steps: a training that goes on from `step` makes them again."""
    for path in run.watched():
        if path > run.picture(step):
            path.unlink()
