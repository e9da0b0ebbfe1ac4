"""Parity with the reference model: Goyal, "COL775: Slot Attention" (2024).

`Reference` is written from the report's description alone, in plain PyTorch. With the
same weights, a model built from a spec must compute the same numbers and gradients.
"""

from importlib import resources
from typing import Any

import pytest
import torch
import yaml
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Model
from slotlab.framework.model.build import build_model
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.study.load import load_ablation

TOLERANCE = 1e-9

# --- the reference, from its description -------------------------------------------------


def conv5(width_in: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width, kernel_size=5, stride=1, padding=2, bias=True)


class BasicBlock(nn.Module):
    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.a, self.a_bn = conv5(width_in, width), nn.BatchNorm2d(width)
        self.b, self.b_bn = conv5(width, width), nn.BatchNorm2d(width)
        self.shortcut = None
        if width_in != width:
            self.shortcut = nn.Sequential(conv5(width_in, width), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.shortcut is None else self.shortcut(x)
        y = torch.relu(self.a_bn(self.a(x)))
        return torch.relu(self.b_bn(self.b(y)) + skip)


def resnet_encoder() -> nn.Sequential:
    layers: list[nn.Module] = [conv5(3, 16), nn.BatchNorm2d(16), nn.ReLU()]
    width = 16
    for out in (16, 16, 32, 32, 32, 64, 64, 64):
        layers.append(BasicBlock(width, out))
        width = out
    return nn.Sequential(*layers)


def cnn_encoder() -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in in (3, 64, 64, 64):
        layers += [conv5(width_in, 64), nn.ReLU()]
    return nn.Sequential(*layers)


class SoftPosition(nn.Module):
    def __init__(self, width: int, rows: int, columns: int):
        super().__init__()
        self.linear = nn.Linear(4, width)
        y = torch.linspace(0, 1, rows).reshape(rows, 1).repeat(1, columns)
        x = torch.linspace(0, 1, columns).reshape(1, columns).repeat(rows, 1)
        self.ramps = torch.stack([y, x, 1 - y, 1 - x], dim=2)

    def forward(self, x: Tensor) -> Tensor:
        code: Tensor = self.linear(self.ramps.to(x.dtype))
        return x + code.permute(2, 0, 1).unsqueeze(0)


class Iterations(nn.Module):
    """T = 3 rounds of slot attention."""

    def __init__(self, width: int = 128):
        super().__init__()
        self.norm_inputs, self.norm_slots = nn.LayerNorm(width), nn.LayerNorm(width)
        self.k = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, width, bias=False)
        self.q = nn.Linear(width, width, bias=False)
        self.gru = nn.GRUCell(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, width))

    def forward(self, inputs: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        inputs = self.norm_inputs(inputs)
        keys, values = self.k(inputs), self.v(inputs)
        for _ in range(3):
            queries = self.q(self.norm_slots(slots))
            logits = torch.einsum("bnd,bkd->bnk", keys, queries) * keys.shape[2] ** -0.5
            attention = logits.softmax(dim=2)  # over slots
            weights = attention + 1e-8
            weights = weights / weights.sum(dim=1, keepdim=True)  # over positions
            updates = torch.einsum("bnk,bnd->bkd", weights, values)
            slots = torch.stack([self.gru(u, s) for u, s in zip(updates, slots, strict=True)])
            slots = slots + self.mlp(self.norm_mlp(slots))
        return slots, attention.transpose(1, 2)


class Start(nn.Module):
    """The slots before the first round: learned vectors, or draws from a learned Gaussian."""

    def __init__(self, kind: str, slots: int):
        super().__init__()
        self.kind, self.slots = kind, slots
        if kind == "learnable":
            self.vectors = nn.Parameter(torch.randn(slots, 128))
        else:
            self.mean, self.log_deviation = nn.Parameter(torch.randn(128)), nn.Parameter(torch.randn(128))

    def forward(self, inputs: Tensor, generator: Generator) -> Tensor:
        if self.kind == "learnable":
            return self.vectors.unsqueeze(0).repeat(len(inputs), 1, 1)
        noise = torch.randn(len(inputs), self.slots, 128, generator=generator, dtype=inputs.dtype)
        return self.mean + torch.exp(self.log_deviation) * noise


class Reference(nn.Module):
    def __init__(self, *, encoder: str, initializer: str, slots: int, side: int):
        super().__init__()
        self.encoder = resnet_encoder() if encoder == "resnet18_style" else cnn_encoder()
        self.position = SoftPosition(64, side, side)
        self.norm = nn.LayerNorm(64)
        self.mlp = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128))
        self.slots = slots
        self.initial = Start(initializer, slots)
        self.iterations = Iterations()
        self.side = side // 16  # 8 for 128 pixels
        self.decoder_position = SoftPosition(128, self.side, self.side)
        layers: list[nn.Module] = []
        for width_in in (128, 64, 64, 64):
            layers += [nn.ConvTranspose2d(width_in, 64, 5, stride=2, padding=2, output_padding=1), nn.ReLU()]
        self.decoder = nn.Sequential(*layers, nn.Conv2d(64, 4, 1))

    def forward(self, images: Tensor, generator: Generator) -> dict[str, Tensor]:
        batch = len(images)
        features = self.position(self.encoder(images))
        inputs = self.mlp(self.norm(features.flatten(2).transpose(1, 2)))
        slots, attention = self.iterations(inputs, self.initial(inputs, generator))
        grids = slots.reshape(batch * self.slots, 128, 1, 1).repeat(1, 1, self.side, self.side)
        painted = self.decoder(self.decoder_position(grids)).reshape(batch, self.slots, 4, *images.shape[2:])
        masks = painted[:, :, 3].softmax(dim=1)
        image = (masks.unsqueeze(2) * painted[:, :, :3]).sum(dim=1)
        loss = ((image - images) ** 2).mean()
        return {"image": image, "masks": masks, "slots": slots, "attention": attention, "loss": loss}


