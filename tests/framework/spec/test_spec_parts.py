"""Parts that do not fit together, and settings that are rarely intended."""

from collections.abc import Callable
from pathlib import Path

import pytest

from slotlab.framework.jobs.train import prepare
from slotlab.framework.model.check import check_parts
from slotlab.framework.spec.cautions import cautions
from slotlab.framework.spec.errors import SpecError
from slotlab.framework.spec.load import load_spec
from slotlab.registry import Ref

Plugin = Callable[..., Path]
Write = Callable[[str, str], Path]

PARTS = """
import torch
from torch import nn
from slotlab.framework.contracts import Decoded, Grouped, Losses, Slots, TargetShape
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl

SLOTLAB_API = 1

class Config(ComponentConfig):
    fault: str = ""

class DataConfig(ComponentConfig):
    most: int = 6

    @property
    def object_limit(self):
        return self.most

    def cautions(self):
        return ["says so itself"] if self.most > 8 else []

class Encoder(nn.Module):
    def __init__(self, config, context):
        super().__init__()
        if config.fault == "build":
            raise IndexError("no such layer")
        if config.fault == "refuse":
            raise ComponentError("is not for such images", field="fault")
        self.fault, self.channels, self.grid = config.fault, 3, context.image_size

    def forward(self, images_BCHW):
        if self.fault == "forward":
            raise RuntimeError("out of luck")
        if self.fault == "slotlab":
            raise ComponentError("wants another spec")
        return images_BCHW[:, :2] if self.fault == "channels" else images_BCHW

class Initializer(nn.Module):
    fixed_num_slots = False

    def __init__(self, config, context):
        super().__init__()
        self.shape = (context.num_slots + (config.fault == "shape"), context.slot_dim)

    def forward(self, tokens_BND, num_slots=None, *, generator=None):
        return Slots(torch.zeros(tokens_BND.shape[0], *self.shape))

class Grouping(nn.Module):
    def __init__(self, config, context):
        super().__init__()
        self.fault = config.fault

    def forward(self, tokens_BND, slots, *, generator=None):
        attention = torch.zeros(2, slots.vectors_BKD.shape[1], tokens_BND.shape[1])
        if self.fault == "attention":
            attention = attention.transpose(1, 2)
        return Grouped(Slots(slots.vectors_BKD[:, 1:]) if self.fault == "slots" else slots, attention)

class Decoder(nn.Module):
    def __init__(self, config, context):
        super().__init__()
        self.fault, self.target = config.fault, context.target
        self.gray = nn.Parameter(torch.zeros(()))

    def forward(self, slots, *, target_BCHW=None, generator=None):
        B, K = slots.vectors_BKD.shape[:2]
        rows, columns = self.target.size
        prediction = torch.zeros(B, self.target.channels + (self.fault == "prediction"), rows, columns) + self.gray
        return Decoded(prediction, masks_BKHW=torch.zeros(B, K + 1, rows, columns) if self.fault == "masks" else None)

class Objective:
    def __init__(self, config, context):
        self.fault = config.fault
        self.target_shape = TargetShape(4 if config.fault == "target" else 3, context.image_size)

    def target(self, images_BCHW, features_BCHW):
        return images_BCHW

    def loss(self, decoded, target_BCHW):
        error = decoded.prediction_BCHW - target_BCHW
        return Losses(error.mean(0) if self.fault == "loss" else error.mean())

    def to_image(self, prediction_BCHW):
        return prediction_BCHW

def part(build, config=Config):
    return Component(name="part", config=config, build=build, summary="a part")

@hookimpl
def slotlab_datasets():
    yield part(print, DataConfig)

@hookimpl
def slotlab_encoders():
    yield part(Encoder)

@hookimpl
def slotlab_initializers():
    yield part(Initializer)

@hookimpl
def slotlab_groupings():
    yield part(Grouping)

@hookimpl
def slotlab_decoders():
    yield part(Decoder)

@hookimpl
def slotlab_objectives():
    yield part(Objective)
"""


