"""The model of a run that is an input of another one: frozen, with its weights."""

from typing import Protocol

import torch

from slotlab.framework.contracts import Model, Size
from slotlab.framework.model.anneal import load_state
from slotlab.framework.model.build import build_model
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.run_input import RunInput
from slotlab.framework.runs.versions import check_versions
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import ComponentError, SlotlabError


def trained_model(given: RunInput, *, field: str, trust: Ask = refuse) -> tuple[ExperimentSpec, Model]:
    """Return a run's spec and its model, in evaluation mode, without gradients, on torch's default device.

    Args:
        given: the run.
        field: the setting that holds it, for messages.
        trust: whether code that came with another user's run may run.

    Raises:
        ComponentError: if the weights cannot be read or do not fit the run's spec, or code is not trusted.
    """
    run = RunFolder(given.run)
    try:
        found = given.find().read()
        spec = load_spec(run.spec, trust=trust, of_run=True).spec
        check_versions(run, spec)
        with torch.device("cpu"):  # weights cannot be loaded onto the meta device
            model = build_model(spec)
            load_state(spec, model, found["ema"] or found["model"], found["step"])
    except (SlotlabError, RuntimeError) as error:
        text = f"the run {given.run} cannot be used: {error}"
        if "--trust" in str(error):  # the option of this command is about its own spec
            text += f"; here, `slotlab show {run.spec} --trust` remembers it"
        raise ComponentError(text, field=field) from None
    return spec, model.eval().requires_grad_(False).to(torch.get_default_device())


class TakesImages(Protocol):
    """The context of a component that is told of the images."""

    @property
    def image_size(self) -> Size:
        """Rows and columns."""

    @property
    def value_range(self) -> tuple[float, float]:
        """Least and largest value."""


def check_images(trained_on: ExperimentSpec, here: TakesImages, *, who: str, field: str) -> None:
    """Refuse a run that was trained on images of another size or range than it would be given here.

    Raises:
        ComponentError: at the setting `field`, about `who`.
    """
    (low, high), (rows, columns) = trained_on.data.bounds, trained_on.data.size
    if (here.value_range, here.image_size) != ((low, high), (rows, columns)):
        text = f"{who} was trained on images of {columns}x{rows} pixels in [{low:g}, {high:g}]"
        raise ComponentError(f"{text}; take the same protocol here", field=field)
