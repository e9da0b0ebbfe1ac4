"""Dynamics, each with one mistake; its line ends with `# here`."""

GOOD = '''
import torch
from torch import nn

from slotlab import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class Config(ComponentConfig):
    """No settings."""


class Wrong(nn.Module):
    def __init__(self, config, context):
        super().__init__()
        self.change = nn.Linear(context.slot_dim, context.slot_dim)

    def forward(self, slots_BTKD, steps):
        found = [slots_BTKD[:, -1]]
        for _ in range(steps):
            found.append(found[-1] + self.change(found[-1]))
        return torch.stack(found[1:], dim=1)


@hookimpl
def slotlab_dynamics():
    yield Component(name="wrong", config=Config, build=Wrong, summary="something for a test")
'''
FORWARD = "    def forward(self, slots_BTKD, steps):"


def wrong(*changes: tuple[str, str]) -> str:
    """Return a file of dynamics with some pieces replaced."""
    text = GOOD.replace(FORWARD, f"{FORWARD}  # here")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


DYNAMICS = {
    "slots to come with an order": (
        "slots have no order",
        "the order of slots changes the result",
        "treat all slots alike",
        wrong(("found[-1] + self", "found[-1].cumsum(1) + self")),
    ),
    "a future that its length changes": (
        "what is near does not depend on what is far",
        "the first 2 frames are others if 5 are asked for",
        "one frame after the other",
        wrong(("self.change(found[-1])", "self.change(found[-1]) / steps")),
    ),
    "a future without a past": (
        "the future comes of the past",
        "no gradient goes from the foretold slots to those seen",
        "without detach()",
        wrong(("slots_BTKD[:, -1]]", "slots_BTKD[:, -1].detach()]")),
    ),
    "too few frames": (
        "keeps its contract",
        "slots of the frames that follow should have shape (2, 3, 4, 8), not (2, 2, 4, 8)",
        "pydoc slotlab.hooks",
        wrong(("found[1:]", "found[2:]")),
    ),
}
