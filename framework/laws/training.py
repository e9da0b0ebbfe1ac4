"""Laws of optimizers and schedules."""

from typing import Any

import torch

from slotlab.framework.contracts import OptimizerContext, ScheduleContext
from slotlab.framework.contracts.promises import expect_type
from slotlab.framework.laws.bench_others import RATE, STEPS, point
from slotlab.framework.laws.general import BUILT
from slotlab.framework.laws.subject import Subject
from slotlab.framework.laws.verdict import Broken, Law


def goes_down(subject: Subject) -> None:
    """It is one of torch's optimizers, has the rate that it is told, and makes a quadratic smaller."""
    place = point()
    optimizer = subject.build(OptimizerContext(params=[place], lr=0.1))
    expect_type(optimizer, torch.optim.Optimizer, "build")
    rates = [group["lr"] for group in optimizer.param_groups]
    if rates != [0.1]:
        raise Broken(f"it was told the rate 0.1 and has {rates}", "pass lr=context.lr", place=subject.place())
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = place.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss))
    if not losses[-1] < 0.1 * losses[0]:
        text = f"60 steps at rate 0.1 take x ** 2 from {losses[0]:.3g} to {losses[-1]:.3g}"
        raise Broken(text, place=subject.place("step"))


def takes_groups(subject: Subject) -> None:
    """Groups of parameters keep rates of their own (`training.groups`)."""
    groups: list[dict[str, Any]] = [{"params": [point()], "lr": 0.3}, {"params": [point()]}]
    optimizer = subject.build(OptimizerContext(params=groups, lr=0.1))
    rates = [group["lr"] for group in optimizer.param_groups]
    if rates != [0.3, 0.1]:
        raise Broken(f"groups with the rates 0.3 and 0.1 have {rates}", place=subject.place())


def stays_within_the_rate(subject: Subject) -> None:
    """Rates lie between zero and the phase's rate, and are not all zero; also past the last step."""
    optimizer = torch.optim.SGD([point()], lr=RATE)
    schedule: Any = subject.build(ScheduleContext(optimizer=optimizer, total_steps=STEPS))
    expect_type(schedule, torch.optim.lr_scheduler.LRScheduler, "build")
    rates = []
    for _ in range(STEPS + 2):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    if not all(0 <= rate <= RATE * (1 + 1e-9) for rate in rates) or not max(rates) > 0:
        text = f"with a rate of {RATE} and {STEPS} steps it gives {min(rates):.4g} to {max(rates):.4g}"
        raise Broken(text, place=subject.place("get_lr"))


OPTIMIZER = (
    Law("goes down", goes_down, "return an optimizer of torch's kind", (BUILT,)),
    Law("takes groups", takes_groups, "pass context.params to torch's optimizer as it is", (BUILT,)),
)
SCHEDULE = (
    Law(
        "stays within the rate", stays_within_the_rate, "return factors in [0, 1] of the base rate", (BUILT,)
    ),
)
