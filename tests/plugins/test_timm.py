"""The timm encoder with weights that the test saves itself. Nothing is downloaded."""

import re
from pathlib import Path
from typing import Any

import pytest
import timm  # noqa: TID253
import torch
from safetensors.torch import save_file
from torch import Tensor

from slotlab.framework.contracts import EncoderContext
from slotlab.plugins.encoders.timm import TimmConfig, TimmEncoder
from slotlab.registry import ComponentError

CONTEXT = EncoderContext(image_size=(64, 96))
MODELS = ("test_resnet", "test_convnext", "test_vit")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("tests do not download")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", refuse)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", refuse)


def build(model: str, context: EncoderContext = CONTEXT, **settings: Any) -> TimmEncoder:
    return TimmEncoder(TimmConfig(model=model, **settings), context)


def images(*size: int) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def trained(model: str, path: Path) -> Path:
    """Save a whole model, head included, at its own image size, every tensor unlike at its start."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state = timm.create_model(model).state_dict()
    state = {name: t + 0.01 if t.is_floating_point() else t for name, t in state.items()}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def message(model: str, context: EncoderContext = CONTEXT, **settings: Any) -> tuple[str, str | None]:
    with pytest.raises(ComponentError) as error:
        build(model, context, **settings)
    return str(error.value), error.value.field


# --- features ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 96), (160, 160)])
@pytest.mark.parametrize("model", MODELS)
def test_any_image_size(model: str, size: tuple[int, int]) -> None:
    encoder = build(model, EncoderContext(image_size=size))
    assert encoder(images(*size)).shape == (2, encoder.channels, *encoder.grid)


@pytest.mark.parametrize("model", MODELS)
def test_a_stage_is_what_timm_gives_and_later_stages_are_left_out(model: str, tmp_path: Path) -> None:
    path = trained(model, tmp_path / "weights.pth")
    whole = timm.create_model(
        model, features_only=True, pretrained=True, pretrained_cfg_overlay={"file": str(path)}
    ).eval()
    size = whole.pretrained_cfg["input_size"][1:]
    expected = whole(images(*size))
    for stage in (0, 1, -1):
        encoder = build(model, EncoderContext(image_size=size), stage=stage, weights=path).eval()
        torch.testing.assert_close(encoder(images(*size)), expected[stage])
    first, last = build(model, stage=0), build(model, stage=-1)
    assert len(list(first.parameters())) < len(list(last.parameters()))


def test_features_of_models_that_put_channels_last() -> None:
    encoder = build("swin_s3_tiny_224", stage=0)
    assert encoder(images(64, 96)).shape == (2, 96, 16, 24)
    assert (encoder.channels, encoder.grid) == (96, (16, 24))


# --- weights -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("model", MODELS)
def test_local_weights_are_all_loaded(model: str, suffix: str, tmp_path: Path) -> None:
    path = trained(model, tmp_path / f"weights{suffix}")
    with torch.random.fork_rng():
        torch.manual_seed(2)
        first = build(model, weights=path).state_dict()
        torch.manual_seed(3)
        second = build(model, weights=path).state_dict()
        torch.manual_seed(3)
        fresh = build(model).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(fresh[name], t) for name, t in first.items() if t.is_floating_point())


def test_local_weights_on_the_meta_device(tmp_path: Path) -> None:
    path = trained("test_vit", tmp_path / "weights.pth")
    with torch.device("meta"):
        encoder = build("test_vit", weights=path)
        assert encoder(torch.empty(2, 3, 64, 96)).shape == (2, encoder.channels, *encoder.grid)


def test_frozen_stays_as_it_is() -> None:
    encoder = build("test_resnet", frozen=True).train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    assert encoder.training
    assert not any(module.training for module in encoder.backbone.modules())
    assert not encoder(images(64, 96)).requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    free = build("test_resnet")
    assert all(module.training for module in free.modules())
    assert all(parameter.requires_grad for parameter in free.parameters())


def test_cautions() -> None:
    text = "frozen with random weights; give 'weights: FILE' or 'pretrained: true'"
    assert TimmConfig(model="resnet18", frozen=True).cautions() == [text]
    assert TimmConfig(model="resnet18", frozen=True, pretrained=True).cautions() == []
    assert TimmConfig(model="resnet18", frozen=True, weights=Path("file")).cautions() == []
    assert TimmConfig(model="resnet18").cautions() == []


# --- messages ----------------------------------------------------------------------------


def test_an_unknown_model() -> None:
    assert message("resnet_18") == (
        (
            f"timm {timm.__version__} has no model 'resnet_18'; did you mean 'resnet18'? "
            "(timm.list_models() lists them all)"
        ),
        "model",
    )


@pytest.mark.parametrize("stage", [5, -6])
def test_a_stage_out_of_range(stage: int) -> None:
    text = f"'test_resnet' has stages 0 to 4 (or -5 to -1), not {stage}"
    assert message("test_resnet", stage=stage) == (text, "stage")


def test_two_sources_of_weights(tmp_path: Path) -> None:
    text = "choose one of 'pretrained: true' and 'weights: FILE'"
    assert message("test_resnet", pretrained=True, weights=tmp_path / "w.pth") == (text, "weights")


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    assert message("test_resnet", weights=path) == (f"weights file {path} does not exist", "weights")


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


def test_a_file_with_code_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pth"
    torch.save({"weight": Harmful()}, path)
    with pytest.raises(ComponentError) as error:
        build("test_resnet", weights=path)
    assert str(error.value) == f"weights file {path} cannot be read: {error.value.__cause__}"
    assert error.value.field == "weights"
    assert not (tmp_path / "executed").exists()


def test_weights_of_a_smaller_model(tmp_path: Path) -> None:
    path = trained("resnet18", tmp_path / "w.pth")
    text = f"weights file {path} lacks 48 of the 108 weights of 'resnet34', such as layer1.2.conv1.weight"
    assert message("resnet34", weights=path) == (text, "weights")


def test_weights_of_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    state = timm.create_model("test_resnet").state_dict()
    torch.save({name: t.repeat(2, *[1] * (t.dim() - 1)) if t.dim() else t for name, t in state.items()}, path)
    with pytest.raises(ComponentError) as error:
        build("test_resnet", weights=path)
    assert str(error.value) == f"weights file {path} does not fit 'test_resnet': {error.value.__cause__}"
    assert re.search("size mismatch for conv1", str(error.value))
    assert error.value.field == "weights"


def test_published_weights_without_network() -> None:
    text = "timm cannot get published weights of 'test_resnet': tests do not download"
    assert message("test_resnet", pretrained=True) == (text, "pretrained")


def test_a_model_that_timm_cannot_make(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("features_only not implemented for this model")

    monkeypatch.setattr(timm, "create_model", refuse)
    text = "timm cannot make 'test_vit': features_only not implemented for this model"
    assert message("test_vit") == (text, "model")


# --- how a model draws weights -----------------------------------------------------------


def test_loaded_weights_are_the_encoder_s_own(tmp_path: Path) -> None:
    assert build(MODELS[0], weights=trained(MODELS[0], tmp_path / "w.safetensors")).own_weights
    assert not build(MODELS[0]).own_weights
