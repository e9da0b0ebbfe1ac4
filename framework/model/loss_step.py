"""A batch to losses: the module that is wrapped for devices, precision and several processes."""

from torch import Tensor, nn

from slotlab.framework.contracts import Batch, Losses, Model, RandomSource
from slotlab.framework.contracts.promises import expect_type


class Sealed:
    """A batch that Fabric passes on as it is: it looks into dataclasses, and refuses frozen ones."""

    def __init__(self, batch: Batch):
        self.batch = batch


class LossStep(nn.Module):
    """The losses of a model, as tensors by name."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, sealed: Sealed, *, generator: RandomSource = None) -> dict[str, Tensor]:
        """Return scalar losses: `total`, and its terms under `loss/NAME`."""
        losses = self.model.losses(sealed.batch, generator=generator)
        expect_type(losses, Losses, "losses")
        return {"total": losses.total, **{f"loss/{name}": term for name, term in losses.terms.items()}}
