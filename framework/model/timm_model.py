"""A timm model as a feature extractor for images of one size, and the sizes that it uses entirely."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from slotlab.framework.contracts import Size
from slotlab.framework.model.borders import may_lose_border, name_sizes, nearest_sizes, seen_size
from slotlab.registry import ComponentError
from slotlab.registry.errors import describe


@dataclass(frozen=True)
class TimmModel:
    """A timm model by its name, for images with a number of channels."""

    name: str
    channels: int

    def make(self, size: Size | None, **options: Any) -> Any:
        """Create the model for feature maps, and pass the image size to models that need it.

        `size` is None for the model's default; `options` are those of `timm.create_model`.
        """
        import timm

        options = {"features_only": True, "in_chans": self.channels, **options}
        if size is None:
            return timm.create_model(self.name, **options)
        try:
            return timm.create_model(self.name, img_size=size, **options)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
        return timm.create_model(self.name, **options)

    def make_normed(self, size: Size, *, out_indices: tuple[int, ...], **options: Any) -> Any:
        """Return the model with the final norm applied to its feature maps, which timm omits.

        Raises:
            ComponentError: if its feature maps cannot pass a final norm.
        """
        from timm.models._features import FeatureGetterNet

        whole = self.make(size, features_only=False, num_classes=0, **options)
        if not hasattr(whole, "forward_intermediates"):
            raise self.without_norm()
        features = FeatureGetterNet(whole, out_indices=out_indices, norm=True)
        features.pretrained_cfg = whole.pretrained_cfg
        return features

    def without_norm(self) -> ComponentError:
        """Return the error for a model whose feature maps have no final norm."""
        text = f"these features of '{self.name}' pass no final norm; leave it out"
        return ComponentError(text, field="final_norm")

    def stages(self, size: Size, stage: int) -> Any:
        """Return timm's facts about the feature maps, from a model on the meta device.

        Raises:
            ComponentError: if timm cannot make the model for such images.
        """
        try:
            with torch.device("meta"):
                return self.make(size).feature_info
        except Exception as error:  # timm raises many kinds, such as for a model without feature maps
            nearest = self.nearest_that_work(size, stage)
            where = f" for images of {by(size)} pixels" if nearest else ""
            text = f"timm cannot make '{self.name}'{where}: {str(error) or type(error).__name__}{nearest}"
            raise ComponentError(text, field="model") from error

    def grid(self, network: nn.Module, size: Size, stage: int) -> Size:
        """Return the grid of the feature map that a network, made of this model, has for an image.

        Raises:
            ComponentError: if it fails on such images, with the nearest sizes that work.
        """
        try:
            rows, columns = self.probe(network, size).shape[2:]
        except Exception as error:  # the models fail in many ways on sizes that they are not made for
            text = f"timm's '{self.name}' fails on images of {by(size)} pixels: {describe(error)}"
            nearest = self.nearest_that_work(size, stage)
            raise ComponentError(text.rstrip(".") + nearest, field="model") from error
        return rows, columns

    @torch.no_grad()
    def probe(self, network: nn.Module, size: Size) -> Any:
        """Return the output of a network for one image, on the network's device."""
        device = next(network.parameters()).device
        return network(torch.zeros(1, self.channels, *size, device=device))

    def lost_border(self, size: Size, grid: Size, stages: Any, stage: int) -> str | None:
        """Return a message about the part of images without influence on the features; None for none."""
        reduction = int(stages.reduction()[stage])
        if not may_lose_border(size, grid, reduction):
            return None
        # No later stage sees fewer pixels than the first of the same reduction.
        first = next(index for index, facts in enumerate(stages.info) if facts["reduction"] == reduction)
        seen = self.seen(size, first)
        if seen == size:
            return None
        nearest = nearest_sizes(size, seen, reduction, lambda other: self.seen(other, first) == other)
        text = f"'{self.name}' uses only {by(seen)} pixels of images of {by(size)}"
        return f"{text}: its features lie {reduction} pixels apart, and a border is lost{name_sizes(nearest)}"

    def seen(self, size: Size, stage: int) -> Size:
        """Return how many rows and columns of images influence the features; 0 if the model fails."""
        try:
            with torch.device("cpu"), torch.random.fork_rng(devices=[]):
                network = self.make(size, out_indices=(stage,)).eval()
            return seen_size(network, size, self.channels)
        except Exception:
            return 0, 0

    def nearest_that_work(self, size: Size, stage: int) -> str:
        """Return a message with the nearest sizes that work, if a size is not a multiple of the patch."""

        def works(other: Size) -> bool:
            try:
                with torch.device("meta"):
                    self.probe(self.make(other).eval(), other)
            except Exception:
                return False
            return True

        try:
            with torch.device("meta"):
                reduction = int(self.make(None).feature_info.reduction()[stage])
        except Exception:  # it fails even at its default size
            return ""
        rows, columns = size
        base = (rows // reduction * reduction, columns // reduction * reduction)
        return name_sizes(nearest_sizes(size, base, reduction, works))


def by(size: Size) -> str:
    """Return a size as text: rows x columns."""
    return "x".join(map(str, size))
