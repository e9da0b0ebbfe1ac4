"""The length of a phase, counted in closed form, is what counting batch by batch gives."""

from itertools import cycle, islice

import pytest

from slotlab.framework.spec.phase_length import PhaseLength, steps_per_epoch


def batches(num_images: int, batch_size: int) -> list[int]:
    """Return the sizes of the batches of one epoch."""
    return [min(batch_size, num_images - start) for start in range(0, num_images, batch_size)]


@pytest.mark.parametrize("num_images", [1, 4, 5, 6])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_steps_and_images(num_images: int, batch_size: int) -> None:
    sizes = batches(num_images, batch_size)
    assert steps_per_epoch(num_images, batch_size) == len(sizes)
    for number in range(1, 8):
        epochs, steps = PhaseLength(epochs=number), PhaseLength(steps=number)
        assert epochs.in_steps(num_images, batch_size) == number * len(sizes)
        assert epochs.in_images(num_images, batch_size) == number * num_images
        assert steps.in_steps(num_images, batch_size) == number
        assert steps.in_images(num_images, batch_size) == sum(islice(cycle(sizes), number))


def test_only_epochs_depend_on_the_number_of_images() -> None:
    assert PhaseLength(epochs=1).depends_on_images
    assert not PhaseLength(steps=1).depends_on_images
