"""A training that goes on with other rates: they are those of the new schedule at the saved place."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler

from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.learning_rates import have_changed, hold, rates, take_over


def made(lr: float, steps: int) -> tuple[torch.nn.Parameter, torch.optim.Adam, LRScheduler]:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=lr)
    return weight, optimizer, CosineAnnealingLR(optimizer, steps)


def step(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer, schedule: LRScheduler) -> None:
    optimizer.zero_grad()
    weight.square().sum().backward()
    optimizer.step()
    schedule.step()


@pytest.mark.parametrize("done", [0, 1, 7])
def test_other_rates_go_on_from_the_saved_place_with_the_saved_moments(done: int) -> None:
    weight, optimizer, schedule = made(0.1, 10)
    for _ in range(done):
        step(weight, optimizer, schedule)
    saved: dict[str, Any] = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    _, new, new_schedule = made(0.02, 40)
    take_over(new, new_schedule, saved)
    plain, counted, plain_schedule = made(0.02, 40)
    for _ in range(done):
        step(plain, counted, plain_schedule)
    assert new.param_groups[0]["lr"] == pytest.approx(counted.param_groups[0]["lr"], rel=1e-12)
    assert new_schedule.last_epoch == done
    if done:
        ours, theirs = new.state_dict()["state"][0], optimizer.state_dict()["state"][0]
        assert all(torch.equal(ours[name], theirs[name]) for name in ("step", "exp_avg", "exp_avg_sq"))


def test_other_rates_leave_a_group_out_of_the_schedule() -> None:
    def two(lr: float) -> tuple[torch.optim.Adam, LRScheduler]:
        plain, held = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
        groups = [{"params": [plain]}, {"params": [held], "lr": 3 * lr, "scheduled": False}]
        optimizer = torch.optim.Adam(groups, lr=lr)
        return optimizer, ExponentialLR(optimizer, 0.5)

    optimizer, schedule = two(0.1)
    optimizer.step()
    schedule.step()
    hold(optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.3])
    saved = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    new, new_schedule = two(0.02)
    take_over(new, new_schedule, saved)
    assert [group["lr"] for group in new.param_groups] == pytest.approx([0.01, 0.06])


def test_moments_of_other_groups_are_dropped() -> None:
    weight, optimizer, schedule = made(0.1, 10)
    step(weight, optimizer, schedule)
    saved = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    first, second = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(2))
    new = torch.optim.Adam([{"params": [first]}, {"params": [second], "lr": 1e-4}], lr=0.02)
    take_over(new, ExponentialLR(new, 0.5), saved)
    assert new.state_dict()["state"] == {}
    assert [group["lr"] for group in new.param_groups] == [0.01, 0.5e-4]


def test_whatever_sets_a_rate_is_seen_to_change_and_nothing_else(tiny: Callable[..., ExperimentSpec]) -> None:
    saved = {"phase": 0, "rates": rates(tiny(), 0)}
    assert not have_changed(saved, tiny(seed=1, training={"batch_size": 3, "log_every": 7}))
    changes: tuple[dict[str, Any], ...] = (
        {"phases": [{"steps": 2, "lr": 0.02}]},
        {"phases": [{"steps": 2, "lr": 0.01, "schedule": "cosine"}]},
        {"optimizer": {"name": "adam", "eps": 1e-6}},
        {"groups": [{"weights": ["encoder"], "lr_factor": 0.1}]},
        {"groups": [{"weights": ["encoder"], "scheduled": False}]},
    )
    assert [have_changed(saved, tiny(training=change)) for change in changes] == [True] * len(changes)
