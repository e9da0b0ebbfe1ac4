"""Objectives that train what makes their target, each with one mistake; its line ends with `# here`."""

RIGHT = """
import torch
from torch import nn
from torch.nn import functional as F

from slotlab import Component, ComponentConfig, hookimpl
from slotlab.contracts import Losses, Prepared, TargetShape

SLOTLAB_API = 1


class Config(ComponentConfig):
    \"\"\"No settings.\"\"\"


class Wrong(nn.Module):
    trains_with_target = True

    def __init__(self, config, context):
        super().__init__()
        self.encoder = nn.Conv2d(context.image_channels, 5, 1)
        self.decoder = nn.Conv2d(5, context.image_channels, 1)
        self.target_shape = TargetShape(5, context.image_size)

    def prepare(self, images_BCHW, *, generator=None):
        latents_BCHW = self.encoder(images_BCHW)
        back_BCHW = self.decoder(latents_BCHW)
        error = F.mse_loss(back_BCHW, images_BCHW)
        return Prepared(latents_BCHW.detach(), Losses(error, {"back": error}))

    @torch.no_grad()
    def target(self, images_BCHW, features_BCHW):
        return self.encoder(images_BCHW)

    def loss(self, decoded, target_BCHW):
        target = target_BCHW if decoded.target_BCHW is None else decoded.target_BCHW
        return Losses(F.mse_loss(decoded.prediction_BCHW, target))

    def to_image(self, prediction_BCHW):
        return None


@hookimpl
def slotlab_objectives():
    yield Component(name="wrong", config=Config, build=Wrong, summary="something for a test")
"""
TRAINED, DRAWN = "what makes the target is trained", "it prepares by its generator"
ALONE = "it prepares each image alone"
FROZEN = """        self.requires_grad_(False)
        self.register_buffer("scale", torch.ones((), requires_grad=True))
"""
DEF = "    def prepare(self, images_BCHW, *, generator=None):\n"


def whole(*changes: tuple[str, str], here: str = DEF) -> str:
    """Return a file with changes; its line `here` is marked."""
    text = RIGHT
    for old, new in (*changes, (here, here.replace("\n", "  # here\n", 1))):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


OBJECTIVES = {
    "a prepared target with a gradient": (
        TRAINED,
        "the prepared target has a gradient",
        "the target without a gradient",
        whole(("Prepared(latents_BCHW.detach()", "Prepared(latents_BCHW")),
    ),
    "losses of what makes the target that are detached": (
        TRAINED,
        "the losses of what makes the target have no gradient: it would never be trained",
        "the losses with one",
        whole(("Losses(error, {", "Losses(error.detach(), {")),
    ),
    "no losses of what makes the target": (
        TRAINED,
        "prepare should give Losses of what makes the target, not NoneType",
        "the losses with one",
        whole((', Losses(error, {"back": error})', "")),
    ),
    "a tensor in place of what is prepared": (
        TRAINED,
        "prepare should return Prepared, not Tensor",
        "return Prepared(target, losses)",
        whole(('Prepared(latents_BCHW.detach(), Losses(error, {"back": error}))', "latents_BCHW.detach()")),
    ),
    "a prepared target of another shape": (
        TRAINED,
        "the prepared target, by the objective's target_shape, should have shape",
        "return Prepared(target, losses)",
        whole(("latents_BCHW.detach()", "latents_BCHW.detach()[:, 1:]")),
    ),
    "weights that the losses do not reach": (
        TRAINED,
        "no gradient reaches encoder.weight, encoder.bias",
        "the losses with one",
        whole(("self.decoder(latents_BCHW)", "self.decoder(latents_BCHW.detach())")),
    ),
    "images that are changed while a target is prepared": (
        TRAINED,
        "it changes the images",
        "not x += 1",
        whole(
            ("        latents_BCHW = self.enc", "        images_BCHW *= 0.5\n        latents_BCHW = self.enc")
        ),
    ),
    "a target that is drawn from torch's own stream": (
        DRAWN,
        "it draws from a random stream of torch's own",
        "draw with generator=generator",
        whole(
            ("self.decoder(latents_BCHW)\n", "self.decoder(latents_BCHW) + torch.randn(1)\n"),
            here="        back_BCHW = self.decoder(latents_BCHW) + torch.randn(1)\n",
        ),
    ),
    "a prepared target that is not finite": (
        TRAINED,
        "the prepared target should be finite, and holds values that are not",
        "return Prepared(target, losses)",
        whole(("Prepared(latents_BCHW.detach()", "Prepared(latents_BCHW.detach() * float('nan')")),
    ),
    "no weights that are trained": (
        TRAINED,
        "it has no weights that are trained",
        "the losses with one",
        whole(
            ("        self.target_shape", f"{FROZEN}        self.target_shape"),
            ("F.mse_loss(back_BCHW, images_BCHW)", "self.scale * F.mse_loss(back_BCHW, images_BCHW)"),
        ),
    ),
    "what is trained in no checkpoint": (
        TRAINED,
        "what it trains is in no checkpoint",
        "derive the class from torch.nn.Module, and make what is trained a child",
        whole(
            ("class Wrong(nn.Module)", "class Wrong"),
            ("        super().__init__()\n", ""),
            ("nn.Conv2d(context.image_channels, 5, 1)", "nn.Conv2d(context.image_channels, 5, 1).forward"),
            ("nn.Conv2d(5, context.image_channels, 1)", "nn.Conv2d(5, context.image_channels, 1).forward"),
        ),
    ),
    "two targets of the same images": (
        DRAWN,
        "the same images and stream have two targets or losses",
        "draw with generator=generator",
        whole(
            ("        self.target_shape", "        self.calls = 0\n        self.target_shape"),
            (
                "        latents_BCHW = self.enc",
                "        self.calls += 1\n        latents_BCHW = self.calls * self.enc",
            ),
        ),
    ),
    "what makes the target normalizes over the batch": (
        ALONE,
        "the prepared target of an image changes with the other images of its batch",
        "use nothing of the batch, such as BatchNorm",
        whole(
            (
                "nn.Conv2d(context.image_channels, 5, 1)",
                "nn.Sequential(nn.Conv2d(context.image_channels, 5, 1), nn.BatchNorm2d(5))",
            )
        ),
    ),
    "a prepared target less the batch's mean": (
        ALONE,
        "the prepared target of an image changes with the other images of its batch",
        "use nothing of the batch",
        whole(("Prepared(latents_BCHW.detach()", "Prepared((latents_BCHW - latents_BCHW.mean(0)).detach()")),
    ),
    "losses of what makes the target that are summed over images": (
        ALONE,
        "what makes the target has a loss of",
        "average losses over images",
        whole(
            ("F.mse_loss(back_BCHW, images_BCHW)", "F.mse_loss(back_BCHW, images_BCHW) * len(images_BCHW)")
        ),
    ),
}
"""By what is wrong: the law that is broken, a part of its reason, a part of its repair, and the file."""
