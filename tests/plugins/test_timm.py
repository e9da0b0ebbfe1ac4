"""The timm encoder with weights that the test saves itself. Nothing is downloaded."""

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import timm  # noqa: TID253
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from slotlab.framework.contracts import EncoderContext
from slotlab.framework.model.borders import seen_size
from slotlab.plugins.encoders.timm import TimmConfig, TimmEncoder, places
from slotlab.registry import ComponentError

CONTEXT = EncoderContext(image_size=(64, 96))
MODELS = ("test_resnet", "test_convnext", "test_vit")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("tests do not download")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", refuse)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", refuse)


SIGNED, UNIT = (-1.0, 1.0), (0.0, 1.0)


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


@pytest.mark.parametrize("size", [(64, 96), (160, 160)])  # multiples of each model's patch
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
        context = EncoderContext(image_size=size)
        encoder = build(model, context, stage=stage, weights=path, normalize="none").eval()
        torch.testing.assert_close(encoder(images(*size)), expected[stage])
    first, last = build(model, stage=0), build(model, stage=-1)
    assert len(list(first.parameters())) < len(list(last.parameters()))


def test_features_of_models_that_put_channels_last() -> None:
    encoder = build("swin_s3_tiny_224", stage=0)
    assert encoder(images(64, 96)).shape == (2, 96, 16, 24)
    assert (encoder.channels, encoder.grid) == (96, (16, 24))


# --- what the weights were trained on ----------------------------------------------------


def features(model: str, images_BCHW: Tensor, value_range: tuple[float, float], **settings: Any) -> Tensor:
    """Give images in [0, 1] to an encoder as a spec of some value range would; float64, to compare."""
    low, high = value_range
    size = (images_BCHW.shape[2], images_BCHW.shape[3])
    context = EncoderContext(image_size=size, value_range=value_range)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        encoder = build(model, context, **settings).eval()
    found: Tensor = encoder(images_BCHW * (high - low) + low)
    return found


def as_timm_prepares(images_BCHW: Tensor, facts: dict[str, Any]) -> Tensor:
    """Give uint8 images to timm's own preprocessing for evaluation, which then has nothing to resize."""
    rows, columns = images_BCHW.shape[2:]
    transform = timm.data.create_transform(
        (3, rows, columns), mean=facts["mean"], std=facts["std"], crop_pct=1.0, is_training=False
    )
    assert transform.transforms[-1].mean.tolist() == pytest.approx(facts["mean"])
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images_BCHW]
    return torch.stack([transform(picture) for picture in pictures])


def bytes_of(side: int) -> Tensor:
    stream = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, side, side), generator=stream, dtype=torch.uint8)


