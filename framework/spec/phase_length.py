"""How many steps and images a phase of training has, from plain numbers: nothing here imports torch."""

from dataclasses import dataclass
from math import ceil


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the batches of one pass over the training split; the last one may be smaller, and counts."""
    return ceil(num_images / batch_size)


@dataclass(frozen=True)
class PhaseLength:
    """The length of a phase as a spec gives it: one of the two is None."""

    steps: int | None = None
    """Optimizer steps."""
    epochs: int | None = None
    """Passes over the training split."""

    @property
    def depends_on_images(self) -> bool:
        """Whether the number of steps follows from the number of training images."""
        return self.steps is None

    def in_steps(self, num_images: int, batch_size: int) -> int:
        """Return the optimizer steps, for a training split of `num_images`."""
        return self.steps or (self.epochs or 0) * steps_per_epoch(num_images, batch_size)

    def in_images(self, num_images: int, batch_size: int) -> int:
        """Return the images that the phase is trained on, each as often as it is seen.

        A phase of a number of steps may end within an epoch; the next phase begins a new one.
        """
        epochs, steps = self.epochs or 0, 0
        if self.steps:
            epochs, steps = divmod(self.steps, steps_per_epoch(num_images, batch_size))
        return epochs * num_images + steps * batch_size  # the smaller batch is the last of an epoch
