"""`video_slots` against plain transcriptions of SAVi-S and SlotFormer's StoSAVi, over clips of six frames.

Written from the papers and from descriptions of their code (google-research/slot-attention-video,
`configs/movi/savi_conditional_small.py`; pairlab/SlotFormer, `base_slots/models/savi.py`), without conditions: the
first slots are learned vectors. Only the weights are shared, by their names.
"""

import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Batch
from slotlab.framework.model.build import build_model
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.schema import ExperimentSpec

REGISTRY = load_registry()
TOLERANCE = 1e-9
CLIPS, FRAMES, SIDE = 2, 6, 16


def savi(width: int, channels: int, wide: int, side: int, slots: int) -> dict[str, Any]:
    """SAVi-S with other widths; its own are 128, 32, 64 and 64, for 64 pixels."""
    return {
        "name": "video_slots",
        "slots": slots,
        "slot_dim": width,
        "encoder": {"name": "cnn", "channels": [channels] * 4},
        "projection": {
            "position": "centered_grid",
            "hidden_dim": 2 * channels,
            "dim": channels,
            "layer_norm_eps": 1e-6,
        },
        "initializer": "learnable",
        "grouping": {
            "name": "slot_attention",
            "iterations": 1,
            "mlp": False,
            "epsilon_to": "sum",
            "layer_norm_eps": 1e-6,
        },
        "predictor": {"name": "transformer", "layer_norm_eps": 1e-6},
        "decoder": {
            "name": "spatial_broadcast",
            "broadcast_size": side // 8,
            "channels": [wide] * 4,
            "strides": [2, 2, 2, 1],
            "position": "centered_grid",
        },
    }


STOSAVI: dict[str, Any] = {
    "name": "video_slots",
    "slots": 4,
    "slot_dim": 8,
    "encoder": {"name": "cnn", "channels": [5, 6], "kernel_size": 3, "last_relu": False},
    "initializer": "learnable",
    "grouping": {"name": "slot_attention", "iterations": 2, "mlp_dim": 16, "epsilon": 1e-6},
    "predictor": "transformer_lstm",
    "kernel": {"hidden_dim": 16, "variance": 0.01},
    "decoder": {"name": "spatial_broadcast", "broadcast_size": 8, "channels": [6]},
}


def model_of(settings: dict[str, Any], side: int = SIDE) -> Any:
    content = {
        "format": 1,
        "name": "parity",
        "data": {"dataset": "scenes", "protocol": {"name": "whole", "image_size": side}},
        "model": settings,
        "training": {"batch_size": 2, "phases": [{"steps": 1, "lr": 0.01}]},
    }
    return build_model(ExperimentSpec.model_validate(content, context={"registry": REGISTRY}))


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=Generator().manual_seed(seed))


def shaken(settings: dict[str, Any]) -> Any:
    """A model in float64 with weights that are all random, without dropout."""
    model = model_of(settings).double().eval()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.add_(0.1 * noise(*parameter.shape, seed=index))
    return model


def videos() -> Tensor:
    return noise(CLIPS, FRAMES, 3, SIDE, SIDE, seed=99).clamp(-1, 1)


# --- what both have ----------------------------------------------------------------------


