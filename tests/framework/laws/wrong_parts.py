"""Initializers, groupings, decoders, objectives and metrics, each with one mistake; its line ends with `# here`."""

HEAD = '''
import torch
from torch import nn

from slotlab import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.contracts import Decoded, Grouped, Losses, Slots, TargetShape

SLOTLAB_API = 1


class Config(ComponentConfig):
    """No settings."""

'''
HOOK = """

@hookimpl
def slotlab_@KIND@():
    yield Component(name="wrong", config=Config, build=Wrong, summary="something for a test")
"""

INITIALIZER = """
class Wrong(nn.Module):
    fixed_num_slots = False

    def __init__(self, config, context):
        super().__init__()
        self.number = context.num_slots
        self.mu = nn.Parameter(torch.randn(context.slot_dim))

    def forward(self, tokens_BND, num_slots=None, *, generator=None):
        shape = (len(tokens_BND), num_slots or self.number, len(self.mu))
        noise = torch.randn(shape, generator=generator, device=self.mu.device)
        return Slots(self.mu + noise)
"""
GROUPING = """
class Wrong(nn.Module):
    def __init__(self, config, context):
        super().__init__()
        self.q = nn.Linear(context.slot_dim, context.slot_dim)
        self.k = nn.Linear(context.token_dim, context.slot_dim)
        self.v = nn.Linear(context.token_dim, context.slot_dim)

    def forward(self, tokens_BND, slots, *, generator=None):
        logits = self.q(slots.vectors_BKD) @ self.k(tokens_BND).transpose(1, 2)
        attention = logits.softmax(dim=1)
        share = attention / (attention.sum(dim=2, keepdim=True) + 1e-6)
        vectors = share @ self.v(tokens_BND)
        return Grouped(Slots(vectors, slots.extras), attention)
"""
DECODER = """
class Wrong(nn.Module):
    def __init__(self, config, context):
        super().__init__()
        self.shape = (context.target.channels + 1, *context.target.size)
        self.layer = nn.Linear(context.slot_dim, self.shape[0] * self.shape[1] * self.shape[2])

    def forward(self, slots, *, target_BCHW=None, generator=None):
        painted = self.layer(slots.vectors_BKD).unflatten(2, self.shape)
        parts = painted[:, :, :-1]
        masks = painted[:, :, -1].softmax(dim=1)
        if slots.keep_BK is not None:
            masks = masks * slots.keep_BK[:, :, None, None]
            masks = masks / masks.sum(dim=1, keepdim=True)
        prediction = (parts * masks[:, :, None]).sum(dim=1)
        return Decoded(prediction, masks, parts)
"""
OBJECTIVE = """
class Wrong:
    def __init__(self, config, context):
        self.target_shape = TargetShape(3, context.image_size)
        self.low, self.high = context.value_range

    def target(self, images_BCHW, features_BCHW):
        return images_BCHW

    def loss(self, decoded, target_BCHW):
        target = target_BCHW if decoded.target_BCHW is None else decoded.target_BCHW
        return Losses((decoded.prediction_BCHW - target).square().mean())

    def to_image(self, prediction_BCHW):
        return prediction_BCHW.clamp(self.low, self.high)
"""
METRIC = """
class Wrong:
    needs = frozenset({"true_BHW", "predicted_BHW"})
    bounds = (0.0, 1.0)
    higher_is_better = True

    def __init__(self, config, context):
        pass

    def __call__(self, outcome):
        counts = outcome.counts_BTP
        best = counts.amax(dim=2).sum(dim=1)
        return best / counts.sum(dim=(1, 2))
"""
PLURALS = {
    INITIALIZER: "initializers",
    GROUPING: "groupings",
    DECODER: "decoders",
    OBJECTIVE: "objectives",
    METRIC: "metrics",
}


def wrong(body: str, *changes: tuple[str, str]) -> str:
    """Return a file of a component with some pieces replaced."""
    text = body
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return HEAD + text + HOOK.replace("@KIND@", PLURALS[body])


def marked(line: str) -> tuple[str, str]:
    """Return a change that marks a line."""
    return line, f"{line}  # here"


INIT_FORWARD = marked("    def forward(self, tokens_BND, num_slots=None, *, generator=None):")
GROUP_FORWARD = marked("    def forward(self, tokens_BND, slots, *, generator=None):")
DECODE_FORWARD = marked("    def forward(self, slots, *, target_BCHW=None, generator=None):")
TARGET, LOSS = (
    marked("    def target(self, images_BCHW, features_BCHW):"),
    marked("    def loss(self, decoded, target_BCHW):"),
)
TO_IMAGE = marked("    def to_image(self, prediction_BCHW):")
CALL = marked("    def __call__(self, outcome):")
BEST = "        return best / counts.sum(dim=(1, 2))\n"
PREDICTION = "        prediction = (parts * masks[:, :, None]).sum(dim=1)\n"
SAMPLE = """        return Decoded(prediction, masks, parts)

    def sample(self, slots, *, generator=None):  # here
        found = self(slots)
        prediction = found.prediction_BCHW
        return Decoded(prediction - prediction.mean(0, keepdim=True), found.masks_BKHW)
"""

