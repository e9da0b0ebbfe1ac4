"""STEVE with its codec trained jointly, against a plain transcription of the whole model over clips.

Written from the paper (Singh et al. 2022) and from descriptions of its code; only weights are shared, by their names.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Generator, Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Batch
from slotlab.framework.jobs.train import prepare
from slotlab.framework.model.build import build_model
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.errors import SpecError
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.plugins.objectives.token_cross_entropy import TokenCrossEntropy

REGISTRY = load_registry()
CLIPS, FRAMES, SIDE, SLOTS, DIM, CODES, HEADS, LAYERS, TAU = 2, 3, 8, 3, 8, 7, 2, 2, 0.6
EXACT: dict[str, float] = {"rtol": 1e-9, "atol": 1e-9}
SPEC: dict[str, Any] = {
    "format": 1,
    "name": "steve",
    "data": {
        "dataset": {"name": "moving_scenes", "num_train": 2, "num_val": 2, "num_frames": FRAMES},
        "protocol": {"name": "whole", "image_size": SIDE, "value_range": "unit"},
        "clip": {"frames": FRAMES},
    },
    "model": {
        "name": "video_slots",
        "slots": SLOTS,
        "slot_dim": DIM,
        "encoder": {"name": "cnn", "channels": [5, 6], "strides": [2, 1], "last_relu": False},
        "projection": {"position": {"name": "linear_grid", "points": "centers"}, "hidden_dim": 7},
        "initializer": "gaussian",
        "grouping": {"name": "slot_attention", "iterations": 2, "mlp_dim": 9, "mlp_last": False},
        "predictor": {
            "name": "transformer",
            "norm": "pre_split_late",
            "bias": False,
            "final_norm": True,
            "heads": HEADS,
        },
        "decoder": {
            "name": "autoregressive",
            "blocks": "slate",
            "layers": LAYERS,
            "heads": HEADS,
            "width": 6,
        },
    },
    "objective": {
        "name": "token_cross_entropy",
        "codec": {"name": "dvae", "codes": CODES, "width": 8, "norm": "none", "tau": TAU},
        "reduction": "sum",
    },
    "training": {"batch_size": 2, "phases": [{"steps": 1, "lr": 0.01}]},
    "evaluation": {"metrics": ["ari"], "mask_source": "attention"},
}


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=Generator().manual_seed(seed))


def model_of() -> Any:
    """The model in float64, with weights that are all random."""
    model = build_model(ExperimentSpec.model_validate(SPEC, context={"registry": REGISTRY})).double()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.add_(0.1 * noise(*parameter.shape, seed=index))
    return model


def batch() -> Batch:
    frames_BCHW = noise(CLIPS * FRAMES, 3, SIDE, SIDE, seed=99).sigmoid()
    return Batch(
        images_BCHW=frames_BCHW,
        masks_BHW=None,
        ids=("0", "1"),
        attributes=({},) * len(frames_BCHW),
        frames=FRAMES,
    )


# --- a transcription ---------------------------------------------------------------------


class Plain:
    """STEVE in plain operations, with copies of a model's weights by their names. Images are in [0, 1]."""

    def __init__(self, model: Any):
        self.w = {name: one.detach().clone().requires_grad_() for name, one in model.named_parameters()}

    def map(self, x: Tensor, name: str) -> Tensor:
        y = x @ self.w[f"{name}.weight"].T
        return y + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else y

    def norm(self, x: Tensor, name: str) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def conv(self, x: Tensor, name: str, **options: int) -> Tensor:
        return F.conv2d(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], **options)

    def attend(self, x: Tensor, memory: Tensor, name: str, causal: bool = False) -> Tensor:
        q, k, v = (
            self.map(y, f"{name}.to_{letter}").unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for letter, y in zip("qkv", (x, memory, memory), strict=True)
        )
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        if causal:
            scores = scores.masked_fill(torch.ones(x.shape[1], x.shape[1]).triu(1).bool(), -torch.inf)
        return self.map((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), f"{name}.to_out")

    # the discrete VAE

    def logits(self, x: Tensor) -> Tensor:
        x = self.conv(x, "objective.codec.encoder.0.0", stride=4).relu()
        for layer in range(1, 7):
            x = self.conv(x, f"objective.codec.encoder.{layer}.0").relu()
        return self.conv(x, "objective.codec.encoder.7").log_softmax(1)

    def picture(self, weights: Tensor) -> Tensor:
        x = self.conv(weights, "objective.codec.decoder.0.0").relu()
        for first in (1, 6):
            x = self.conv(x, f"objective.codec.decoder.{first}.0", padding=1).relu()
            for layer in (1, 2, 3):
                x = self.conv(x, f"objective.codec.decoder.{first + layer}.0").relu()
            x = F.pixel_shuffle(x, 2)
        return self.conv(x, "objective.codec.decoder.11")

    # slots

    def inputs(self, x: Tensor) -> Tensor:
        x = self.conv(x, "encoder.layers.0", stride=2, padding=2).relu()
        x = self.conv(x, "encoder.layers.2", padding=2)
        rows, columns = x.shape[2:]
        y = ((torch.arange(rows) + 0.5) / rows)[:, None].expand(rows, columns)
        z = ((torch.arange(columns) + 0.5) / columns)[None].expand(rows, columns)
        code = self.map(torch.stack([y, z, 1 - y, 1 - z], -1).double(), "projection.position.project")
        x = self.norm((x.permute(0, 2, 3, 1) + code).flatten(1, 2), "projection.norm")
        return self.map(self.map(x, "projection.mlp.0").relu(), "projection.mlp.2")

    def gru(self, x: Tensor, h: Tensor) -> Tensor:
        a, b = x @ self.w["grouping.gru.weight_ih"].T, h @ self.w["grouping.gru.weight_hh"].T
        a, b = a + self.w["grouping.gru.bias_ih"], b + self.w["grouping.gru.bias_hh"]
        (ar, az, an), (br, bz, bn) = a.chunk(3, -1), b.chunk(3, -1)
        z = (az + bz).sigmoid()
        return (1 - z) * (an + (ar + br).sigmoid() * bn).tanh() + z * h

    def corrected(self, slots: Tensor, inputs: Tensor) -> Tensor:
        inputs = self.norm(inputs, "grouping.norm_tokens")
        k, v = self.map(inputs, "grouping.to_k") * DIM**-0.5, self.map(inputs, "grouping.to_v")
        for iteration in range(2):
            q = self.map(self.norm(slots, "grouping.norm_slots"), "grouping.to_q")
            attention = (k @ q.transpose(1, 2)).softmax(-1) + 1e-8
            attention = attention / attention.sum(1, keepdim=True)
            slots = self.gru(attention.transpose(1, 2) @ v, slots)
            if iteration == 0:  # not after the last one
                hidden = self.map(self.norm(slots, "grouping.mlp.0"), "grouping.mlp.1").relu()
                slots = slots + self.map(hidden, "grouping.mlp.3")
        return slots

    def predicted(self, slots: Tensor) -> Tensor:
        block = "predictor.blocks.0"
        x = self.norm(slots, f"{block}.norm_attention")  # the residual begins here
        x = x + self.attend(x, x, f"{block}.attend")
        hidden = self.map(self.norm(x, f"{block}.norm_mlp"), f"{block}.mlp.0").relu()
        return self.norm(x + self.map(hidden, f"{block}.mlp.3"), "predictor.blocks.1")

    def chances(self, slots: Tensor, tokens: Tensor) -> Tensor:
        """The logarithms of each token's probability, by those before it."""
        before = torch.cat((torch.full((len(tokens), 1), CODES), tokens[:, :-1]), 1)
        x = self.w["decoder.read_target.embedding.weight"][before]
        x = x + self.w["decoder.read_target.place_TW"][: tokens.shape[1]]
        memory = self.map(slots, "decoder.read_slots")
        for layer in range(LAYERS):
            block = f"decoder.blocks.blocks.{layer}"
            y = self.norm(x, f"{block}.norm_tokens")
            x = (y if layer == 0 else x) + self.attend(y, y, f"{block}.attend_tokens", causal=True)
            x = x + self.attend(self.norm(x, f"{block}.norm_cross"), memory, f"{block}.attend_slots")
            hidden = self.map(self.norm(x, f"{block}.norm_mlp"), f"{block}.mlp.0").relu()
            x = x + self.map(hidden, f"{block}.mlp.2")
        return self.map(self.norm(x, "decoder.blocks.norm"), "decoder.write").log_softmax(-1)

    def losses(self, images: Tensor, stream: Generator) -> tuple[Tensor, Tensor]:
        """The squared error of pictures and the cross-entropy of tokens, sums over a frame, means over frames."""
        drawn = torch.randn(CLIPS, SLOTS, DIM, dtype=torch.float64, generator=stream)
        slots = self.w["initializer.mu_D"] + self.w["initializer.log_sigma_D"].exp() * drawn
        found = []
        for inputs in self.inputs(images).unflatten(0, (CLIPS, FRAMES)).unbind(1):
            slots = self.corrected(slots, inputs)
            found.append(slots)
            slots = self.predicted(slots)
        logits = self.logits(images)
        soft, hard = (
            logits - torch.empty_like(logits).exponential_(generator=stream).log() for _ in range(2)
        )
        error = (self.picture((soft / TAU).softmax(1)) - images).square().sum() / len(images)
        tokens = hard.detach().argmax(1).flatten(1)
        chances = self.chances(torch.stack(found, 1).flatten(0, 1), tokens)
        return error, -chances.gather(2, tokens[..., None]).sum() / len(images)