@pytest.fixture
def parts(base: str, write: Write) -> None:
    """`spec.yaml` with a plugin that has a `part` of many kinds, each with a chosen fault."""
    write("many_parts.py", PARTS)
    Path("spec.yaml").write_text(base + "plugins: [many_parts.py]\n")


def refusal(*sets: str) -> str:
    with pytest.raises(SpecError) as caught:
        prepare("spec.yaml", sets=sets)
    return str(caught.value)


def warnings(*sets: str) -> list[str]:
    return [str(problem) for problem in prepare("spec.yaml", sets=sets).warnings]


def test_a_spec_whose_parts_fit(base: str) -> None:
    assert check_parts(load_spec("spec.yaml").spec) == []


@pytest.mark.parametrize(
    ("assignment", "path", "text"),
    [
        ("model.decoder.kernel_size=4", "model.decoder.kernel_size", "spatial_broadcast: must be odd, not 4"),
        ("model.encoder.kernel_size=4", "model.encoder.kernel_size", "cnn: must be odd, not 4"),
        (
            "model.encoder.strides=[1]",
            "model.encoder.strides",
            "cnn: 1 strides for 2 layers; give one for each layer",
        ),
        (
            "evaluation.metrics=[ari, mse, ari]",
            "evaluation.metrics.2",
            "the metric 'ari' is given twice; keep one",
        ),
    ],
)
def test_settings_that_do_not_fit(base: str, assignment: str, path: str, text: str) -> None:
    assert refusal(assignment) == f"--set {assignment}: {path}: {text}"


def test_a_decoder_of_another_size_is_located_at_its_block(base: str) -> None:
    line = 1 + next(i for i, text in enumerate(base.splitlines()) if text.startswith("  decoder:"))
    assert refusal("model.decoder.strides=[4]") == (
        f"spec.yaml:{line}: model.decoder: spatial_broadcast: "
        "the layers make 8 x 4 = 32 pixels a side, but the target is 16x16; "
        "change broadcast_size, strides or channels so that the product is 16"
    )


def test_parts_that_do_not_fit_are_reported_together(base: str) -> None:
    sets = ["evaluation.metrics=[ari, ari]", "model.decoder.strides=[4]", "model.encoder.kernel_size=4"]
    assert next(line.split(": ")[1] for line in refusal(*sets).splitlines()) == "evaluation.metrics.1"
    assert len(refusal(*sets).splitlines()) == 2  # without an encoder there is no decoder to judge


def test_learned_slots_keep_their_number(base: str) -> None:
    sets = ["model.initializer=learnable", "evaluation.slots=9"]
    assert refusal(*sets) == (
        "--set evaluation.slots=9: evaluation.slots: the initializer 'learnable' is made for 7 slots and cannot make 9; "
        "leave 'slots' out, or train with an initializer that takes any number, such as gaussian"
    )
    assert warnings("model.initializer=learnable", "evaluation.slots=7") == []
    assert warnings("evaluation.slots=9") == []


def test_splits_that_the_dataset_does_not_have(base: str) -> None:
    assert refusal("data.train_split=training", "evaluation.split=validation") == (
        "--set data.train_split=training: data.train_split: 'scenes' has no split 'training'; "
        "did you mean 'train'? (splits: train, val, test)\n"
        "--set evaluation.split=validation: evaluation.split: 'scenes' has no split 'validation' "
        "(splits: train, val, test)"
    )


FAULTS = [
    ("model.encoder", "refuse", "model.encoder.fault", "part: is not for such images"),
    ("model.encoder", "build", "model.encoder", "part: cannot be built: IndexError: no such layer (line 25)"),
    ("model.encoder", "forward", "model.encoder", "part: fails on images of 16x16 pixels: RuntimeError: out of luck (line 32)"),
    ("model.encoder", "slotlab", "model.encoder", "part: wants another spec"),
    ("model.encoder", "channels", "model.encoder", "part: features, by the encoder's channels and grid, should have shape (2, 3, 16, 16), not (2, 2, 16, 16)"),
    ("model.initializer", "shape", "model.initializer", "part: slots should have shape (2, 7, 8), not (2, 8, 8)"),
    ("model.grouping", "slots", "model.grouping", "part: slots should have shape (2, 7, 8), not (2, 6, 8)"),
    ("model.grouping", "attention", "model.grouping", "part: attention should have shape (2, 7, 256), not (2, 256, 7)"),
    ("objective", "target", "objective", "part: the target, by the objective's target_shape, should have shape (2, 4, 16, 16), not (2, 3, 16, 16)"),
    ("objective", "loss", "objective", "part: the loss should have shape (), not (3, 16, 16)"),
    ("model.decoder", "prediction", "model.decoder", "part: the prediction should have shape (2, 3, 16, 16), not (2, 4, 16, 16)"),
    ("model.decoder", "masks", "model.decoder", "part: masks, at each pixel, should have shape (2, 7), not (2, 8)"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "fault", "path", "text"), FAULTS)