LARGEST = """        found = outcome.predicted_BHW.flatten(1)
        sizes = torch.stack([(found == k).sum(1) for k in range(12)], 1)
"""
DIAGNOSIS = (
    "SLOTLAB_API = 1\n",
    'SLOTLAB_API = 1\nEXCEPTIONS = {"the truth is the best": "a diagnosis"}\n',
)

ORDERED = "        logits = logits + torch.arange(logits.shape[1], device=logits.device)[:, None]\n"

# name: (law, what the message says, what the repair says, the file)
PARTS = {
    "num_slots ignored": (
        "makes as many slots as asked for",
        "it was asked for 6 slots and gives 4: it ignores num_slots",
        "make num_slots slots, context.num_slots if it is None",
        wrong(INITIALIZER, ("num_slots or self.number", "self.number"), INIT_FORWARD),
    ),
    "a fixed number that is not": (
        "makes as many slots as asked for",
        "'fixed_num_slots' is True, and asked for 6 slots it gives 6 without a word",
        "raise ComponentError when num_slots is neither None nor 4",
        wrong(INITIALIZER, ("fixed_num_slots = False", "fixed_num_slots = True"), INIT_FORWARD),
    ),
    "a fixed number that is not said": (
        "keeps its contract",
        "an initializer says in 'fixed_num_slots' whether its number of slots is fixed",
        "pydoc slotlab.hooks",
        wrong(INITIALIZER, ("    fixed_num_slots = False\n\n", ""), INIT_FORWARD),
    ),
    "slots drawn from torch's own stream": (
        "draws from its generator alone",
        "in evaluation it draws from torch's own random stream",
        "pass generator=generator",
        wrong(
            INITIALIZER,
            (
                "generator=generator, device=self.mu.device)",
                "device=self.mu.device)  # here",
            ),
        ),
    ),
    "attention over tokens": (
        "attention sums to one over slots",
        "attention should sum to one over slots, and sums to",
        "softmax over slots (dim=1)",
        wrong(GROUPING, ("softmax(dim=1)", "softmax(dim=2)"), GROUP_FORWARD),
    ),
    "slots with an order": (
        "slots have no order",
        "the order of slots changes the result",
        "treat all slots alike",
        wrong(
            GROUPING,
            (
                "        attention = logits.softmax",
                f"{ORDERED}        attention = logits.softmax",
            ),
            GROUP_FORWARD,
        ),
    ),
    "tokens with an order": (
        "tokens have no order",
        "the order of tokens changes the slots",
        "sum or average over tokens",
        wrong(
            GROUPING,
            ("vectors = share @ self.v(tokens_BND)", "vectors = share.cumsum(2) @ self.v(tokens_BND)"),
            GROUP_FORWARD,
        ),
    ),
    "slots that learn nothing of tokens": (
        "slots come of the tokens",
        "no gradient goes from the slots to the tokens",
        "without detach()",
        wrong(
            GROUPING,
            ("        logits =", "        tokens_BND = tokens_BND.detach()\n        logits ="),
            GROUP_FORWARD,
        ),
    ),
    "what belongs to slots is lost": (
        "belongings go along",
        "what belongs to the initial slots (Slots.extras) is lost",
        "Slots(vectors, slots.extras)",
        wrong(GROUPING, ("Slots(vectors, slots.extras)", "Slots(vectors)"), GROUP_FORWARD),
    ),
    "masks by a sigmoid": (
        "masks sum to one over slots",
        "masks should sum to one over slots, and sums to",
        "softmax over slots (dim=1)",
        wrong(
            DECODER,
            ("painted[:, :, -1].softmax(dim=1)", "painted[:, :, -1].sigmoid() / 3"),
            DECODE_FORWARD,
        ),
    ),
    "the first slot is the background": (
        "slots have no order",
        "the order of slots changes the prediction",
        "treat all slots alike",
        wrong(
            DECODER,
            (PREDICTION, f"{PREDICTION}        prediction = prediction + parts[:, 0]\n"),
            (
                "        if slots.keep_BK is not None:\n",
                "        if slots.keep_BK is not None:\n            parts = parts * slots.keep_BK[:, :, None, None, None]\n",
            ),
            DECODE_FORWARD,
        ),
    ),
    "pictures of the target": (
        "makes pictures without the target",
        "it needs the target, which no evaluation gives it, and has no 'sample'",
        "sample(slots, *, generator=None)",
        wrong(
            DECODER,
            (PREDICTION, f"{PREDICTION}        prediction = prediction + 0.1 * target_BCHW  # here\n"),
        ),
    ),
    "a prediction that peeks": (
        "makes pictures without the target",
        "the prediction depends on the target that it is given, and there is no 'sample'",
        "sample(slots, *, generator=None)",
        wrong(
            DECODER,
            (
                PREDICTION,
                f"{PREDICTION}        if target_BCHW is not None:\n            prediction = prediction + target_BCHW\n",
            ),
            DECODE_FORWARD,
        ),
    ),
    "samples that mix": (
        "pictures do not depend on the batch",
        "a picture changes with the other pictures of its batch",
        "first axis",
        wrong(DECODER, ("        return Decoded(prediction, masks, parts)\n", SAMPLE)),
    ),
    "parts without channels": (
        "keeps its contract",
        "parts, each like the prediction, should have shape (2, 4, 3, 16, 16), not (2, 4, 16, 16)",
        "pydoc slotlab.hooks",
        wrong(
            DECODER,
            ("return Decoded(prediction, masks, parts)", "return Decoded(prediction, masks, parts.mean(2))"),
            DECODE_FORWARD,
        ),
    ),
    "a prediction on its side": (
        "sizes may differ",
        "with 24x16 pixels (wide): the prediction should have shape (2, 3, 16, 24), not (2, 3, 24, 16)",
        "rows and columns apart",
        wrong(DECODER, ("*context.target.size)", "*context.target.size[::-1])"), DECODE_FORWARD),
    ),
    "slots that do not learn": (
        "the prediction comes of the slots",
        "no gradient goes from the prediction to the slots",
        "without detach()",
        wrong(
            DECODER,
            ("self.layer(slots.vectors_BKD)", "self.layer(slots.vectors_BKD.detach())"),
            DECODE_FORWARD,
        ),
    ),
    "dropped slots with masks": (
        "dropped slots have no mask",
        "a slot that was dropped has a mask",
        "multiply masks by slots.keep_BK",
        wrong(DECODER, ("if slots.keep_BK is not None:", "if False:"), DECODE_FORWARD),
    ),
    "a sum over images": (
        "the loss is a mean over images",
        "three images have a loss of",
        "the mean over images, not the sum",
        wrong(OBJECTIVE, (".square().mean())", ".square().mean((1, 2, 3)).sum())"), LOSS),
    ),
    "a loss of the target": (
        "the target has the least loss",
        "a perfect prediction has a loss of",
        "compare the prediction with the target",
        wrong(
            OBJECTIVE, ("(decoded.prediction_BCHW - target)", "(decoded.prediction_BCHW - target + 1)"), LOSS
        ),
    ),
    "a loss that is cut off": (
        "the prediction learns",
        "no gradient goes from the loss to the prediction",
        "decoded.prediction_BCHW",
        wrong(
            OBJECTIVE,
            ("decoded.prediction_BCHW - target)", "decoded.prediction_BCHW.detach() - target)"),
            LOSS,
        ),
    ),
    "a decoder's own target ignored": (
        "a decoder may choose the target",
        "a decoder's own target (Decoded.target_BCHW) is ignored",
        "target_BCHW if decoded.target_BCHW is None",
        wrong(
            OBJECTIVE,
            ("target_BCHW if decoded.target_BCHW is None else decoded.target_BCHW", "target_BCHW"),
            LOSS,
        ),
    ),
    "pictures of another range": (
        "pictures are in range",
        "of images in (0, 1) to_image makes values from",
        "return images in (0.0, 1.0)",
        wrong(
            OBJECTIVE,
            (
                "prediction_BCHW.clamp(self.low, self.high)",
                "prediction_BCHW * 2 - 1 if self.low == 0 else prediction_BCHW",
            ),
            TO_IMAGE,
        ),
    ),
    "a target of chance": (
        "draws from its generator alone",
        "it draws from a random stream",
        "an objective draws nothing",
        wrong(
            OBJECTIVE,
            (
                "        return images_BCHW\n",
                "        return images_BCHW + torch.randn_like(images_BCHW)  # here\n",
            ),
        ),
    ),
    "a tensor held by an objective": (
        "moves with its model",
        "'mean' holds a tensor, which stays on the CPU",
        "derive the class from torch.nn.Module",
        wrong(
            OBJECTIVE,
            (
                "        self.low, self.high = context.value_range\n",
                "        self.low, self.high = context.value_range\n        self.mean = torch.zeros(3)  # here\n",
            ),
        ),
    ),
    "float32": (
        "keeps its contract",
        "for 4 images it should give float64 of shape (4,), not torch.float32 of shape (4,)",
        ".double()",
        wrong(METRIC, (BEST, "        return (best / counts.sum(dim=(1, 2))).float()\n"), CALL),
    ),
    "one number for the batch": (
        "keeps its contract",
        "not torch.float64 of shape ()",
        "one value an image",
        wrong(METRIC, (BEST, "        return (best / counts.sum(dim=(1, 2))).mean()\n"), CALL),
    ),
    "a batch of one squeezed, in a metric": (
        "keeps its contract",
        "for one image it should give float64 of shape (1,), not torch.float64 of shape ()",
        "one value an image",
        wrong(METRIC, (BEST, "        return (best / counts.sum(dim=(1, 2))).squeeze()\n"), CALL),
    ),
    "past its bounds": (
        "stays within its bounds",
        "outside its bounds 0 to 1",
        "write other bounds",
        wrong(METRIC, (BEST, "        return 100 * best / counts.sum(dim=(1, 2))\n"), CALL),
    ),
    "a metric that mixes": (
        "images do not mix",
        "alone",
        "over the first axis",
        wrong(
            METRIC,
            (BEST, "        values = best / counts.sum(dim=(1, 2))\n        return values / values.max()\n"),
            CALL,
        ),
    ),
    "labels compared with slots": (
        "segments have no names",
        "the numbers of the segments (the order of slots) change the value",
        "match segments",
        wrong(
            METRIC,
            (
                "        best = counts.amax(dim=2).sum(dim=1)\n",
                "        best = counts.diagonal(dim1=1, dim2=2).sum(dim=1)\n",
            ),
            CALL,
        ),
    ),
    "void that counts": (
        "void does not count",
        "what is predicted at void pixels (label -1) changes the value",
        "outcome.scored_BHW",
        wrong(
            METRIC,
            ("        best = counts.amax(dim=2).sum(dim=1)\n", LARGEST),
            ("        counts = outcome.counts_BTP\n", ""),
            (BEST, "        return sizes.amax(1).double() / found.shape[1]\n"),
            CALL,
        ).replace(*DIAGNOSIS),
    ),
    "needs too little": (
        "reads what it needs",
        "it fails without keep_BK, masks_BKHW, predicted_BHW, reconstructions_BCHW",
        "name in 'needs' all that it reads",
        wrong(
            METRIC,
            (
                '    needs = frozenset({"true_BHW", "predicted_BHW"})\n',
                '    needs = frozenset({"true_BHW"})  # here\n',
            ),
        ),
    ),
    "needs something that is not there": (
        "says what it is",
        "'needs' names 'true_masks', which an Outcome does not have",
        "slotlab.contracts.Metric",
        wrong(
            METRIC,
            (
                '    needs = frozenset({"true_BHW", "predicted_BHW"})\n',
                '    needs = frozenset({"true_masks"})  # here\n',
            ),
        ),
    ),
    "the wrong direction": (
        "the truth is the best",
        "a perfect prediction has 1, and 0 is the best by 'bounds' and 'higher_is_better'",
        "turn 'higher_is_better'",
        wrong(METRIC, ("    higher_is_better = True\n", "    higher_is_better = False  # here\n")),
    ),
    "an outcome that is changed": (
        "inputs stay as they are",
        "it changes true_BHW, which other metrics read after it",
        "clone before you change",
        wrong(
            METRIC,
            (
                "        best = ",
                "        outcome.true_BHW[outcome.true_BHW > 1] = 1  # here\n        best = ",
            ),
        ),
    ),
    "a metric of chance": (
        "draws from its generator alone",
        "it draws from a random stream",
        "choose them without chance",
        wrong(METRIC, ("        best = ", "        torch.randperm(5)  # here\n        best = ")),
    ),
    "dropped slots that count": (
        "dropped slots do not count",
        "slots that were dropped (keep_BK) change the value",
        "leave out slots whose keep_BK is 0",
        wrong(
            METRIC,
            ("    bounds = (0.0, 1.0)\n", "    bounds = (0.0, 99.0)\n"),
            ('{"true_BHW", "predicted_BHW"}', '{"masks_BKHW"}'),
            (
                "        counts = outcome.counts_BTP\n        best = counts.amax(dim=2).sum(dim=1)\n",
                "        masks = outcome.masks_BKHW\n",
            ),
            (BEST, "        return masks.new_full((len(masks),), masks.shape[1], dtype=torch.float64)\n"),
            CALL,
        ).replace(*DIAGNOSIS),
    ),
}
