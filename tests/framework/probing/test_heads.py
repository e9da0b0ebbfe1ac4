"""Laws of heads and their fitting: seeds, learning rates, batches, and which of them is kept."""

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from slotlab.framework.arithmetic.matching import NOTHING
from slotlab.framework.probing.heads import build_head, fit, loss_of, validation_loss
from slotlab.framework.probing.set_prediction import set_head
from slotlab.framework.probing.settings import ProbeSettings


@dataclass
class Plain:
    """Images with one object each, whose cost is what the head says of its slot; it notes which it is asked for."""

    slots_NKD: Tensor
    by_image: bool = False
    partner_NT: Tensor | None = None
    asked: list[list[int]] = field(default_factory=list)

    @property
    def kept_NK(self) -> Tensor:
        return torch.ones(self.slots_NKD.shape[:2], dtype=torch.bool)

    @property
    def there_NT(self) -> Tensor:
        return torch.ones(len(self.slots_NKD), 1, dtype=torch.bool)

    def cost(self, outputs_BKO: Tensor, rows_B: Tensor) -> Tensor:
        self.asked.append(rows_B.tolist())
        return outputs_BKO.mT


def zeros(images: int = 10) -> Plain:
    return Plain(torch.zeros(images, 2, 1))


def weights(head: nn.Module) -> list[list[float]]:
    return [parameter.flatten().tolist() for parameter in head.parameters()]


def test_heads_are_drawn_by_their_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (build_head("mlp", 4, 3, ProbeSettings(seed=seed, hidden=5)) for seed in (0, 0, 1))
    assert weights(first) == weights(again) != weights(other)
    assert weights(set_head(4, 3, 0)) == weights(set_head(4, 3, 0)) != weights(set_head(4, 3, 1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("layers", [1, 3])
def test_a_linear_head_has_no_hidden_layer_and_an_mlp_as_many_as_are_set(layers: int) -> None:
    settings = ProbeSettings(hidden=5, hidden_layers=layers)
    assert [type(one) for one in build_head("linear", 4, 3, settings)] == [nn.Linear]
    head = build_head("mlp", 4, 3, settings)
    assert [type(one) for one in head] == [nn.Linear, nn.LeakyReLU] * layers + [nn.Linear]
    widths = [4, *[5] * layers, 3]
    linear = [one for one in head if isinstance(one, nn.Linear)]
    assert [(one.in_features, one.out_features) for one in linear] == list(pairwise(widths))


@pytest.mark.parametrize(
    ("steps", "halve_at", "factors"),
    [(2, (2, 3), [1, 1]), (4, (2, 3), [1, 1, 0.5, 0.25]), (3, (), [1, 1, 1]), (3, (1,), [1, 0.5, 0.5])],
)
def test_the_learning_rate_is_halved_after_the_steps_that_are_set(
    steps: int, halve_at: tuple[int, ...], factors: list[float]
) -> None:
    """With one gradient at all steps, a step of Adam is as long as its learning rate."""
    head, task = nn.Linear(1, 1), zeros()
    start = head.bias.item()
    settings = ProbeSettings(steps=steps, halve_at=halve_at, lr=0.25, check_every=1, batch_size=4)
    found = fit(head, task, task, settings, min_delta=0.0)
    assert found.best_step == found.steps == steps
    assert start - head.bias.item() == pytest.approx(0.25 * sum(factors), rel=1e-4)


def test_every_image_is_seen_once_in_an_epoch_in_an_order_of_its_seed() -> None:
    def batches(seed: int) -> list[list[int]]:
        task = zeros(10)
        settings = ProbeSettings(steps=9, batch_size=4, check_every=9, seed=seed)
        fit(nn.Linear(1, 1), task, zeros(), settings, min_delta=0.0, look=lambda head: 0.0)
        return task.asked

    seen = batches(0)
    assert [len(rows) for rows in seen] == [4, 4, 2] * 3
    epochs = [[image for rows in seen[start : start + 3] for image in rows] for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert seen == batches(0) != batches(1)


def test_the_last_step_is_looked_at_too() -> None:
    losses = iter([1.0, 0.5])
    settings = ProbeSettings(steps=7, check_every=5)
    found = fit(nn.Linear(1, 1), zeros(), zeros(), settings, min_delta=0.0, look=lambda head: next(losses))
    assert (found.steps, found.best_step, found.loss) == (7, 7, 0.5)


@pytest.mark.parametrize(("patience", "steps"), [(0, 60), (1, 20), (3, 40)])
@pytest.mark.parametrize("min_delta", [0.0, 0.25])
def test_a_fall_by_no_more_than_the_least_is_no_progress(patience: int, steps: int, min_delta: float) -> None:
    """The first look is progress in any case; `patience` 0 never ends the fitting."""
    looks = Counter[int]()

    def look(head: nn.Module) -> float:
        looks[0] += 1
        return 1.0 if looks[0] == 1 else 1.0 - min_delta

    settings = ProbeSettings(steps=60, check_every=10, patience=patience)
    found = fit(nn.Linear(1, 1), zeros(), zeros(), settings, min_delta=min_delta, look=look)
    assert (found.steps, found.best_step) == (steps, 10 if min_delta == 0 else 20)


@pytest.mark.parametrize("by_image", [False, True])
def test_the_validation_loss_is_a_mean_over_all_pairs_whatever_the_chunks(by_image: bool) -> None:
    """Or over all images, with those that have no pair."""
    slots = torch.arange(14.0).reshape(7, 2, 1)
    partner = torch.tensor([0, 1, NOTHING, 0, NOTHING, 1, 0])[:, None]
    task = Plain(slots, by_image, partner)
    head = nn.Identity()
    taken = [float(slots[n, k]) for n, k in enumerate(partner[:, 0].tolist()) if k != NOTHING]
    wanted = math.fsum(taken) / (7 if by_image else 5)
    assert [validation_loss(task, head, chunk) for chunk in (1, 2, 3, 7, 99)] == pytest.approx([wanted] * 5)
    total, count = loss_of(task, head, torch.tensor([2, 5]))
    assert (float(total), count) == (11.0, 2 if by_image else 1)


@pytest.mark.filterwarnings(
    "ignore:Detected call of `lr_scheduler.step"
)  # as no step of the optimizer is done
def test_images_without_a_pair_teach_nothing() -> None:
    task = Plain(torch.zeros(4, 2, 1), partner_NT=torch.full((4, 1), NOTHING))
    head = nn.Linear(1, 1)
    before = weights(head)
    fit(head, task, task, ProbeSettings(steps=3, check_every=1, batch_size=2), min_delta=0.0)
    assert weights(head) == before
    assert validation_loss(task, head) == 0.0
