"""Models as plain modules, with the weights that a training starts from."""

from pathlib import Path

from slotlab.framework.api.given import Paths
from slotlab.framework.api.settings import Settings
from slotlab.framework.api.specs import Spec, as_spec
from slotlab.framework.contracts import Model
from slotlab.framework.model.start import initial_model


def build_model(
    spec: str | Path | Spec,
    settings: Settings | None = None,
    *,
    plugins: Paths = (),
    trust: bool = False,
) -> Model:
    """Build the model of a spec on the CPU, with the weights that a training of it starts from: drawn by the
    seed, or those of its `training.start`.

    It is an ordinary `torch.nn.Module`; no data is touched, and torch's global generators stay as they were.
    `model(images_BCHW)` returns a `slotlab.contracts.ModelOutput`, for a loss; what
    `model.reconstruct(images_BCHW)` returns is measured and shown. Images are float32 (B, 3, H, W), of the
    spec's size and in its value range. `open_run(...).model` has trained weights.

    >>> import slotlab, torch
    >>> model = slotlab.build_model("slotlab:demo", {"model.slots": 5})
    >>> output = model(torch.zeros(2, 3, 32, 32))
    >>> tuple(output.grouped.slots.vectors_BKD.shape), tuple(output.decoded.masks_BKHW.shape)
    ((2, 5, 64), (2, 5, 32, 32))

    Args:
        spec: a file, `slotlab:NAME`, or what `load_spec` returned.
        settings: other settings by dotted path. `seed` draws other weights.
        plugins: single-file plugins to load besides those that the spec names.
        trust: run code that came with another user's run (docs/explanation/trust.md).

    Raises:
        SpecError: with every mistake of the spec, and where parts do not fit.
    """
    return initial_model(as_spec(spec, settings, plugins=plugins, trust=trust).loaded.spec)