class Weights:
    """Copies of a model's weights, by name, that have gradients of their own."""

    def __init__(self, model: Any):
        self.all = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}

    def __getitem__(self, name: str) -> Tensor:
        return self.all[name]

    def map(self, x: Tensor, name: str) -> Tensor:
        y = x @ self[f"{name}.weight"].T
        return y + self[f"{name}.bias"] if f"{name}.bias" in self.all else y

    def norm(self, x: Tensor, name: str, eps: float) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return (
            x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * self[f"{name}.weight"]
            + self[f"{name}.bias"]
        )

    def gru(self, x: Tensor, h: Tensor, name: str) -> Tensor:
        ours = (x @ self[f"{name}.weight_ih"].T + self[f"{name}.bias_ih"]).chunk(3, -1)
        past = (h @ self[f"{name}.weight_hh"].T + self[f"{name}.bias_hh"]).chunk(3, -1)
        reset, update = (ours[0] + past[0]).sigmoid(), (ours[1] + past[1]).sigmoid()
        return (1 - update) * (ours[2] + reset * past[2]).tanh() + update * h

    def attention(self, x: Tensor, name: str, heads: int) -> Tensor:
        q, k, v = (self.map(x, f"{name}.to_{one}").unflatten(-1, (heads, -1)) for one in "qkv")
        logits = torch.einsum("bihd,bjhd->bhij", q, k) / q.shape[-1] ** 0.5
        mixed = torch.einsum("bhij,bjhd->bihd", logits.softmax(-1), v)
        return self.map(mixed.flatten(-2), f"{name}.to_out")

    def mlp(self, x: Tensor, name: str, first: int, last: int) -> Tensor:
        return self.map(self.map(x, f"{name}.{first}").relu(), f"{name}.{last}")

    def convolved(self, images: Tensor, layers: int, pad: int, last_relu: bool) -> Tensor:
        x = images
        for i in range(layers):
            name = f"encoder.layers.{2 * i}"
            x = F.conv2d(x, self[f"{name}.weight"], self[f"{name}.bias"], padding=pad)
            x = x.relu() if last_relu or i < layers - 1 else x
        return x

    def upsampled(self, x: Tensor, strides: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Decode (B, K, D, h, w) to parts and masks."""
        slots = x.shape[1]
        x = x.flatten(0, 1)
        for i, stride in enumerate(strides):
            name = f"decoder.layers.{2 * i}"
            weight, bias = self[f"{name}.weight"], self[f"{name}.bias"]
            x = F.conv_transpose2d(x, weight, bias, stride, 2, stride - 1).relu()
        name = f"decoder.layers.{2 * len(strides)}"
        x = F.conv2d(x, self[f"{name}.weight"], self[f"{name}.bias"]).unflatten(0, (-1, slots))
        return x[:, :, :3], x[:, :, 3:].softmax(1)


def grid(rows: int, columns: int, low: float) -> Tensor:
    """(h, w, 2): y, then x, from `low` to 1; in single precision, as the models keep it."""
    y = torch.linspace(low, 1, rows)[:, None].expand(rows, columns)
    x = torch.linspace(low, 1, columns)[None].expand(rows, columns)
    return torch.stack([y, x], -1)


def two_coordinates(rows: int, columns: int) -> Tensor:
    return grid(rows, columns, -1).double()


def four_ramps(rows: int, columns: int) -> Tensor:
    near = grid(rows, columns, 0)
    return torch.cat([near, 1 - near], -1).double()


def savi_pass(w: Weights, clips: Tensor) -> dict[str, Tensor]:
    """SAVi's loop over frames: correct, decode, predict."""
    slots = w["initializer.vectors_KD"].expand(len(clips), -1, -1)
    found, masks, predictions = [], [], []
    for frame in clips.unbind(1):
        features = w.convolved(frame, 4, 2, last_relu=True).permute(0, 2, 3, 1)
        features = features + w.map(two_coordinates(*features.shape[1:3]), "projection.position.project")
        tokens = w.mlp(w.norm(features.flatten(1, 2), "projection.norm", 1e-6), "projection.mlp", 0, 2)
        tokens = w.norm(tokens, "grouping.norm_tokens", 1e-6)
        keys, values = w.map(tokens, "grouping.to_k"), w.map(tokens, "grouping.to_v")
        queries = w.map(w.norm(slots, "grouping.norm_slots", 1e-6), "grouping.to_q")
        shares = torch.einsum("bkd,bnd->bkn", queries / queries.shape[-1] ** 0.5, keys).softmax(1)
        means = shares / (shares.sum(-1, keepdim=True) + 1e-8) @ values
        corrected = w.gru(means, slots, "grouping.gru")
        found.append(corrected)
        code = w.map(two_coordinates(SIDE // 8, SIDE // 8), "decoder.position.project").permute(2, 0, 1)
        parts, alpha = w.upsampled(corrected[..., None, None] + code, (2, 2, 2, 1))
        masks.append(alpha[:, :, 0])
        predictions.append((parts * alpha).sum(1))
        name = "predictor.blocks.0"
        seen = corrected + w.attention(corrected, f"{name}.attend", 4)
        seen = w.norm(seen, f"{name}.norm_attention", 1e-6)
        slots = w.norm(seen + w.mlp(seen, f"{name}.mlp", 0, 3), f"{name}.norm_mlp", 1e-6)
    stacked = {"slots": found, "masks": masks, "prediction": predictions}
    return {name: torch.stack(each, 1) for name, each in stacked.items()}


def kernel_loss(log_variance: Tensor, mean: Tensor) -> Tensor:
    """SlotFormer's: KL(N(m, s^2) || N(m without gradient, 0.01)), summed over widths."""
    other, goal = mean.detach(), torch.full_like(log_variance, math.log(0.01))
    ratio = (goal / 2).exp() / (log_variance / 2).exp()
    divergence = ratio.log() + (log_variance.exp() + (mean - other) ** 2) / (2 * goal.exp()) - 0.5
    return divergence.sum(-1).mean()


def stosavi_pass(w: Weights, clips: Tensor, stream: Generator, sampled: bool) -> dict[str, Tensor]:
    """SlotFormer's loop over frames: predict, draw the kernels, attend twice."""
    slots = w["initializer.vectors_KD"].expand(len(clips), -1, -1)
    h = c = torch.zeros(slots[..., 0].numel(), 16, dtype=torch.float64)
    found, log_variances, means, predictions = [], [], [], []
    for number, frame in enumerate(clips.unbind(1)):
        if number:
            x = slots
            for block in ("predictor.blocks.0", "predictor.blocks.1"):
                x = x + w.attention(w.norm(x, f"{block}.norm_attention", 1e-5), f"{block}.attend", 4)
                x = x + w.mlp(w.norm(x, f"{block}.norm_mlp", 1e-5), f"{block}.mlp", 0, 3)
            lstm = "predictor.lstm"
            gates = x.flatten(0, 1) @ w[f"{lstm}.weight_ih"].T + w[f"{lstm}.bias_ih"]
            gates = gates + h @ w[f"{lstm}.weight_hh"].T + w[f"{lstm}.bias_hh"]
            take, keep, new, show = gates.chunk(4, -1)
            c = keep.sigmoid() * c + take.sigmoid() * new.tanh()
            h = show.sigmoid() * c.tanh()
            slots = w.map(h, "predictor.readout").view_as(slots)
        hidden = w.norm(w.map(slots, "kernel.layers.0"), "kernel.layers.1", 1e-5).relu()
        kernel = w.map(hidden, "kernel.layers.3")
        mean, log_variance = (kernel[..., :8], kernel[..., 8:]) if sampled else (kernel, kernel)
        slots = mean
        if sampled:
            draw = torch.randn(mean.shape, generator=stream, dtype=torch.float64)
            slots = mean + draw * (log_variance * 0.5).exp()
        features = w.convolved(frame, 2, 1, last_relu=False).permute(0, 2, 3, 1)
        features = features + w.map(four_ramps(SIDE, SIDE), "projection.position.project")
        tokens = w.mlp(w.norm(features.flatten(1, 2), "projection.norm", 1e-5), "projection.mlp", 0, 2)
        tokens = w.norm(tokens, "grouping.norm_tokens", 1e-5)
        keys, values = w.map(tokens, "grouping.to_k"), w.map(tokens, "grouping.to_v")
        for _ in range(2):
            queries = w.map(w.norm(slots, "grouping.norm_slots", 1e-5), "grouping.to_q")
            shares = torch.einsum("bkd,bnd->bkn", queries * 8**-0.5, keys).softmax(1) + 1e-6
            slots = w.gru(shares / shares.sum(-1, keepdim=True) @ values, slots, "grouping.gru")
            slots = slots + w.mlp(w.norm(slots, "grouping.mlp.0", 1e-5), "grouping.mlp", 1, 3)
        code = w.map(four_ramps(8, 8), "decoder.position.project").permute(2, 0, 1)
        parts, alpha = w.upsampled(slots[..., None, None] + code, (2,))
        found.append(slots)
        predictions.append((parts * alpha).sum(1))
        log_variances.append(log_variance)
        means.append(mean)
    result = {name: torch.stack(each, 1) for name, each in (("slots", found), ("prediction", predictions))}
    if sampled:
        result["kernel"] = kernel_loss(torch.stack(log_variances, 1), torch.stack(means, 1))
    return result


# --- parity ------------------------------------------------------------------------------


def compare_gradients(model: Any, total: Tensor, weights: Weights, wanted: Tensor) -> None:
    torch.testing.assert_close(total, wanted, atol=TOLERANCE, rtol=0)
    names = list(weights.all)
    ours = torch.autograd.grad(total, [dict(model.named_parameters())[name] for name in names])
    theirs = torch.autograd.grad(wanted, [weights[name] for name in names])
    for name, one, two in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(one, two, atol=TOLERANCE, rtol=0, msg=name)
        assert one.abs().sum() > 0, name


def batch_of(clips: Tensor) -> Batch:
    names = tuple(map(str, range(CLIPS)))
    return Batch(images_BCHW=clips.flatten(0, 1), masks_BHW=None, ids=names, frames=FRAMES)


def test_savi_s_over_six_frames():
    model, clips = shaken(savi(16, 4, 6, SIDE, slots=5)), videos()
    weights = Weights(model)
    wanted = savi_pass(weights, clips)
    found = model(clips.flatten(0, 1), frames=FRAMES)
    for one, two in (
        (found.grouped.slots.vectors_BKD, wanted["slots"]),
        (found.decoded.masks_BKHW, wanted["masks"]),
        (found.decoded.prediction_BCHW, wanted["prediction"]),
    ):
        torch.testing.assert_close(one, two.flatten(0, 1), atol=TOLERANCE, rtol=0)
    error = (wanted["prediction"] - clips).square().mean()
    compare_gradients(model, model.losses(batch_of(clips)).total, weights, error)


@pytest.mark.parametrize("variance", [0.01, None])
def test_slotformers_kernels_and_their_divergence(variance):
    kernel = {"hidden_dim": 16, "variance": variance, "weight": 0.3}
    model, clips = shaken({**STOSAVI, "kernel": kernel}), videos()
    weights = Weights(model)
    wanted = stosavi_pass(weights, clips, Generator().manual_seed(4), sampled=variance is not None)
    found = model(clips.flatten(0, 1), frames=FRAMES, generator=Generator().manual_seed(4))
    torch.testing.assert_close(
        found.grouped.slots.vectors_BKD, wanted["slots"].flatten(0, 1), atol=TOLERANCE, rtol=0
    )
    total = (wanted["prediction"] - clips).square().mean() + 0.3 * wanted.get("kernel", torch.tensor(0.0))
    losses = model.losses(batch_of(clips), generator=Generator().manual_seed(4))
    compare_gradients(model, losses.total, weights, total)


def test_kernels_are_pulled_in_their_variance_and_not_in_their_mean():
    model = shaken(STOSAVI)
    output = model(videos()[:, 0], generator=Generator().manual_seed(4))
    (gradient,) = torch.autograd.grad(model.kernel.loss(output.initial), [model.kernel.layers[3].bias])
    assert (gradient[:8] == 0).all()
    assert (gradient[8:] != 0).all()


# --- sizes -------------------------------------------------------------------------------


def count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_savi_s_has_its_parameters():
    """0.90 M in a table of a port (895,268) are with both grids of coordinates, 8,320 numbers that are not learned.

    Without them 886,948 are left: those of the initializer of boxes, 34,176, are learned slots here; torch's GRU has
    a second bias for two of its gates, 256.
    """
    with torch.device("meta"):
        model = model_of(savi(128, 32, 64, 64, slots=11), side=64)
    parts = {name: count(part) for name, part in model.named_children()}
    assert parts == {
        "encoder": 79_328,
        "projection": 4_352,
        "initializer": 11 * 128,
        "grouping": 123_968,
        "predictor": 132_480,
        "decoder": 512_900,
    }
    grids, boxes, biases = 64 * 64 * 2 + 8 * 8 * 2, 4 * 256 + 256 + 256 * 128 + 128, 2 * 128
    assert count(model) - 11 * 128 - biases + boxes + grids == 895_268
