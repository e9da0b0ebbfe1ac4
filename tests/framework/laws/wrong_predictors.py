"""Predictors, each with one mistake; its line ends with `# here`."""

TEXT = '''
import torch
from torch import nn

from slotlab import Component, ComponentConfig, hookimpl
from slotlab.contracts import Slots

SLOTLAB_API = 1


class Config(ComponentConfig):
    """No settings."""


class Wrong(nn.Module):
    """A mean of what each slot was, over frames."""

    def __init__(self, config, context):
        super().__init__()
        self.layer = nn.Linear(context.slot_dim, context.slot_dim)

    def start(self, slots):
        return {"past": torch.zeros_like(slots.vectors_BKD)}

    def forward(self, slots, state):
        past = (state["past"] + self.layer(slots.vectors_BKD)) / 2
        return Slots(past, slots.extras), {"past": past}


@hookimpl
def slotlab_predictors():
    yield Component(name="wrong", config=Config, build=Wrong, summary="something for a test")
'''
FORWARD = "    def forward(self, slots, state):"
RETURN = 'return Slots(past, slots.extras), {"past": past}'


def wrong(*changes: tuple[str, str]) -> str:
    """Return the file with some pieces replaced."""
    text = TEXT
    for old, new in (*changes, (FORWARD, f"{FORWARD}  # here")):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


PREDICTORS = {
    "a predictor that returns slots alone": (
        "keeps its contract",
        "forward should return (Slots, state), not Slots",
        "slotlab.hooks",
        wrong((RETURN, "return Slots(past, slots.extras)")),
    ),
    "a memory of no slots": (
        "keeps its contract",
        "'past', remembered of the slots, should be a tensor whose first axes are (2, 4), not (8, 8)",
        "slotlab.hooks",
        wrong(
            ('"past": past}', '"past": past.flatten(0, 1)}'),
            ('state["past"] +', 'state["past"].view_as(slots.vectors_BKD) +'),
        ),
    ),
    "a predictor without a start": (
        "keeps its contract",
        "a predictor says in 'start(slots)' what it remembers",
        "slotlab.hooks",
        wrong(("    def start(", "    def begin(")),
    ),
    "predicted slots with an order": (
        "slots have no order",
        "the order of slots changes the result",
        "treat all slots alike",
        wrong(("self.layer(slots.vectors_BKD)) / 2", "self.layer(slots.vectors_BKD).cumsum(1)) / 2")),
    ),
    "a predictor that loses what belongs to slots": (
        "belongings go along",
        "what belongs to the slots (Slots.extras) is lost",
        "Slots(vectors, slots.extras), state",
        wrong((RETURN, 'return Slots(past), {"past": past}')),
    ),
    "a predictor that mixes clips": (
        "images do not mix",
        "what becomes of an image changes with the other images of its batch",
        "no mean, norm or softmax over the first axis",
        wrong(("self.layer(slots.vectors_BKD)) / 2", "self.layer(slots.vectors_BKD).mean(0)) / 2")),
    ),
    "a prediction without a gradient": (
        "the prediction comes of the slots",
        "no gradient goes from the prediction to the slots",
        "without detach()",
        wrong(("self.layer(slots.vectors_BKD)) / 2", "self.layer(slots.vectors_BKD.detach())) / 2")),
    ),
}
