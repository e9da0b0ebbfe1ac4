"""The exponential mean of the weights: what it is, and that it is what is measured and kept."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from slotlab.framework.contracts import Model
from slotlab.framework.data.loader import Loader
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.loop import train
from slotlab.framework.training.plan import Progress
from slotlab.framework.training.validation import Validation, validation_loss

Loaders = Callable[..., Loader]
Specs = Callable[..., ExperimentSpec]
Weights = dict[str, torch.Tensor]
PHASES = [{"epochs": 2, "lr": 0.01}]


def copied(model: Model) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def trained(spec: ExperimentSpec, loader: Loader, run: RunFolder) -> tuple[Model, list[Weights]]:
    """The model, and its weights after each step."""
    model, seen = build_model(spec), []

    def note(progress: Progress) -> None:
        seen.append(copied(model))

    engine = Engine.open(spec, torch.device("cpu"), warn=print)
    train(engine, model, loader, run, validation=Validation(loader), report=note)
    return model, seen


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_mean_goes_from_the_first_weights_to_the_others_by_its_decay(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, decay: float
) -> None:
    spec = tiny(training={"phases": PHASES, "ema_decay": decay})
    run = RunFolder.create(tmp_path / "run", spec)
    _, (mean, *others) = trained(spec, noise_loader(), run)
    assert len(others) == 5
    for after in others:
        mean = {name: decay * mean[name] + (1 - decay) * after[name] for name in mean}
    found = run.load_weights().model
    for name, tensor in mean.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("decay", [None, 0.9])
def test_what_is_validated_is_what_is_kept(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, decay: float | None
) -> None:
    """The mean if there is one, which is not the model that is trained."""
    spec = tiny(training={"phases": PHASES, "ema_decay": decay})
    run = RunFolder.create(tmp_path / "run", spec)
    model, _ = trained(spec, noise_loader(), run)
    [*_, logged] = [line["loss"] for line in run.read_log() if line["kind"] == "validation"]
    last = validation_loss(spec, model, noise_loader())
    model.load_state_dict(run.load_weights().model)
    assert logged == pytest.approx(validation_loss(spec, model, noise_loader()), rel=1e-6)
    assert (logged == pytest.approx(last, rel=1e-6)) is (decay is None)
