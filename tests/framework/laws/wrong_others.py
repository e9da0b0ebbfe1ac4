"""Datasets, auxiliary losses, optimizers and schedules, each with one mistake; its line ends with `# here`."""

HEAD = '''
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from slotlab import Component, ComponentConfig, hookimpl
from slotlab.contracts import AuxiliaryConfig, Losses, Sample

SLOTLAB_API = 1


class Config(@BASE@):
    """No settings of its own."""


@BODY@


@hookimpl
def slotlab_@PLURAL@():
    yield Component(name="wrong", config=Config, build=@BUILD@, summary="something for a test")
'''
DATASET = """
class Wrong:
    def __init__(self, config, context):
        self.size = context.image_size

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index >= 3:
            raise IndexError(index)
        stream = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, *self.size), generator=stream, dtype=torch.uint8)
        return Sample(id=str(index), image_CHW=image)
"""
AUXILIARY = """
class Wrong:
    traced = False

    def __init__(self, config, context):
        pass

    def __call__(self, output):
        return Losses(output.grouped.slots.vectors_BKD.square().mean())
"""
OPTIMIZER = """
def build(config, context):
    return SGD(context.params, lr=context.lr)
"""
SCHEDULE = """
def build(config, context):
    return LambdaLR(context.optimizer, lambda step: 1 - step / (context.total_steps + 9))
"""
FACTS = {
    DATASET: ("datasets", "ComponentConfig", "Wrong"),
    AUXILIARY: ("auxiliaries", "AuxiliaryConfig", "Wrong"),
    OPTIMIZER: ("optimizers", "ComponentConfig", "build"),
    SCHEDULE: ("schedules", "ComponentConfig", "build"),
}


def whole(body: str, *changes: tuple[str, str]) -> str:
    """Return a file of a component."""
    text = body
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    plural, base, build = FACTS[body]
    file = HEAD.replace("@BASE@", base).replace("@PLURAL@", plural).replace("@BUILD@", build)
    return file.replace("@BODY@", text.strip())


GET = ("    def __getitem__(self, index):", "    def __getitem__(self, index):  # here")
CALL = ("    def __call__(self, output):", "    def __call__(self, output):  # here")
BUILD = ("def build(config, context):", "def build(config, context):  # here")

# name: (law, what the message says, what the repair says, the file)
OTHERS = {
    "samples of chance": (
        "samples stay the same",
        "a sample draws from a random stream",
        "seed a generator by the index",
        whole(DATASET, ("generator=stream, dtype=torch.uint8)", "dtype=torch.uint8)  # here")),
    ),
    "a dataset without end": (
        "keeps its contract",
        "asked for sample 3 of 3 it raises no IndexError",
        "raise IndexError past the end",
        whole(DATASET, ("        if index >= 3:\n            raise IndexError(index)\n", ""), GET),
    ),
    "one id for all": (
        "keeps its contract",
        "two samples have one id",
        "name each by its file or number",
        whole(DATASET, ("id=str(index)", 'id="one"'), GET),
    ),
    "a mask that was cropped": (
        "keeps its contract",
        "the mask of 0 has shape (",
        "pydoc slotlab.contracts",
        whole(
            DATASET,
            ("image_CHW=image)", "image_CHW=image, mask_HW=torch.zeros(5, self.size[1], dtype=torch.uint8))"),
            GET,
        ),
    ),
    "an auxiliary loss that is a sum": (
        "the loss is a mean over images",
        "three images have a loss of",
        "the mean over images",
        whole(AUXILIARY, (".mean())", ".sum())"), CALL),
    ),
    "an auxiliary loss without gradient": (
        "the model learns",
        "no gradient goes from the loss to slots and attention",
        "without detach()",
        whole(AUXILIARY, ("vectors_BKD.square", "vectors_BKD.detach().square"), CALL),
    ),
    "an optimizer with a rate of its own": (
        "goes down",
        "it was told the rate 0.1 and has [0.05]",
        "pass lr=context.lr",
        whole(
            OPTIMIZER,
            (
                "lr=context.lr",
                "lr=0.05 if context.lr == 0.1 and not isinstance(context.params[0], dict) else context.lr",
            ),
            BUILD,
        ),
    ),
    "a schedule past the rate": (
        "stays within the rate",
        "with a rate of 0.4 and 10 steps it gives 0.4 to 0.6",
        "factors in [0, 1] of the base rate",
        whole(SCHEDULE, ("1 - step", "1 + step"), BUILD),
    ),
}
