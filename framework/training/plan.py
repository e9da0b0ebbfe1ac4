"""How many steps a training has, and how far it has come."""

from dataclasses import dataclass
from math import ceil

from slotlab.framework.spec.schema import ExperimentSpec


@dataclass(frozen=True)
class Progress:
    """What a progress display is told after each step."""

    step: int
    total_steps: int
    phase: int
    epoch: int
    loss: float | None
    """Mean training loss since the log line before; None before the first."""
    images_per_second: float | None


@dataclass(frozen=True)
class Plan:
    """How many steps each phase has, for a training split of a given size."""

    steps_per_epoch: int
    phases: tuple[int, ...]

    @classmethod
    def of(cls, spec: ExperimentSpec, num_images: int) -> "Plan":
        """Count the steps; the last batch of an epoch may be smaller, and counts."""
        per_epoch = ceil(num_images / spec.training.batch_size)
        phases = (phase.steps or (phase.epochs or 0) * per_epoch for phase in spec.training.phases)
        return cls(per_epoch, tuple(phases))

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return sum(self.phases)

    def end(self, phase: int) -> int:
        """Return the step at which a phase ends."""
        return sum(self.phases[: phase + 1])
