"""Heads on single slots, and fitting them: Adam, stopped early on validation images.

Each look at the validation images is a mean over them alone. In the published code the list of losses is
never emptied, so that each look is a mean over all so far, which falls long after the loss no longer does.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from slotlab.framework.arithmetic.matching import NOTHING, match
from slotlab.framework.probing.settings import HeadKind, ProbeSettings
from slotlab.framework.randomness.seeds import mix, permutation


class Task(Protocol):
    """Images with targets, and what it costs to take a slot's output for an object."""

    @property
    def slots_NKD(self) -> Tensor:
        """What heads see."""

    @property
    def kept_NK(self) -> Tensor:
        """bool: slots that may be matched by their loss."""

    @property
    def there_NT(self) -> Tensor:
        """bool: rows of targets that take part."""

    @property
    def partner_NT(self) -> Tensor | None:
        """int64: the slot of each row, or `NOTHING`; None to match them by their cost."""

    @property
    def by_image(self) -> bool:
        """Whether the loss is a sum over pairs and a mean over images; else a mean over pairs."""

    def cost(self, outputs_BKO: Tensor, rows_B: Tensor) -> Tensor:
        """Return the cost (B, T, K) of each pair, for the images `rows_B`."""


@dataclass(frozen=True)
class Fitted:
    """A head with its best weights."""

    head: nn.Module
    steps: int
    """How many steps were made."""
    best_step: int
    """The step whose weights these are."""
    loss: float
    """Of these weights, over the validation images."""


def build_head(kind: HeadKind, width: int, outputs: int, settings: ProbeSettings) -> nn.Sequential:
    """Return a head from slots (..., width) to (..., outputs), the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(settings.seed, 1))
        layers: list[nn.Module] = []
        for _ in range(settings.hidden_layers if kind == "mlp" else 0):
            layers += [nn.Linear(width, settings.hidden), nn.LeakyReLU()]
            width = settings.hidden
        return nn.Sequential(*layers, nn.Linear(width, outputs))


def partners(task: Task, cost_BTK: Tensor, rows_B: Tensor) -> Tensor:
    """Return the slot of each row of targets, int64 (B, T): given, or those with the least sum of costs."""
    if task.partner_NT is not None:
        return task.partner_NT[rows_B]
    return match(-cost_BTK.detach(), task.there_NT[rows_B], task.kept_NK[rows_B])


def loss_of(task: Task, head: nn.Module, rows_B: Tensor) -> tuple[Tensor, int]:
    """Return the sum of the costs of all pairs of some images, and the number that it is a mean over."""
    cost_BTK = task.cost(head(task.slots_NKD[rows_B]), rows_B)
    partner_BT = partners(task, cost_BTK, rows_B)
    paired_BT = partner_BT != NOTHING
    taken_BT = cost_BTK.gather(2, partner_BT.clamp(min=0)[:, :, None])[:, :, 0]
    total = torch.where(paired_BT, taken_BT, torch.zeros_like(taken_BT)).sum()
    return total, len(rows_B) if task.by_image else int(paired_BT.sum())


def validation_loss(task: Task, head: nn.Module, chunk: int = 256) -> float:
    """Return the loss over all images of a task."""
    with torch.no_grad():
        found = [loss_of(task, head, rows_B) for rows_B in chunks(len(task.slots_NKD), chunk)]
    return sum(float(total) for total, _ in found) / max(1, sum(count for _, count in found))


def chunks(images: int, chunk: int) -> Iterator[Tensor]:
    """Yield the numbers of images, int64, at most `chunk` at a time."""
    for start in range(0, images, chunk):
        yield torch.arange(start, min(start + chunk, images))


def fit(
    head: nn.Module,
    task: Task,
    validation: Task,
    settings: ProbeSettings,
    *,
    min_delta: float,
    look: Callable[[nn.Module], float] | None = None,
) -> Fitted:
    """Fit a head, and return it with the weights of the lowest validation loss.

    Args:
        head: in its first state; it is changed.
        task: the images it is fitted on.
        validation: the images that stop the fitting.
        settings: of the probe.
        min_delta: by how much the loss must fall to count as progress.
        look: returns the present validation loss of a head, in place of that over `validation`.
    """
    look = look or (lambda head: validation_loss(validation, head))
    optimizer = torch.optim.Adam(head.parameters(), lr=settings.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(settings.halve_at), gamma=0.5)
    lowest, best_step, weights = float("inf"), 0, deepcopy(head.state_dict())
    reference, waited, step = float("inf"), 0, 0
    order: list[int] = []
    epoch = 0
    while step < settings.steps:
        if not order:
            order, epoch = permutation(len(task.slots_NKD), seed=settings.seed, epoch=epoch), epoch + 1
        rows_B, order = torch.tensor(order[: settings.batch_size]), order[settings.batch_size :]
        total, count = loss_of(task, head, rows_B)
        optimizer.zero_grad()
        if count:  # images without a pair teach nothing
            torch.autograd.backward(total / count)
            optimizer.step()
        schedule.step()
        step += 1
        if step % settings.check_every and step != settings.steps:
            continue
        loss = look(head)
        if loss < lowest:
            lowest, best_step, weights = loss, step, deepcopy(head.state_dict())
        if loss < reference - min_delta:
            reference, waited = loss, 0
        else:
            waited += 1
            if waited == settings.patience:
                break
    head.load_state_dict(weights)
    return Fitted(head, step, best_step, lowest)