def test_plugins_that_do_not_keep_their_contract(
    parts: None, where: str, fault: str, path: str, text: str
) -> None:
    assignment = f"{where}={{name: part, fault: {fault}}}"
    assert refusal(assignment) == f"--set {assignment}: {path}: {text}"


def test_plugins_that_keep_their_contract(parts: None) -> None:
    sets = [f"model.{kind}=part" for kind in ("encoder", "initializer", "grouping", "decoder")]
    sets.append("objective=part")
    assert warnings(*sets, "evaluation.mask_source=attention") == []


def test_a_decoder_without_masks(parts: None) -> None:
    assert refusal("model.decoder=part", "evaluation.mask_source=decoder") == (
        "--set evaluation.mask_source=decoder: evaluation.mask_source: "
        "the decoder 'part' has no masks; write 'mask_source: attention'"
    )


# --- warnings ----------------------------------------------------------------------------


def test_too_few_slots(parts: None) -> None:
    sets = ["data.dataset=part", "model.slots=6", "evaluation.slots=5"]
    hint = "slots for up to 6 objects and the background in 'part': 7 or more give each its own slot"
    assert warnings(*sets) == [
        f"--set evaluation.slots=5: evaluation.slots: 5 {hint}",
        f"--set model.slots=6: model.slots: 6 {hint}",
    ]
    assert warnings("data.dataset=part", "model.slots=7") == []
    assert warnings("data.dataset={name: part, most: 5}", "model.slots=6") == []


def test_a_component_may_warn(parts: None) -> None:
    assignment = "data.dataset={name: part, most: 9}"
    assert warnings(assignment, "model.slots=10") == [
        f"--set {assignment}: data.dataset: part: says so itself"
    ]


def test_every_component_is_asked_for_warnings(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_spec("spec.yaml").spec
    refs: list[Ref] = [
        spec.training.phases[0].schedule,
        spec.model.config.projection.position,
        *spec.evaluation.metrics,
    ]
    for ref in refs:
        monkeypatch.setattr(type(ref.config), "cautions", lambda self: ["x"])
    paths = {problem.path for problem in cautions(spec)}
    assert {("training", "phases", 0, "schedule"), ("model", "projection", "position")} <= paths
    assert {("evaluation", "metrics", i) for i in range(3)} | {("model", "decoder", "position")} <= paths


def test_a_frozen_network_with_random_weights(base: str) -> None:
    assignment = "model.encoder={name: timm, model: resnet18, stage: 0, frozen: true}"
    loaded = load_spec("spec.yaml", sets=[assignment])
    found = [str(item) for item in loaded.error(cautions(loaded.spec)).problems]
    assert found == [
        (
            f"--set {assignment}: model.encoder: timm: "
            "frozen with random weights; give 'weights: FILE' or 'pretrained: true'"
        )
    ]


def test_a_crop_that_generated_pictures_do_not_get_is_told(base):
    crops = ("data.protocol={name: whole, image_size: 16, crop: 10}",)
    loaded = load_spec("spec.yaml", sets=crops)
    found = [item.text for item in loaded.error(cautions(loaded.spec)).problems]
    assert found == ["whole: 'scenes' makes its pictures at the size asked for: the crop 10 is not applied"]
    plain = load_spec("spec.yaml")
    assert not list(cautions(plain.spec))
