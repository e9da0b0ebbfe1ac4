"""Encoders, each with one mistake; the line that is to be named ends with `# here`."""

HEAD = """
import random

import numpy as np
import torch
from torch import nn

from slotlab import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.contracts import Decoded, Grouped, Losses, Slots, TargetShape

SLOTLAB_API = 1
"""
ENCODER = (
    HEAD
    + '''

class Config(ComponentConfig):
    """Settings of the encoder."""

    width: int = 4
    """Channels."""


class Encoder(nn.Module):
    def __init__(self, config, context):
        super().__init__()
        self.layer = nn.Conv2d(3, config.width, 3, padding=1)
        self.channels, self.grid = config.width, context.image_size

    def forward(self, images_BCHW):
        return self.layer(images_BCHW)


@hookimpl
def slotlab_encoders():
    yield Component(name="wrong", config=Config, build=Encoder, summary="a convolution")
'''
)


def other(text: str, *changes: tuple[str, str]) -> str:
    """Return the text with some pieces replaced."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


BUILD = "        self.channels, self.grid = config.width, context.image_size\n"
FORWARD = "        return self.layer(images_BCHW)\n"
DEF = "    def forward(self, images_BCHW):\n"


def building(line: str, *more: tuple[str, str]) -> str:
    """Return an encoder with another line at the end of its `__init__`."""
    return other(ENCODER, (BUILD, f"{BUILD}        {line}\n"), *more)


def computing(*lines: str) -> str:
    """Return an encoder whose `forward` has other lines."""
    return other(ENCODER, (FORWARD, "".join(f"        {line}\n" for line in lines)))


def defining(*lines: str) -> str:
    """Return an encoder whose mistake is told at the line of `def forward`."""
    return computing(*lines).replace(DEF, DEF.replace("\n", "  # here\n"))


# name: (law, what the message says, what the repair says, the file)
ENCODERS = {
    "a dead parameter": (
        "every weight is learned",
        "no gradient reaches spare.weight, spare.bias",
        "requires_grad_(False)",
        building("self.spare = nn.Linear(2, 2)  # here"),
    ),
    "mixing across the batch": (
        "images do not mix",
        "what becomes of an image changes with the other images of its batch",
        "first axis",
        defining("found = self.layer(images_BCHW)", "return found - found.mean(0, keepdim=True)"),
    ),
    "torch's own stream": (
        "draws from its generator alone",
        "in evaluation it draws from torch's own random stream",
        "if self.training:",
        computing("found = self.layer(images_BCHW)", "return found + torch.randn_like(found)  # here"),
    ),
    "NumPy's stream": (
        "draws from its generator alone",
        "in evaluation it draws from NumPy's or Python's random stream",
        "if self.training:",
        computing("factor = 1 + np.random.rand()  # here", "return factor * self.layer(images_BCHW)"),
    ),
    "NumPy's stream in building": (
        "can be built",
        "numbers are drawn from NumPy or Python while it is built",
        "draw weights with torch",
        building("self.factor = random.random()  # here"),
    ),
    "a stream of its own in building": (
        "the seed decides its weights",
        "'mean' differs between two builds with one seed",
        "draw weights with torch alone",
        building(
            "own = torch.Generator()",
            (FORWARD, "        return self.layer(images_BCHW) + self.mean\n"),
        ).replace(
            "        own = torch.Generator()\n",
            "        own = torch.Generator()\n        own.seed()\n"
            '        self.register_buffer("mean", torch.randn((), generator=own))  # here\n',
        ),
    ),
    "NaN": (
        "values are finite",
        "what it makes of noise should be finite",
        "epsilon",
        defining("return self.layer(images_BCHW).log()"),
    ),
    "NaN for images of one color": (
        "values are finite",
        "what it makes of inputs that are all zero should be finite",
        "epsilon",
        defining("return self.layer(images_BCHW / images_BCHW.std((1, 2, 3), keepdim=True))"),
    ),
    "height and width swapped": (
        "sizes may differ",
        "with 48x32 pixels (wide): features, by its channels (4) and grid (48, 32),",
        "rows and columns apart",
        other(
            ENCODER,
            ("context.image_size\n", "context.image_size[::-1]\n"),
            (DEF, DEF.replace("\n", "  # here\n")),
        ),
    ),
    "square images alone": (
        "sizes may differ",
        "with 48x32 pixels (wide): RuntimeError: shape",
        "rows and columns apart",
        building(
            "self.sides = (context.image_size[0],) * 2",
            (
                FORWARD,
                "        return self.layer(images_BCHW).view(images_BCHW.shape[0], 4, *self.sides)  # here\n",
            ),
        ),
    ),
    "a batch of one squeezed": (
        "sizes may differ",
        "with a batch of 1: features",
        "rows and columns apart",
        defining("return self.layer(images_BCHW).squeeze(0)"),
    ),
    "a tensor that is not registered": (
        "moves with its model",
        "'mean' of Encoder holds a tensor that is not registered",
        "self.register_buffer('mean', ..., persistent=False)",
        building(
            "self.mean = torch.zeros(1, 3, 1, 1)  # here",
            (FORWARD, "        return self.layer(images_BCHW - self.mean)\n"),
        ),
    ),
    "modules in a list": (
        "moves with its model",
        "'heads' of Encoder holds a module that is not registered",
        "nn.ModuleList",
        building(
            "self.heads = [nn.Conv2d(4, 4, 1)]  # here",
            (FORWARD, "        return self.heads[0](self.layer(images_BCHW))\n"),
        ),
    ),
    "a tensor made on the CPU": (
        "moves with its model",
        "after it was moved to another device: mul of tensors on two devices",
        "device=x.device",
        computing(
            "ramp = torch.linspace(0, 1, images_BCHW.shape[-1])",
            "return self.layer(images_BCHW * ramp)  # here",
        ),
    ),
    "images changed in place": (
        "inputs stay as they are",
        "it changes the images that it is given",
        "x = x + 1, not x += 1",
        computing("images_BCHW += 1  # here", "return self.layer(images_BCHW)"),
    ),
    ".item()": (
        "works without values",
        ".item() needs values, and `validate` has shapes alone: 'peak = images_BCHW.abs().max().item()",
        "decide from shapes and settings",
        computing("peak = images_BCHW.abs().max().item()  # here", "return self.layer(images_BCHW)"),
    ),
    "a decision on values": (
        "works without values",
        "a decision on a tensor needs values, and `validate` has shapes alone",
        "decide from shapes and settings",
        computing(
            "if images_BCHW.isnan().any():  # here",
            "    raise ValueError('NaN')",
            "return self.layer(images_BCHW)",
        ),
    ),
    "an operation that half precision lacks": (
        "works in bfloat16",
        "for `end`",
        "float32",
        computing(
            "found = self.layer(images_BCHW)",
            "return torch.lerp(found, images_BCHW.new_zeros(found.shape), 0.5)  # here",
        ),
    ),
    "a setting without a docstring": (
        "settings are documented",
        "the setting 'width' has no docstring",
        'write a docstring under it: """What width is."""',
        other(ENCODER, ('    width: int = 4\n    """Channels."""\n', "    width: int = 4  # here\n")),
    ),
    "settings without a docstring": (
        "is described",
        "the class Config has no docstring",
        "under 'class Config'",
        other(
            ENCODER,
            (
                'class Config(ComponentConfig):\n    """Settings of the encoder."""\n',
                "class Config(ComponentConfig):  # here\n",
            ),
        ),
    ),
    "a summary that says nothing": (
        "is described",
        "the summary is 'wrong', which says nothing",
        "one line that says what the component is",
        other(ENCODER, ('summary="a convolution")', 'summary="wrong")  # here')),
    ),
    "settings that accept slips": (
        "settings are closed and frozen",
        "an unknown key is accepted",
        "leave model_config",
        other(
            ENCODER,
            ("class Config(ComponentConfig):\n", "class Config(ComponentConfig, extra='ignore'):  # here\n"),
        ),
    ),
    "settings that change when they are saved": (
        "settings survive saving",
        "'sizes' is (1, 2), and [1, 2] after it was written and read again",
        "types that JSON can hold",
        other(
            ENCODER,
            (
                "    width: int = 4\n",
                '    sizes: object = (1, 2)  # here\n    """Sizes."""\n    width: int = 4\n',
            ),
        ),
    ),
    "an import of something that is not there": (
        "imports are found",
        "imports 'a_module_of_another_folder', which neither lies beside the file nor is installed",
        "beside the plugin file",
        other(
            ENCODER,
            (
                "    def forward",
                "    def show(self):\n        import a_module_of_another_folder as it  # here\n\n        return it\n\n    def forward",
            ),
        ),
    ),
    "a schedulable name that does not exist": (
        "schedulable values can be set",
        "'schedulable' names 'temperatur', which is no attribute of what is built",
        "set self.temperatur to a float",
        other(
            building("self.temperature = 1.0"),
            (
                "class Encoder(nn.Module):\n",
                'class Encoder(nn.Module):\n    schedulable = ("temperatur",)  # here\n\n',
            ),
        ),
    ),
    "a schedulable value that is not its own": (
        "schedulable values can be set",
        "'gain' is schedulable and cannot be set",
        "make it a plain attribute",
        other(
            ENCODER,
            (
                "    def forward",
                "    schedulable = ('gain',)\n\n    @property\n    def gain(self):  # here\n        return 1.0\n\n    def forward",
            ),
        ),
    ),
    "channels that are not its own": (
        "keeps its contract",
        "features, by its channels (5) and grid (32, 32), should have shape (2, 5, 32, 32), not (2, 4, 32, 32)",
        "pydoc slotlab.hooks",
        other(
            ENCODER,
            ("self.channels, self.grid = config.width,", "self.channels, self.grid = config.width + 1,"),
            (DEF, DEF.replace("\n", "  # here\n")),
        ),
    ),
    "a state that is not saved": (
        "is saved whole",
        "with the weights of another one loaded it computes something else",
        "register_buffer",
        other(
            building(
                'self.register_buffer("key", torch.randn(4, 1, 1), persistent=False)',
                (FORWARD, "        return self.layer(images_BCHW) + self.key\n"),
            ),
            (
                "    def __init__(self, config, context):\n",
                "    def __init__(self, config, context):  # here\n",
            ),
        ),
    ),
    "a lambda": (
        "is saved whole",
        "it cannot be pickled",
        "no lambdas",
        other(
            building(
                "self.act = lambda x: x.relu()",
                (FORWARD, "        return self.act(self.layer(images_BCHW))\n"),
            ),
            (
                "    def __init__(self, config, context):\n",
                "    def __init__(self, config, context):  # here\n",
            ),
        ),
    ),
}