@pytest.mark.parametrize("value_range", [SIGNED, UNIT])
@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_convnext", "resnet10t", "vit_tiny_patch16_224"]
)
def test_images_are_normalized_as_timm_does(
    name: str, value_range: tuple[float, float], tmp_path: Path
) -> None:
    path = trained(name, tmp_path / "weights.safetensors")
    pictures_BCHW = bytes_of(64)
    overlay = {"file": str(path)}
    options = {"img_size": 64} if "vit" in name else {}
    whole = timm.create_model(
        name, features_only=True, pretrained=True, pretrained_cfg_overlay=overlay, **options
    ).eval()
    expected = whole(as_timm_prepares(pictures_BCHW, whole.pretrained_cfg))[-1]
    found = features(name, pictures_BCHW / 255, value_range, weights=path)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    raw = features(name, pictures_BCHW / 255, value_range, weights=path, normalize="none")
    already = value_range == SIGNED and whole.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
    assert already or not torch.allclose(raw, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("normalize", ["weights", "imagenet", "half"])
@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_features_do_not_depend_on_the_value_range(model: str, normalize: str) -> None:
    unit = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    first, second = (features(model, unit, bounds, normalize=normalize) for bounds in (SIGNED, UNIT))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


MEANS = {
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "half": ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
}


@pytest.mark.parametrize("value_range", [SIGNED, UNIT])
@pytest.mark.parametrize("normalize", ["imagenet", "half", "none"])
def test_what_reaches_the_backbone(normalize: str, value_range: tuple[float, float]) -> None:
    unit = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    context = EncoderContext(image_size=(64, 96), value_range=value_range)
    encoder = build("test_vit", context, normalize=normalize)
    low, high = value_range
    given = unit * (high - low) + low
    reached = encoder.normalization(given)
    if normalize == "none":
        assert torch.equal(reached, given)
        return
    mean, std = (torch.tensor(values)[:, None, None] for values in MEANS[normalize])
    torch.testing.assert_close(reached, (unit - mean) / std, rtol=1e-5, atol=1e-5)


def test_random_weights_are_normalized_as_the_model_s_published_ones() -> None:
    resnet, vit = build("resnet18"), build("test_vit")
    ones = torch.ones(1, 3, 1, 1)  # white
    expected = (1 - torch.tensor(MEANS["imagenet"][0])) / torch.tensor(MEANS["imagenet"][1])
    torch.testing.assert_close(resnet.normalization(ones).flatten(), expected)
    torch.testing.assert_close(vit.normalization(ones).flatten(), torch.ones(3))


def test_images_of_one_channel_are_normalized_by_the_means_of_the_means() -> None:
    context = EncoderContext(image_size=(64, 64), image_channels=1, value_range=UNIT)
    encoder = build("resnet18", context)
    assert encoder(torch.rand(2, 1, 64, 64)).shape == (2, 512, 2, 2)
    expected = (0.5 - 0.449) / 0.226
    assert encoder.normalization(torch.full((1, 1, 1, 1), 0.5)).item() == pytest.approx(expected, rel=1e-5)


def test_normalizing_adds_nothing_to_the_weights() -> None:
    first, second = (build("test_vit", normalize=how).state_dict() for how in ("weights", "none"))
    assert first.keys() == second.keys()


# --- the final norm ----------------------------------------------------------------------


@pytest.mark.parametrize("stage", [0, -1])
def test_features_with_and_without_the_final_norm(stage: int, tmp_path: Path) -> None:
    path = trained("test_vit", tmp_path / "weights.safetensors")
    encoders = {
        norm: build("test_vit", stage=stage, weights=path, final_norm=norm).eval() for norm in (False, True)
    }
    given = images(64, 96)
    plain, normed = (encoders[norm](given) for norm in (False, True))
    state = load_file(path)
    mean = plain.mean(dim=1, keepdim=True)
    std = (plain.var(dim=1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    weight, bias = (state[f"norm.{name}"][:, None, None] for name in ("weight", "bias"))
    torch.testing.assert_close(normed, (plain - mean) / std * weight + bias, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(normed, plain, atol=1e-2)


def test_the_final_norm_is_that_of_the_whole_model(tmp_path: Path) -> None:
    path = trained("vit_tiny_patch16_224", tmp_path / "weights.safetensors")
    overlay = {"file": str(path)}
    whole = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, pretrained=True, pretrained_cfg_overlay=overlay
    ).eval()
    encoder = build(
        "vit_tiny_patch16_224",
        EncoderContext(image_size=(64, 64)),
        weights=path,
        final_norm=True,
        normalize="none",
    )
    given = images(64, 64)
    tokens = whole.forward_features(given)[:, 1:]  # without the class token
    found = encoder.eval()(given)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), tokens, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", ["test_resnet", "test_convnext", "vit_tiny_patch16_224.fc_norm"])
def test_no_final_norm(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = model.removesuffix(".fc_norm")
    if model != name:  # as models do that normalize the mean of the tokens
        create = timm.create_model
        monkeypatch.setattr(timm, "create_model", lambda *a, **k: create(*a, **k, fc_norm=True))
    text = f"these features of '{name}' pass no final norm; leave it out"
    assert message(name, EncoderContext(image_size=(64, 64)), final_norm=True) == (text, "final_norm")


# --- sizes that lose a border ------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "size", "used", "reduction", "nearest"),
    [
        pytest.param(
            *("vit_small_patch14_dinov2", (128, 128), "126x126", 14, "126 and 140"), marks=pytest.mark.slow
        ),
        ("vit_tiny_patch16_224", (72, 72), "64x64", 16, "64 and 80"),
        ("vit_tiny_patch16_224", (72, 100), "64x96", 16, "64, 80, 96 and 112"),
        ("test_convnext", (102, 102), "100x100", 32, "100 and 104"),
        pytest.param(*("swin_s3_tiny_224", (98, 98), "96x96", 32, "96 and 100"), marks=pytest.mark.slow),
    ],
)
def test_a_border_is_not_lost_in_silence(
    model: str, size: tuple[int, int], used: str, reduction: int, nearest: str
) -> None:
    with torch.device("meta"):  # as `validate` does
        found = message(model, EncoderContext(image_size=size))
    assert found == (
        (
            f"'{model}' uses only {used} pixels of images of {size[0]}x{size[1]}: its features lie {reduction} "
            f"pixels apart, and a border is lost; nearest sizes: {nearest} (or write 'border: drop')"
        ),
        "model",
    )


@pytest.mark.parametrize("sides", [(64, 64), (80, 80), (64, 80)])
def test_the_nearest_sizes_lose_nothing(sides: tuple[int, int]) -> None:
    encoder = build("vit_tiny_patch16_224", EncoderContext(image_size=sides)).eval()
    assert seen_size(encoder, sides) == sides


def test_a_border_may_be_dropped() -> None:
    encoder = build("vit_tiny_patch16_224", EncoderContext(image_size=(72, 72)), border="drop").eval()
    assert encoder.grid == (4, 4)
    assert seen_size(encoder, (72, 72)) == (64, 64)


@pytest.mark.parametrize(
    ("model", "size"), [("test_resnet", (45, 33)), ("resnet18", (33, 65)), ("test_convnext", (100, 36))]
)
def test_convolutions_that_pad_or_overlap_lose_nothing(model: str, size: tuple[int, int]) -> None:
    assert seen_size(build(model, EncoderContext(image_size=size)).eval(), size) == size


def test_looking_for_borders_draws_nothing() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ComponentError), torch.device("meta"):
        build("vit_tiny_patch16_224", EncoderContext(image_size=(72, 72)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("model", "side", "text"),
    [
        (
            "test_vit",
            72,
            (
                "timm's 'test_vit' fails on images of 72x72 pixels: AssertionError: Input height (72) should be "
                "divisible by patch size (16); nearest sizes: 64 and 80"
            ),
        ),
        (
            "test_vit",
            8,
            (
                "timm's 'test_vit' fails on images of 8x8 pixels: AssertionError: Input height (8) should be "
                "divisible by patch size (16); nearest sizes: 16"
            ),
        ),
        (
            "vit_tiny_r_s16_p8_224",
            100,
            (
                "timm cannot make 'vit_tiny_r_s16_p8_224' for images of 100x100 pixels: AssertionError; "
                "nearest sizes: 96 and 128"
            ),
        ),
    ],
)
def test_models_that_refuse_a_size(model: str, side: int, text: str) -> None:
    with torch.device("meta"):
        assert message(model, EncoderContext(image_size=(side, side))) == (text, "model")


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
    assert TimmConfig(model="resnet18", normalize="none").cautions() == []
    assert TimmConfig(model="resnet18", normalize="none", pretrained=True).cautions() == [
        (
            "trained weights get images in the spec's value range, not as they were trained; "
            "'normalize: weights' normalizes them"
        )
    ]


def test_a_file_of_weights_for_a_model_that_is_normalized_in_several_ways() -> None:
    def cautions(**settings: Any) -> list[str]:
        return TimmConfig(weights=Path("file"), **settings).cautions()

    (text,) = cautions(model="vit_base_patch16_224")
    assert re.fullmatch(
        r"timm knows weights of 'vit_base_patch16_224' with \d ways of normalizing images; name those of the "
        r"file, such as vit_base_patch16_224\.\w+ or vit_base_patch16_224\.\w+, or 'normalize'",
        text,
    )
    named = re.findall(r"vit_base_patch16_224\.\w+", text)
    ways = {(facts.mean, facts.std) for facts in map(timm.get_pretrained_cfg, named)}
    assert len(ways) == 2
    assert cautions(model="vit_base_patch16_224.dino") == []
    assert cautions(model="vit_base_patch16_224", normalize="imagenet") == []
    assert cautions(model="test_vit") == []
    assert cautions(model="no_such_model") == []


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


# --- frozen in part, and which tokens are features ---------------------------------------


def test_blocks_from_one_on_are_trained_and_all_else_stays(tmp_path: Path) -> None:
    path = trained("test_vit", tmp_path / "weights.safetensors")
    encoder = build("test_vit", weights=path, freeze_below=4, final_norm=True).train()
    learned = {name for name, weight in encoder.named_parameters() if weight.requires_grad}
    blocks = {name for name, _ in encoder.named_parameters() if ".blocks." in name}
    assert learned == {name for name in blocks if int(name.split(".blocks.")[1].split(".")[0]) >= 4}
    assert len({name.split(".blocks.")[1].split(".")[0] for name in learned}) == 2
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-2, weight_decay=0.1)
    encoder(images(64, 96)).square().sum().backward()
    optimizer.step()
    after = encoder.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == learned


@pytest.mark.parametrize("freeze_below", [0, 4])
def test_frozen_blocks_stay_in_evaluation_mode(freeze_below: int) -> None:
    encoder = build("test_vit", freeze_below=freeze_below).train()
    blocks = list(encoder.backbone.model.blocks)
    for mode in (True, False, True):
        encoder.train(mode)
        assert [block.training for block in blocks] == [mode and i >= freeze_below for i in range(6)]
        assert [block.attn.training for block in blocks] == [block.training for block in blocks]
        assert not encoder.backbone.model.patch_embed.training
    for again in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        copied = again.backbone.model.blocks
        again.eval().train()
        assert [block.training for block in copied] == [i >= freeze_below for i in range(6)]


def test_freezing_changes_no_features() -> None:
    given = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    settings: list[dict[str, Any]] = [{}, {"frozen": True}, {"freeze_below": 3}]
    free, frozen, partly = (features("test_vit", given, UNIT, **each) for each in settings)
    assert torch.equal(free, frozen)
    assert torch.equal(free, partly)
    assert (free.requires_grad, frozen.requires_grad, partly.requires_grad) == (True, False, True)


@pytest.mark.parametrize(
    ("model", "settings", "text"),
    [
        (
            "test_vit",
            {"frozen": True, "freeze_below": 2},
            "all is frozen by 'frozen: true'; give one of the two",
        ),
        (
            "test_vit",
            {"freeze_below": 6},
            "leaves nothing to train of 6 blocks; write 'frozen: true', or a smaller number",
        ),
        (
            "test_vit",
            {"stage": 0, "freeze_below": 4},
            "leaves nothing to train of 4 blocks; write 'frozen: true', or a smaller number",
        ),
        (
            "test_resnet",
            {"freeze_below": 2},
            "counts a transformer's blocks, which 'test_resnet' does not have; leave it out",
        ),
    ],
)
def test_what_cannot_be_frozen_in_part(model: str, settings: dict[str, Any], text: str) -> None:
    assert message(model, **settings) == (text, "freeze_below")


def test_partly_frozen_random_weights_are_warned_of() -> None:
    text = "frozen with random weights; give 'weights: FILE' or 'pretrained: true'"
    assert TimmConfig(model="test_vit", freeze_below=3).cautions() == [text]
    assert TimmConfig(model="test_vit", freeze_below=0).cautions() == []


@pytest.mark.parametrize("final_norm", [False, True], ids=["dinosaur", "slotdiffusion"])
@pytest.mark.parametrize(
    ("model", "options"), [("test_vit", {}), ("test_vit3", {}), ("test_vit", {"reg_tokens": 4})]
)
def test_features_are_the_patches_after_the_last_block(
    model: str, options: dict[str, int], final_norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Block by block, without timm's feature wrappers; class and register tokens are dropped."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: create(*a, **k, **options))
    encoder = build(
        model, EncoderContext(image_size=(64, 64)), final_norm=final_norm, normalize="none"
    ).eval()
    vit, given = encoder.backbone.model, images(64, 64)
    prefix = {"test_vit": 1 + options.get("reg_tokens", 0), "test_vit3": 1}[model]
    with torch.no_grad():
        fixed = [token for token in (vit.cls_token, vit.reg_token) if token is not None]
        kinds = torch.cat([token.expand(2, -1, -1) for token in fixed], dim=1)
        assert kinds.shape[1] == prefix
        x = vit.norm_pre(vit._pos_embed(vit.patch_embed(given)))
        assert x.shape[1] == 16 + prefix
        for block in vit.blocks:
            x = block(x)
        if final_norm:
            x = vit.norm(x)
        torch.testing.assert_close(encoder(given).flatten(2).transpose(1, 2), x[:, prefix:])


@pytest.mark.parametrize(("features", "part"), [("queries", 0), ("keys", 1), ("values", 2)])
@pytest.mark.parametrize("stage", [-1, 0])
def test_what_attention_reads_is_that_of_a_transcription(features: str, part: int, stage: int) -> None:
    """Patch embedding, blocks and the map of queries, keys and values, written out in float64."""
    config = TimmConfig(model="vit_tiny_patch16_224", stage=stage, features=features, normalize="none")
    torch.manual_seed(0)
    encoder = TimmEncoder(config, EncoderContext(image_size=(32, 48))).double().eval()
    model: Any = encoder.backbone.model
    images = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    with torch.no_grad():
        found = encoder(images)
        wide = model.patch_embed.proj(images).flatten(2).mT
        tokens = torch.cat([model.cls_token.expand(2, -1, -1), wide], dim=1) + model.pos_embed
        for block in model.blocks[: 9 + stage % 3]:  # timm offers the last three of twelve
            tokens = tokens + attention(block, block.norm1(tokens))
            hidden = torch.nn.functional.gelu(block.mlp.fc1(block.norm2(tokens)))
            tokens = tokens + block.mlp.fc2(hidden)
        block = model.blocks[9 + stage % 3]
        width = tokens.shape[2]
        rows = slice(part * width, (part + 1) * width)
        read = block.norm1(tokens) @ block.attn.qkv.weight[rows].T + block.attn.qkv.bias[rows]
    assert (encoder.channels, encoder.grid) == (192, (2, 3))
    torch.testing.assert_close(found, read[:, 1:].mT.reshape(2, 192, 2, 3), rtol=0, atol=1e-9)


def attention(block: Any, tokens: Tensor) -> Tensor:
    """Attention head by head: part, head, width of the output of one map, in this order."""
    heads, width = block.attn.num_heads, tokens.shape[2] // block.attn.num_heads
    mapped = block.attn.qkv(tokens)
    seen = []
    for head in range(heads):
        query, key, value = (
            mapped[..., (part * heads + head) * width : (part * heads + head + 1) * width]
            for part in range(3)
        )
        seen.append((query @ key.mT / width**0.5).softmax(dim=2) @ value)
    found: Tensor = block.attn.proj(torch.cat(seen, dim=2))
    return found


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"model": "resnet18"}, "'resnet18' has no keys of a ViT's blocks; write 'features: output'"),
        ({"final_norm": True}, "keys pass no final norm; leave 'final_norm' out"),
    ],
)
def test_keys_that_are_not_there_are_told(settings: dict[str, Any], text: str) -> None:
    config = TimmConfig.model_validate({"model": "vit_tiny_patch16_224", "features": "keys", **settings})
    with pytest.raises(ComponentError) as caught:
        TimmEncoder(config, EncoderContext(image_size=(32, 32)))
    assert (str(caught.value), caught.value.field) == (text, "features")


def test_keys_of_the_first_block_are_refused() -> None:
    config = TimmConfig(model="vit_tiny_patch16_224", features="keys")
    assert places(config, 1) == (0, 1)
    with pytest.raises(
        ComponentError, match="keys are those of a block after the first; take a later 'stage'"
    ):
        places(config, 0)
