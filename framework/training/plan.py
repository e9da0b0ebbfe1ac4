"""The number of steps of a training, and its progress."""

from dataclasses import dataclass

from slotlab.framework.spec.phase_length import steps_per_epoch
from slotlab.framework.spec.schema import ExperimentSpec


@dataclass(frozen=True)
class Progress:
    """What a progress display receives after each step."""

    step: int
    total_steps: int
    phase: int
    epoch: int
    loss: float | None
    """Mean training loss since the previous log line; None between log lines."""
    images_per_second: float | None


@dataclass(frozen=True)
class Plan:
    """The number of steps of each phase, for a training split of a given size."""

    steps_per_epoch: int
    phases: tuple[int, ...]

    @classmethod
    def of(cls, spec: ExperimentSpec, num_images: int) -> "Plan":
        """Count the steps; the last batch of an epoch may be smaller, and counts."""
        batch_size = spec.training.batch_size
        phases = (phase.length.in_steps(num_images, batch_size) for phase in spec.training.phases)
        return cls(steps_per_epoch(num_images, batch_size), tuple(phases))

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return sum(self.phases)

    def end(self, phase: int) -> int:
        """Return the step at which a phase ends."""
        return sum(self.phases[: phase + 1])