# --- against the model of a spec ---------------------------------------------------------

SPEC = """
format: 1
name: parity
data: {{dataset: scenes, protocol: {{name: whole, image_size: {side}}}}}
model:
  slots: {slots}
  slot_dim: 128
  encoder: {encoder}
  initializer: {initializer}
  grouping: slot_attention
  decoder: {{name: spatial_broadcast, broadcast_size: {start}}}
training: {{batch_size: 64, phases: [{{epochs: 80, lr: 0.001}}]}}
"""


def declared(*, side: int, **facts: Any) -> ExperimentSpec:
    data = yaml.safe_load(SPEC.format(side=side, start=side // 16, **facts))
    return ExperimentSpec.model_validate(data, context={"registry": load_registry()})


def built(**facts: Any) -> Model:
    return build_model(declared(**facts))


def compute(model: Model, images: Tensor) -> dict[str, Tensor]:
    output = model(images, generator=Generator().manual_seed(3))
    assert output.decoded.masks_BKHW is not None
    return {
        "image": output.decoded.prediction_BCHW,
        "masks": output.decoded.masks_BKHW,
        "slots": output.grouped.slots.vectors_BKD,
        "attention": output.grouped.attention_BKN,
        "loss": model.objective.loss(output.decoded, output.target_BCHW).total,
    }


def compare(model: Model, *, batch: int, side: int, **facts: Any) -> None:
    reference = Reference(side=side, **facts).double()
    model.double()
    ours, theirs = list(model.parameters()), list(reference.parameters())
    assert [p.shape for p in ours] == [p.shape for p in theirs]
    with torch.no_grad():
        for mine, other in zip(ours, theirs, strict=True):
            if other.dim() == 1:  # norms and biases start as ones and zeros: all alike
                mine += 0.1 * torch.randn(mine.shape, generator=Generator().manual_seed(mine.numel()))
            other.copy_(mine)
    images = (
        torch.rand(batch, 3, side, side, dtype=torch.float64, generator=Generator().manual_seed(0)) * 2 - 1
    )
    found, expected = compute(model, images), reference(images, Generator().manual_seed(3))
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        assert (found[name] - value).abs().max() < TOLERANCE, name
    found["loss"].backward()  # type: ignore[no-untyped-call]
    expected["loss"].backward()  # type: ignore[no-untyped-call]
    for (name, mine), other in zip(model.named_parameters(), theirs, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert (mine.grad - other.grad).abs().max() < TOLERANCE, name
        assert other.grad.any(), f"{name} has no gradient, so nothing was compared"


@pytest.mark.parametrize("slots", [7, 11])
@pytest.mark.parametrize("initializer", ["learnable", "gaussian"])
@pytest.mark.parametrize(("encoder", "side"), [("resnet18_style", 16), ("cnn", 32)])
def test_small_images(encoder: str, side: int, initializer: str, slots: int) -> None:
    facts: dict[str, Any] = {"encoder": encoder, "initializer": initializer, "slots": slots, "side": side}
    compare(built(**facts), batch=2, **facts)


@pytest.mark.parametrize("side", [32, pytest.param(128, marks=pytest.mark.slow)])
def test_larger_images(side: int) -> None:
    facts: dict[str, Any] = {
        "encoder": "resnet18_style",
        "initializer": "learnable",
        "slots": 7,
        "side": side,
    }
    compare(built(**facts), batch=1, **facts)


def shipped(name: str) -> ExperimentSpec:
    if name in ARMS:
        ablation = load_ablation("slotlab:ablations/encoder_x_init")
        return next(arm.loaded.spec for arm in ablation.arms if arm.name == name)
    path = resources.files("slotlab.experiments").joinpath(*f"{name}.yaml".split("/"))
    return load_spec(str(path)).spec


ABLATIONS = [(e, i) for e in ("cnn", "resnet18_style") for i in ("learnable", "gaussian")]
ARMS = {f"encoder={e}, initializer={i}": (e, i, 7) for e, i in ABLATIONS}
SHIPPED = {
    "clevrtex6": ("resnet18_style", "learnable", 7),
    "clevrtex11": ("resnet18_style", "learnable", 11),
    **ARMS,
}


@pytest.mark.parametrize("name", list(SHIPPED))
def test_shipped_specs_declare_the_reference(name: str) -> None:
    encoder, initializer, slots = SHIPPED[name]
    spec = shipped(name)
    assert (spec.data.size, spec.data.bounds) == ((128, 128), (-1.0, 1.0))
    same = declared(encoder=encoder, initializer=initializer, slots=slots, side=128)
    assert settings_of(spec) == settings_of(same)
    reference = Reference(encoder=encoder, initializer=initializer, slots=slots, side=128)
    assert [p.shape for p in build_model(spec).parameters()] == [p.shape for p in reference.parameters()]


def settings_of(spec: ExperimentSpec) -> Any:
    """All that decides what is computed, a width left to its default written out."""
    model = spec.model_dump(mode="json")["model"]
    model["projection"]["hidden_dim"] = model["projection"]["hidden_dim"] or spec.model.config.slot_dim
    model["grouping"]["mlp_dim"] = model["grouping"]["mlp_dim"] or 2 * spec.model.config.slot_dim
    return model, spec.objective.dump()


def test_the_name_of_the_shipped_spec() -> None:
    named = load_spec("slotlab:clevrtex6").spec
    assert run_id(named) == run_id(shipped("clevrtex6"))
    assert settings_of(named) == settings_of(shipped("clevrtex6"))
