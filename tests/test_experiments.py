"""Every shipped spec is valid, and trains a step and evaluates at reduced size."""

import itertools
import json
import os
import warnings
from importlib import resources
from pathlib import Path

import pytest
import torch
from jsonschema import Draft202012Validator
from PIL import Image

import slotlab
from slotlab.framework.contracts import DatasetContext
from slotlab.framework.cost.flops import REST, count_flops
from slotlab.framework.evaluation.conditions import own_condition
from slotlab.framework.jobs.evaluate import run_evaluations
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model.build import build_model
from slotlab.framework.plugin_loading.discovery import builtin_modules
from slotlab.framework.spec.errors import SpecError
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.json_schema import spec_schema
from slotlab.framework.spec.merge import SHIPPED, find_spec, shipped_ablations, shipped_specs
from slotlab.framework.spec.tree import parse
from slotlab.framework.study.json_schema import ablation_schema
from slotlab.framework.study.load import load_ablation
from slotlab.plugins.datasets.scenes import ScenesConfig, ScenesDataset
from slotlab.registry import Registry

SHARED = Path(os.environ.get("SLOTLAB_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SAMPLE = SHARED / "data" / "clevrtex_sample"
DRAWN = ("clevrtex6", "demo", "clevrtex11")
"""Specs whose figures are drawn too; those of the others would be the same."""
RANDOM, RANDOM_KEYS = "model.encoder.weights=null", "objective.encoder.weights=null"
WEIGHTS = (
    "dinosaur_clevrtex",
    "dinosaur_coco",
    "dinosaur_movi_c",
    "ft_dinosaur_coco",
    "slotcontrast_movi_c",
    "spot_coco",
    "spot_coco_teacher",
    "videosaur_movi_c",
)
"""Specs that need a file of weights, which is not there."""
CODECS = ("vqvae_clevrtex", "dvae_clevrtex", "dvae_movi_d", "vqvae_demo")
"""Specs of codecs, which have no slots."""
INPUTS = {
    "dinosaur_demo": {"model.encoder.source": "runs/slot_attention_demo"},
    "spot_demo": {"model.encoder.source": "runs/slot_attention_demo"},
    "ft_dinosaur_demo": {"model.encoder.source": "runs/slot_attention_demo"},
    "adaslot_demo": {"training.start.source": "runs/slots7_demo"},
    "slotdiffusion_demo": {
        "model.encoder.source": "runs/slot_attention_demo",
        "objective.codec.source": "runs/vqvae_demo",
    },
    "slotformer_demo": {"model.source": "runs/savi_demo"},
    "slotformer_obj3d": {"model.source": "runs/savi_obj3d"},
    "slotformer_clevrer": {"model.source": "runs/stosavi_clevrer"},
    "spot_coco": {"auxiliary.0.teacher": "runs/spot_coco_teacher"},
    "adaslot_clevr10": {"training.start.source": "runs/slot_attention_clevr10"},
    "slotdiffusion_clevrtex": {"objective.codec.source": "runs/vqvae_clevrtex"},
    "slotdiffusion_slate_clevrtex": {"objective.codec.source": "runs/dvae_clevrtex"},
}
"""Specs that need runs: the settings that name them, and their folders."""
SMALL_ENCODER = ("model.encoder.blocks=[1, 1, 1, 1]", "model.encoder.width=32")
SMALL_VIT = (RANDOM, "model.encoder.model=vit_tiny_patch16_224", "data.protocol.mask_size=null")
GENERATED = ("data.dataset={name: scenes, num_train: 2, num_val: 3}", "data.filter=null")
MOVING = ("data.dataset={name: moving_scenes, num_train: 2, num_val: 3, num_frames: 4}",)
ROLLED = (
    *MOVING,
    "data.clip={frames: 4, stride: 1}",
    "model.history=2",
    "evaluation.clip_frames=null",
    "evaluation.from_frame=2",
)
SMALL_UNET = (
    "model.decoder.width=32",
    "model.decoder.multipliers=[1, 2]",
    "model.decoder.blocks=1",
    "model.decoder.attention_at=[2]",
    "evaluation.sampling={steps: 2}",
    "evaluation.composition=null",
)
SMALL_VQVAE = ("model.codec.width=32", "model.codec.blocks=1", "model.codec.codes=16")
DEMO = ("data.dataset.num_train=2", "data.dataset.num_val=3")
VIDEO = (*MOVING, "data.clip={frames: 2}", "evaluation.clip_frames=null", "model.decoder.broadcast_size=4")
SMALL = {
    **dict.fromkeys(("savi_obj3d", "stosavi_clevrer", "savi_movi_a"), VIDEO),
    "savi_pp_movi_e": (
        *VIDEO[:-1],
        "model.decoder.broadcast_size=2",
        "data.workers=0",
        "model.encoder.blocks=[1, 1]",
        "model.encoder.width=32",
    ),
    **dict.fromkeys(("slotformer_obj3d", "slotformer_clevrer"), ROLLED),
    "slotdiffusion_demo": (*DEMO, "evaluation.sampling={steps: 2}"),
    "vqvae_clevrtex": ("model.codec.perceptual=null", *SMALL_VQVAE),
    "dvae_clevrtex": ("model.codec.codes=16",),
    "dvae_movi_d": (*GENERATED, "model.codec.codes=16"),
    "steve_movi_d": (
        *MOVING,
        "data.clip={frames: 2}",
        "evaluation.clip_frames=null",
        "model.decoder.layers=1",
        "objective.codec.codes=16",
    ),
    "slotcontrast_movi_c": (*MOVING, *SMALL_VIT, "data.clip={frames: 2}"),
    "videosaur_movi_c": (
        *MOVING,
        *SMALL_VIT,
        "data.clip={frames: 2}",
        RANDOM_KEYS,
        "objective.encoder.model=vit_tiny_patch16_224",
    ),
    "slate_clevrtex": ("model.codec.codes=16", "model.decoder.layers=1"),
    "slotdiffusion_clevrtex": SMALL_UNET,
    "slotdiffusion_clevrtex6_course": (*SMALL_UNET, "model.encoder={name: cnn, channels: [8]}"),
    "lsd_movi_e": (
        *GENERATED,
        *SMALL_UNET,
        "model.decoder.heads=4",
        "model.decoder.norm_groups=8",
        "model.encoder={name: unet, width: 16, multipliers: [1, 2]}",
    ),
    "slotdiffusion_slate_clevrtex": ("model.decoder.layers=1",),
    "slotdiffusion_slot_attention_clevrtex": ("model.decoder.broadcast_size=2",),
    "clevrtex6": ("model.decoder.broadcast_size=2",),
    "clevrtex11": ("model.decoder.broadcast_size=2",),
    "slot_attention_clevr6": (*GENERATED, "model.decoder.broadcast_size=2"),
    "slot_attention_clevr10": (*GENERATED, "model.decoder.broadcast_size=2", "model.slots=3"),
    "adaslot_clevr10": (*GENERATED, "model.decoder.broadcast_size=2", "model.slots=3"),
    "slot_attention_clevrtex": ("model.decoder.broadcast_size=2",),
    "boqsa_clevrtex": ("model.decoder.broadcast_size=2",),
    "isa_clevrtex": ("model.decoder.broadcast_size=4", *SMALL_ENCODER),
    "dinosaur_clevrtex": SMALL_VIT,
    **dict.fromkeys(("dinosaur_coco", "dinosaur_movi_c"), (*GENERATED, *SMALL_VIT)),
    "ft_dinosaur_coco": (*GENERATED, *SMALL_VIT, "data.augmentation.window=center"),
    **dict.fromkeys(("spot_coco", "spot_coco_teacher"), (*GENERATED, *SMALL_VIT)),
}
"""What makes the parts of each spec small beside `REDUCED`; of the others only the data."""
TRAINED_ONCE = (
    "training.phases=[{steps: 1, lr: 1e-3}]",
    "training.batch_size=1",
    "evaluation.clip_frames=null",
)
CODEC = (
    *GENERATED,
    "training.phases=[{steps: 1, lr: 1e-3}]",
    "training.batch_size=2",
    "training.anneal={}",
)
TEACHER = (
    *GENERATED,
    "model.encoder={name: cnn, channels: [12], strides: [16]}",
    "data.protocol.mask_size=null",
    "training.phases=[{steps: 1, lr: 1e-3}]",
    "training.batch_size=2",
)


def layers(*widths, kernel=1):
    """The weights of linear layers, or convolutions, one after the other."""
    return sum(one * other * kernel**2 + other for one, other in itertools.pairwise(widths))


def grouped(token, slot, attention):
    """Those of slot attention without its MLP: two norms, three maps without bias, a GRU."""
    maps, gru = (2 * token + slot) * attention, 3 * (attention + slot) * slot + 6 * slot
    return 2 * (token + slot) + maps + gru


def attended(width, hidden, attention=None):
    """Those of a block of a transformer: four maps, two norms, an MLP."""
    inner = attention or width
    maps = 3 * layers(width, inner) + layers(inner, width)
    return maps + 4 * width + layers(width, hidden, width)


def residual(width_in, *blocks):
    """Those of a ResNet's stages of two 3x3 convolutions a block; all without bias, each with a norm."""
    count = 0
    for stage, number in enumerate(blocks):
        width = 64 * 2**stage
        count += 9 * width_in * width + (2 * number - 1) * 9 * width**2 + 2 * number * 2 * width
        count += (width_in * width + 2 * width) * (width_in != width)  # the first block's 1x1 convolution
        width_in = width
    return count


SAVI_S = (
    layers(3, 32, 32, 32, 32, kernel=5)
    + layers(2, 32) + 2 * 32 + layers(32, 64, 32)
    + layers(4, 256, 128)
    + grouped(32, 128, 128)
    + attended(128, 256)
    + layers(2, 128) + layers(128, 64, 64, 64, 64, kernel=5) + layers(64, 4)
)  # fmt: skip
STOSAVI = (
    layers(3, 64, 64, 64, 64, kernel=5)
    + layers(4, 64) + 2 * 64 + layers(64, 128, 128)
    + 7 * 128
    + grouped(128, 128, 128) + 2 * 128 + layers(128, 256, 128)
    + layers(128, 256)  # mean and variance of the slots
    + 2 * 128 + layers(128, 256, 128)
    + layers(4, 128) + layers(128, 64, 64, 64, 64, kernel=5) + layers(64, 4)
)  # fmt: skip
SLOTCONTRAST = (
    2 * 384 + layers(384, 768, 64)
    + 11 * 64
    + grouped(64, 64, 64) + 2 * 64 + layers(64, 256, 64)
    + attended(64, 256)
    + 576 * 64 + layers(64, 1024, 1024, 1024, 385)
)  # fmt: skip
VIDEOSAUR = (
    2 * 768 + layers(768, 1536, 128)
    + 2 * 128
    + grouped(128, 128, 128)
    + attended(128, 512)
    + 784 * 128 + 2 * attended(128, 512) + 3 * 2 * 128 + 2 * 128 * 128
    + layers(128, 1024, 1024, 1024, 1024, 784)
)  # fmt: skip
# The authors' encoder has 512 channels and goes on with blocks of that width, in which queries, keys and values are 64 wide.
SAVI_PP = (
    27 * 64 + 2 * 64 + residual(64, 3, 4, 6, 3)
    + layers(2, 512) + 2 * 512 + layers(512, 64, 512)
    + 4 * attended(512, 1024, 64)
    + layers(4, 256, 128)
    + grouped(512, 128, 256)
    + attended(128, 1024, 256)
    + layers(2, 128) + layers(128, 64, 64, 64, 64, kernel=5) + layers(64, 1 + 3 + 1)
)  # fmt: skip
# The authors' kernels have 128 more outputs, which nothing reads where nothing is drawn.
SAVI_OBJ3D = (
    layers(3, 64, 64, 64, 64, kernel=5)
    + layers(4, 64) + 2 * 64 + layers(64, 128, 128)
    + 6 * 128
    + grouped(128, 128, 128) + 2 * 128 + layers(128, 256, 128)
    + layers(128, 256) + 2 * 256 + layers(256, 128)
    + 2 * attended(128, 512) + 4 * 256 * (128 + 256) + 8 * 256 + layers(256, 128)  # an LSTM, and back
    + layers(4, 128) + layers(128, 64, 64, 64, 64, kernel=5) + layers(64, 4)
)  # fmt: skip
STEVE = (
    layers(3, 64, 64, 64, 192, kernel=5)
    + layers(4, 192) + 2 * 192 + layers(192, 192, 192)
    + 2 * 192
    + grouped(192, 192, 192) + 2 * 192 + layers(192, 192, 192)
    + 4 * 192**2 + 4 * 192 + layers(192, 768, 192) + 2 * 192
    + 4096 * 192 + 192 + 1025 * 192 + 192**2  # tokens, the one before the first, places; slots
    + 8 * (8 * 192**2 + 6 * 192 + layers(192, 768, 192)) + 2 * 192 + 192 * 4096
)  # fmt: skip
STEVES_CODEC = (
    layers(3, 64, kernel=4) + 6 * layers(64, 64) + layers(64, 4096)
    + layers(4096, 64) + 2 * (layers(64, 64, kernel=3) + layers(64, 64, 64, 256)) + layers(64, 3)
)  # fmt: skip
SLOTFORMER_OBJ3D = layers(128, 128) + 4 * attended(128, 512) + layers(128, 128)
SLOTFORMER_CLEVRER = layers(128, 256) + 4 * attended(256, 1024) + layers(256, 128)
"""Numbers of weights of video models, without frozen parts."""
CLEVR = (
    *GENERATED,
    "data.protocol.image_size=32",
    "model.slots=3",
    "model.decoder.broadcast_size=2",
    "training.phases=[{steps: 1, lr: 1e-3}]",
    "training.batch_size=2",
)
REDUCED = (
    "data.protocol.image_size=32",
    "evaluation.split=val",
    "training.batch_size=2",
    "training.phases=[{steps: 1, lr: 1e-3}]",
    "training.log_every=1",
    "evaluation.max_images=3",
    "evaluation.baselines=[one_segment]",
)


@pytest.fixture(scope="module")
def small_clevrtex(tmp_path_factory):
    """Thirty generated scenes in the official CLEVRTex tree."""
    root = tmp_path_factory.mktemp("clevrtex")
    folder = root / "clevrtex_full" / "0"
    folder.mkdir(parents=True)
    config = ScenesConfig(min_objects=3, max_objects=6, num_train=30)
    scenes = ScenesDataset(config, DatasetContext(split="train", image_size=(240, 320)))
    for index in range(len(scenes)):
        sample = scenes[index]
        stem = folder / f"CLEVRTEX_full_{index:06d}"
        Image.fromarray(sample.image_CHW.permute(1, 2, 0).numpy()).convert("RGBA").save(f"{stem}.png")
        mask = Image.fromarray(sample.mask_HW.to(torch.uint8).numpy(), mode="L").convert("P")
        mask.save(f"{stem}_flat.png")
        facts = {
            "num_objects": sample.attributes["num_objects"],
            "objects": list(sample.attributes["objects"]),
        }
        Path(f"{stem}.json").write_text(json.dumps({**facts, "ground_material": "generated"}))
    return root


@pytest.fixture(scope="module")
def earlier_runs(tmp_path_factory):
    """Runs that shipped specs name, trained for a step: those of the demo, and teachers for two sizes of images."""
    root = tmp_path_factory.mktemp("earlier")
    demo = ["data.dataset.num_train=2", "data.dataset.num_val=1", "training.phases=[{steps: 1, lr: 1e-3}]"]
    for folder, spec, sets in (
        ("runs/slot_attention_demo", "slot_attention_demo", demo),
        ("runs/savi_demo", "savi_demo", demo),
        ("runs/slots7_demo", "slots7_demo", demo),
        ("runs/spot_coco_teacher", "spot_coco_teacher", TEACHER),
        ("runs/slot_attention_clevr10", "slot_attention_clevr10", CLEVR),
        ("small/spot_coco_teacher", "spot_coco_teacher", (*TEACHER, "data.protocol.image_size=32")),
        *(
            (f"{folder}/{name}", name, (*MOVING, *TRAINED_ONCE, "data.clip={frames: 2}", *size))
            for name in ("savi_obj3d", "stosavi_clevrer")
            for folder, size in (
                ("runs", ()),
                ("small", ("data.protocol.image_size=32", "model.decoder.broadcast_size=4")),
            )
        ),
        *(
            (f"{folder}/{name}", name, (*CODEC, *SMALL.get(name, ())[at:], *size))
            for name in CODECS
            for folder, at, size in (
                ("runs", {"dvae_clevrtex": 1, "dvae_movi_d": 3}.get(name, 0), ()),  # with all its codes
                ("small", 0, ("data.protocol.image_size=32",)),
            )
        ),
    ):
        loaded = prepare(f"{SHIPPED}{spec}", sets=sets).loaded
        run_training(loaded, root / folder, device=torch.device("cpu"), report=lambda progress: None)
    tiny_vae(root / "weights" / "sd-vae")
    return root


def tiny_vae(folder):
    """A folder of diffusers like Stable Diffusion's VAE, with few random weights: an eighth of the sides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that diffusers imports
        from diffusers import AutoencoderKL

        AutoencoderKL(
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
        ).save_pretrained(folder)


@pytest.fixture
def inputs(earlier_runs):
    """The runs, in the current folder."""
    Path("runs").symlink_to(earlier_runs / "runs")
    Path("weights").symlink_to(earlier_runs / "weights")


def usual(name):
    """The settings that replace what is not there; the rest is as shipped."""
    if name == "vqvae_clevrtex":
        return ["model.codec.perceptual=null"]
    if name == "videosaur_movi_c":
        return [RANDOM, RANDOM_KEYS]
    return [RANDOM] if name in WEIGHTS else []


def reduced(name, tree, earlier, *more):
    """The settings that make a spec small, without changing what it is made of; `more` are laid over them."""
    sets = [
        *(REDUCED[:-1] if name in CODECS else REDUCED),
        *SMALL.get(name, DEMO),
    ]
    if "clevrtex" in name:
        sets += [f"data.dataset.root={tree}"]
        if name.startswith("slotdiffusion"):
            inputs = INPUTS.get(name, {})
            sets += [
                f"{setting}.run={earlier}/small/{Path(folder).name}" for setting, folder in inputs.items()
            ]
    if name in ("slotformer_obj3d", "slotformer_clevrer"):
        sets += [f"model.source.run={earlier}/small/{Path(INPUTS[name]['model.source']).name}"]
    if name == "spot_coco":
        sets += [f"auxiliary.0.teacher.run={earlier}/small/spot_coco_teacher"]
    return prepare(f"{SHIPPED}{name}", sets=[*sets, *more]).loaded


@pytest.mark.parametrize("name", shipped_specs())
def test_shipped_spec_is_valid_and_without_warnings(name, inputs):
    texts = [problem.text for problem in prepare(f"{SHIPPED}{name}", sets=usual(name)).warnings]
    few = ["15 slots for up to 23 objects and the background in 'movi': 24 or more give each its own slot"]
    published = few if name == "steve_movi_d" else []  # as its authors have it
    texts = [text for text in texts if text not in published]
    assert all(text.startswith("timm: frozen with random weights") for text in texts)
    frozen = 2 if name == "videosaur_movi_c" else name in WEIGHTS and name != "ft_dinosaur_coco"
    assert len(texts) == frozen, "of ft_dinosaur_coco the encoder is trained"


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_not_there_are_told_at_their_line(name, inputs):
    with pytest.raises(SpecError) as caught:
        prepare(f"{SHIPPED}{name}")
    [problem] = caught.value.problems
    assert problem.path == ("model", "encoder", "weights")
    assert problem.text.endswith(".pth does not exist")


def test_an_autoencoder_that_is_not_there_is_told_at_its_line():
    with pytest.raises(SpecError) as caught:
        prepare(f"{SHIPPED}lsd_movi_e")
    [problem] = caught.value.problems
    assert problem.path[:2] == ("objective", "codec")
    assert f"{Path.cwd() / 'weights' / 'sd-vae'} does not exist" in problem.text
    assert "name a folder of diffusers with Stable Diffusion's autoencoder" in problem.text


def test_a_file_of_perceptual_weights_that_is_not_there_is_told_at_its_line():
    with pytest.raises(SpecError) as caught:
        prepare(f"{SHIPPED}vqvae_clevrtex")
    [problem] = caught.value.problems
    assert problem.path[:2] == ("model", "codec")
    assert "vgg16-397923af.pth does not exist" in problem.text


@pytest.mark.parametrize("name", INPUTS)
def test_a_run_that_is_not_there_is_told_at_its_line(name):
    with pytest.raises(SpecError) as caught:
        prepare(f"{SHIPPED}{name}")
    told = {".".join(map(str, problem.path)): problem.text for problem in caught.value.problems}
    runs = {setting: Path.cwd() / folder for setting, folder in INPUTS[name].items()}
    assert told == {
        setting: f"{run} does not exist; train it first: slotlab train slotlab:{run.name} --run {run}, "
        f"or name another: --set {setting}.run=FOLDER"
        for setting, run in runs.items()
    }


def test_shipped_specs_are_different_runs(inputs):
    loaded = [prepare(f"{SHIPPED}{name}", sets=usual(name)).loaded for name in shipped_specs()]
    ids = [run_id(one.spec) for one in loaded]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", shipped_specs())
def test_operations_of_a_shipped_spec_can_be_counted(name, inputs):
    spec = prepare(f"{SHIPPED}{name}", sets=usual(name)).loaded.spec
    flops = count_flops(spec)
    part = {"codec": REST, "slot_dynamics": "dynamics"}.get(spec.model.name, "decoder")
    assert flops.forward[part] < flops.training[part]


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("dinosaur_coco", 12_452_865),
        ("spot_coco_teacher", 38_580_480 + 2_564_864),
        ("vqvae_clevrtex", 13_857_886),
        ("dvae_clevrtex", 681_923),
        # Of videos: SAVi-S has 0.90 million by others' count; the sums are of the layers, in their order.
        ("savi_movi_a", SAVI_S),
        ("stosavi_clevrer", STOSAVI),
        ("slotcontrast_movi_c", SLOTCONTRAST),
        ("videosaur_movi_c", VIDEOSAUR),
        ("savi_pp_movi_e", SAVI_PP),
        ("savi_obj3d", SAVI_OBJ3D),
        ("slotformer_obj3d", SLOTFORMER_OBJ3D),
        ("slotformer_clevrer", SLOTFORMER_CLEVRER),
        ("steve_movi_d", STEVE + STEVES_CODEC),
        ("dvae_movi_d", 681_923),
        ("slotdiffusion_slot_attention_clevrtex", 5_192_708),
        ("slotdiffusion_clevrtex", 134_243_331 + 3_347_520),
        ("lsd_movi_e", 305_588_932 + 42_571_840 + 445_632 + 75_456 + 384),
        # The reference says 9.89 million: a position more than SlotDiffusion's decoder has would be 192 weights.
        ("slotdiffusion_slate_clevrtex", 6_542_592 + 3_347_520),
    ],
)
def test_published_numbers_of_weights(name, trained, inputs):
    with torch.device("meta"):
        model = build_model(prepare(f"{SHIPPED}{name}", sets=usual(name)).loaded.spec)
    assert sum(one.numel() for one in model.parameters() if one.requires_grad) == trained


@pytest.mark.parametrize("name", shipped_ablations())
def test_every_arm_of_a_shipped_ablation_is_valid_and_without_warnings(name):
    ablation = load_ablation(f"{SHIPPED}{name}")
    assert list(ablation.warnings) == []
    seeds = ablation.spec.seeds
    ids = {arm.run_id(seed) for arm in ablation.arms for seed in seeds}
    assert len(ids) == len(ablation.arms) * len(seeds)


def test_the_report_s_own_arm_is_the_shipped_spec_and_is_shared():
    own = run_id(prepare(f"{SHIPPED}clevrtex6").loaded.spec)
    arms = {
        name: [arm.name for arm in load_ablation(f"{SHIPPED}ablations/{name}").arms if arm.run_id(0) == own]
        for name in ("encoder_x_init", "iterations", "slots", "resolution")
    }
    assert arms == {
        "encoder_x_init": ["encoder=resnet18_style, initializer=learnable"],
        "iterations": ["iterations=3"],
        "slots": ["slots=7"],
        "resolution": ["size=128"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("arm", range(3))  # the fourth is clevrtex6 itself
def test_arms_of_the_report_s_ablation_train_a_step_and_evaluate(arm, tmp_path, small_clevrtex):
    small = [*REDUCED, f"data.dataset.root={small_clevrtex}", "model.decoder.broadcast_size=2"]
    sets = [f"settings.{assignment}" for assignment in small]
    loaded = load_ablation(f"{SHIPPED}ablations/encoder_x_init", sets=sets).arms[arm].loaded
    train_and_evaluate(loaded, tmp_path)


@pytest.mark.parametrize("name", [*DRAWN[:2], pytest.param(DRAWN[2], marks=pytest.mark.slow)])
def test_shipped_spec_trains_a_step_evaluates_and_draws(name, tmp_path, small_clevrtex, earlier_runs):
    loaded = reduced(name, small_clevrtex, earlier_runs)
    run = train_and_evaluate(loaded, tmp_path)
    dataset = loaded.spec.data.dataset.name
    for figure in ("loss", "learning_rate", f"panels-{dataset}-val-{loaded.spec.data.protocol.name}-decoder"):
        assert (run.figures / f"{figure}.png").stat().st_size > 5000


def others():
    """The other specs; those are slow that take long and whose parts a smaller one has too."""
    for name in sorted({*shipped_specs()} - {*DRAWN}):
        slow = name in ("spot_coco", "boqsa_clevrtex", "dinosaur_coco", "slot_attention_clevrtex")
        yield pytest.param(name, marks=pytest.mark.slow) if slow else name


@pytest.mark.parametrize("name", list(others()))
def test_shipped_spec_trains_a_step_and_evaluates(
    name, tmp_path, small_clevrtex, earlier_runs, inputs, blank_figures
):
    train_and_evaluate(reduced(name, small_clevrtex, earlier_runs), tmp_path)


def train_and_evaluate(loaded, tmp_path):
    run = run_training(loaded, tmp_path / "run", device=torch.device("cpu"), report=lambda progress: None)
    [summary] = run_evaluations(run, loaded, [own_condition(loaded)], device=torch.device("cpu"))
    assert run.read_status()["state"] == "done"
    own = [ref.name for ref in getattr(loaded.spec.model.config, "baselines", ())]
    assert set(summary["methods"]) == {"model", *own, *loaded.spec.evaluation.baselines}
    for scores in (summary["methods"][name] for name in loaded.spec.evaluation.baselines):
        known = [name for name in ("ari", "fg_ari") if name in summary["methods"]["model"]]
        assert all(scores[name]["mean"] == 0.0 for name in known[:1])  # data without masks has no such metric
    again = prepare(run.spec).loaded
    assert run_id(again.spec) == run_id(loaded.spec), "the resolved spec is the same run"
    return run


LAWFUL = (
    *("savi_movi_a", "savi_pp_movi_e", "savi_obj3d", "stosavi_clevrer", "steve_movi_d", "dvae_movi_d"),
    *("slotcontrast_movi_c", "videosaur_movi_c", "slotformer_obj3d", "slotformer_clevrer"),
)
"""Specs of videos whose parts together no demo has (`test_families`)."""


class Killed(Exception):  # noqa: N818 - stands for a power cut
    """The training ends here."""


@pytest.mark.slow
@pytest.mark.parametrize("name", LAWFUL)
def test_specs_of_videos_resume_to_the_bit_and_have_rows_of_any_batch(
    name, tmp_path, small_clevrtex, earlier_runs, blank_figures
):
    """What `test_families` shows of the demos."""
    more = ("training.phases=[{steps: 3, lr: 1e-3}]", "training.checkpoint={every_steps: 1, keep: 9}")
    loaded = reduced(name, small_clevrtex, earlier_runs, *more)

    def die(progress):
        if progress.step == 2:
            raise Killed

    def train(folder, report=lambda progress: None):
        return run_training(loaded, tmp_path / folder, device=torch.device("cpu"), report=report)

    whole = train("whole")
    with pytest.raises(Killed):
        train("run", die)
    run = train("run")
    assert [line["step"] for line in run.read_provenance()["restarts"]] == [1]
    ours, theirs = (one.checkpoints.of_step(3).read()["model"] for one in (run, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[part], theirs[part]) for part in theirs)

    opened = slotlab.open_run(run.path, device="cpu")
    rows = [
        opened.evaluate(settings={"evaluation.batch_size": size}, figures=False).rows() for size in (1, 2, 8)
    ]
    numbers = rows[0].columns.drop(["evaluation", "id"])
    assert len(rows[0]) > 1
    for other in rows[1:]:
        assert other[["evaluation", "id"]].equals(rows[0][["evaluation", "id"]])
        assert (other[numbers] - rows[0][numbers]).abs().max().max() < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"the rendered CLEVRTex sample is not at {SAMPLE}")
def test_clevrtex6_trains_and_evaluates_on_the_rendered_sample(tmp_path):
    sets = [
        f"data.dataset.root={SAMPLE}",
        "data.protocol.image_size=64",
        "model.decoder.broadcast_size=4",
        "model.encoder.blocks=[16, 64]",
        "training.batch_size=4",
        "training.log_every=1",
        "training.phases=[{steps: 3, lr: 1e-3}]",
        "evaluation.max_images=4",
    ]
    loaded = prepare(f"{SHIPPED}clevrtex6", sets=sets).loaded
    run = run_training(loaded, tmp_path / "run", device=torch.device("cpu"), report=lambda progress: None)
    [summary] = run_evaluations(run, loaded, [own_condition(loaded)], device=torch.device("cpu"))
    assert [line["step"] for line in run.read_log() if line["kind"] == "train"] == [1, 2, 3]
    assert summary["images"] == 4
    assert -0.5 <= summary["methods"]["model"]["ari"]["mean"] <= 1


def test_schema_that_specs_name_is_up_to_date():
    registry = Registry()
    for module in builtin_modules():
        registry.add(module, source="slotlab")
    for file, schema in (("schema.json", spec_schema), ("ablation_schema.json", ablation_schema)):
        stored = json.loads(resources.files("slotlab.experiments").joinpath(file).read_text())
        assert stored == json.loads(json.dumps(schema(registry))), "run 'make schema' and commit it"


@pytest.mark.parametrize("name", [*shipped_specs(), *shipped_ablations()])
def test_shipped_spec_names_the_schema(name):
    text = resources.files("slotlab.experiments").joinpath(f"{name}.yaml").read_text()
    schema = "../ablation_schema.json" if name in shipped_ablations() else "schema.json"
    assert text.startswith(f"# yaml-language-server: $schema={schema}\n")


@pytest.mark.parametrize("name", shipped_ablations())
def test_shipped_ablation_is_accepted_by_its_schema(name):
    stored = json.loads(resources.files("slotlab.experiments").joinpath("ablation_schema.json").read_text())
    path = find_spec(f"{SHIPPED}{name}", Path())
    data = parse(path.read_text(), origin=str(path), folder=path.parent).plain()
    assert list(Draft202012Validator(stored).iter_errors(data)) == []
    assert list(Draft202012Validator(stored).iter_errors({**data, "seeds": []})) != []