def test_joint_loss_and_gradients_are_steves() -> None:
    model, some = model_of(), batch()
    plain = Plain(model)
    found = model.losses(some, generator=Generator().manual_seed(4))
    error, entropy = plain.losses(some.images_BCHW, Generator().manual_seed(4))
    torch.testing.assert_close(found.total, error + entropy, **EXACT)
    torch.testing.assert_close(found.terms["codec"], error, **EXACT)
    torch.testing.assert_close(found.terms["tokens"] * (SIDE // 4) ** 2, entropy, **EXACT)
    names, ours = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(found.total, ours)
    wanted = torch.autograd.grad(error + entropy, [plain.w[name] for name in names])
    for name, one, other in zip(names, gradients, wanted, strict=True):
        torch.testing.assert_close(one, other, **EXACT, msg=lambda text, name=name: f"{name}: {text}")
        assert one.any(), name


def test_each_half_of_the_loss_trains_its_own_half_of_the_weights() -> None:
    model = model_of()
    losses = model.losses(batch(), generator=Generator().manual_seed(4))
    for term, mine in (("codec", True), ("tokens", False)):
        names, weights = zip(*model.named_parameters(), strict=True)
        found = torch.autograd.grad(losses.terms[term], weights, retain_graph=True, allow_unused=True)
        reached = {name for name, gradient in zip(names, found, strict=True) if gradient is not None}
        assert reached == {name for name in names if name.startswith("objective.codec.") == mine}


def test_what_is_shown_and_measured_draws_no_tokens() -> None:
    model, images_BCHW = model_of().eval(), batch().images_BCHW
    objective, features = model.objective, torch.zeros(0)
    assert torch.equal(
        objective.target(images_BCHW, features)[:, 0], Plain(model).logits(images_BCHW).argmax(1)
    )
    assert model.has_codec
    picture = model.through_codec(images_BCHW)
    assert torch.equal(picture, objective.to_image(objective.target(images_BCHW, features)))


# --- mistakes ----------------------------------------------------------------------------


def refusal(folder: Path, *sets: str) -> str:
    (folder / "steve.yaml").write_text(yaml.safe_dump(SPEC))
    with pytest.raises(SpecError) as caught:
        prepare(folder / "steve.yaml", sets=sets)
    return " ".join("\n".join(caught.value.lines()).split())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("objective.codec={name: vqvae, width: 4, multipliers: [1, 2], blocks: 1, norm_groups: 2}", "objective.codec: token_cross_entropy: vqvae: cannot be trained with what predicts its tokens; take dvae, or train it by a spec of its own, and write 'codec: {name: trained, source: {run: ../runs/NAME}}'"),
        ("data.targets=half", "data.targets: the objective 'token_cross_entropy' trains what makes its target, which is another one after every step; name a codec that was trained before; write 'targets: full'"),
        ("training.anneal={objective.codec.sigma: {start: 1, end: 0.1, steps: 3}}", "'sigma' cannot change during training (schedulable here: tau)"),
        ("training.groups=[{weights: [objective.codek]}]", "no weight's name is 'objective.codek' or starts with it; did you mean 'objective.codec'?"),
    ],
)  # fmt: skip
def test_mistakes_are_told(tmp_path: Path, setting: str, message: str) -> None:
    assert message in refusal(tmp_path, setting)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: made.target_BCHW, "prepare should return Prepared, not Tensor"),
        (lambda made: type(made)(made.target_BCHW[:, 0], made.losses), "the prepared target, by the objective's target_shape, should have shape (6, 1, 2, 2), not (6, 2, 2)"),
        (lambda made: type(made)(made.target_BCHW.int(), made.losses), "the prepared target should be int64, the index of a class, not torch.int32"),
        (lambda made: type(made)(made.target_BCHW), "prepare should give Losses of what makes the target, not NoneType"),
        (lambda made: type(made)(made.target_BCHW, type(made.losses)(made.losses.total.detach())), "the losses of what makes the target have no gradient: it would never be trained"),
    ],
)  # fmt: skip
def test_what_is_prepared_is_compared_with_its_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, message: str
) -> None:
    whole = TokenCrossEntropy.prepare

    def wrong(self: Any, images_BCHW: Tensor, *, generator: Generator | None = None) -> Any:
        return change(whole(self, images_BCHW, generator=generator))

    monkeypatch.setattr(TokenCrossEntropy, "prepare", wrong)
    assert f"objective: token_cross_entropy: {message}" in refusal(tmp_path)
