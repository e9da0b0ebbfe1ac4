"""Codecs, and the models that predict what they make of pictures: latent diffusion, token transformers, SLATE."""

import csv
import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import slotlab
from slotlab.framework.contracts import Batch
from slotlab.framework.jobs.train import run_training
from slotlab.framework.model.build import build_model
from slotlab.framework.spec.load import load_spec
from slotlab.framework.training.plan import Progress
from slotlab.registry import SlotlabError

DATA = {
    "dataset": {"name": "scenes", "num_train": 8, "num_val": 6, "min_objects": 1, "max_objects": 2, "textures": ["plain"], "ground_textures": ["plain"]},
    "protocol": {"name": "whole", "image_size": 8},
}  # fmt: skip
VQVAE = {"name": "vqvae", "width": 4, "multipliers": [1, 2], "blocks": 1, "codes": 8, "norm_groups": 2}
DVAE = {"name": "dvae", "width": 4, "codes": 8}
TAU = {"codec.tau": {"start": 1.0, "end": 0.1, "steps": 4, "shape": "cosine"}}
SLOTS = {
    "slots": 3,
    "slot_dim": 8,
    "initializer": "gaussian",
    "grouping": {"name": "slot_attention", "iterations": 2},
}
UNET = {"name": "latent_diffusion", "width": 8, "multipliers": [1, 2], "blocks": 1, "attention_at": [1, 2], "head_width": 4, "norm_groups": 2, "sampling": {"steps": 3}}  # fmt: skip
TRANSFORMER = {
    "name": "autoregressive",
    "blocks": "slate",
    "layers": 2,
    "heads": 2,
    "width": 8,
    "dropout": 0.1,
}
ENCODER = {"name": "cnn", "channels": [8], "strides": [2]}


def spec(name: str, model: dict[str, Any], **changes: Any) -> dict[str, Any]:
    training = {"batch_size": 4, "ema_decay": 0.5, "log_every": 1, "phases": [{"steps": 6, "lr": 1e-3}]}
    training |= changes.pop("training", {})
    evaluation = {"metrics": ["ari", "mse", "psnr"], "mask_source": "attention"}
    return {"format": 1, "name": name, "data": DATA, "model": model, "training": training, "evaluation": evaluation, **changes}  # fmt: skip


def trained(run: str) -> dict[str, Any]:
    return {"name": "trained", "source": {"run": run}}


SPECS = {
    "vqvae": spec("vqvae", {"name": "codec", "codec": VQVAE}),
    "dvae": spec("dvae", {"name": "codec", "codec": DVAE}, training={"anneal": TAU}),
    "diffusion": spec(
        "diffusion",
        {**SLOTS, "encoder": ENCODER, "decoder": UNET},
        objective={"name": "latent_noise", "codec": trained("runs/vqvae")},
    ),
    "tokens": spec(
        "tokens",
        {**SLOTS, "encoder": ENCODER, "decoder": TRANSFORMER},
        objective={"name": "token_cross_entropy", "codec": trained("runs/dvae")},
    ),
    "slate": spec(
        "slate", {"name": "slate", **SLOTS, "codec": DVAE, "decoder": TRANSFORMER}, training={"anneal": TAU}
    ),
}
JOINT: dict[str, Any] = {
    "objective": {"name": "token_cross_entropy", "codec": DVAE},
    "training": {
        "anneal": {f"objective.{path}": values for path, values in TAU.items()},
        "groups": [{"weights": ["objective.codec"], "lr_factor": 3, "scheduled": False}],
        "phases": [{"steps": 6, "lr": 1e-3, "schedule": {"name": "half_life", "half_life": 9, "warmup": 3}}],
    },
}
SPECS |= {
    "joint": spec("joint", {**SLOTS, "encoder": ENCODER, "decoder": TRANSFORMER}, **JOINT),
    "joint_clips": spec(
        "joint_clips",
        {
            "name": "video_slots",
            **SLOTS,
            "encoder": ENCODER,
            "predictor": "transformer",
            "decoder": TRANSFORMER,
        },
        data={
            **DATA,
            "dataset": {**DATA["dataset"], "name": "moving_scenes", "num_frames": 3},
            "clip": {"frames": 2},
        },
        **JOINT,
    ),
}
FAMILIES = list(SPECS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec and a run of each family."""
    folder = tmp_path_factory.mktemp("latent")
    for name, content in SPECS.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        slotlab.train(folder / f"{name}.yaml", run=folder / "runs" / name, device="cpu")
    return folder


def rows(run: Path) -> list[dict[str, str]]:
    path = next((run / "evaluation").glob("*/images.csv"))
    return list(csv.DictReader(path.read_text().splitlines()))


# --- laws of every family ----------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_killed_and_resumed_to_the_bit(runs: Path, tmp_path: Path, name: str) -> None:
    path = runs / f"{name}.yaml"

    def die(progress: Progress) -> None:
        if progress.step == 5:
            raise MemoryError

    sets = ("training.checkpoint.every_steps=2",)
    with pytest.raises(MemoryError):
        run_training(load_spec(path, sets=sets), tmp_path / "parts", device=torch.device("cpu"), report=die)
    settings = {"training.checkpoint.every_steps": 2}
    parts = slotlab.train(path, settings, run=tmp_path / "parts", device="cpu", evaluate=False)
    assert [line["step"] for line in parts.folder.read_provenance()["restarts"]] == [4]
    ours, theirs = parts.model.state_dict(), slotlab.open_run(runs / "runs" / name).model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_do_not_depend_on_the_batch(runs: Path, name: str, blank_figures: None) -> None:
    before = rows(runs / "runs" / name)
    for batch_size in (1, 4, 16):
        run = slotlab.open_run(runs / "runs" / name, settings={"evaluation.batch_size": batch_size})
        run.evaluate()
        for one, other in zip(before, rows(run.path), strict=True):
            for key, value in one.items():
                assert value == other[key] or float(value) == pytest.approx(float(other[key]), abs=1e-4)


@pytest.mark.parametrize("name", ["diffusion", "tokens"])
def test_a_codec_that_was_trained_before_is_in_no_checkpoint_and_is_not_trained(
    runs: Path, name: str
) -> None:
    model = slotlab.open_run(runs / "runs" / name).model
    assert not [key for key in model.state_dict() if "codec" in key]
    assert not [key for key, _ in model.named_parameters() if "codec" in key]
    objective: Any = model.objective
    codec = objective.codec.module
    assert not codec.training
    assert not any(parameter.requires_grad for parameter in codec.parameters())
    own = slotlab.open_run(runs / "runs" / {"diffusion": "vqvae", "tokens": "dvae"}[name]).model.codec
    assert all(torch.equal(a, b) for a, b in zip(codec.parameters(), own.parameters(), strict=True))
    assert objective.codec.module.double() is codec  # it goes where the model goes
    model.double()
    assert all(parameter.dtype == torch.float64 for parameter in codec.parameters())


@pytest.mark.parametrize("name", ["joint", "joint_clips"])
def test_a_codec_that_is_trained_with_the_rest_is_saved_averaged_and_measured(runs: Path, name: str) -> None:
    run = slotlab.open_run(runs / "runs" / name)
    model: Any = run.model  # the mean of the weights
    codec = model.objective.codec
    saved, _ = run.folder.checkpoints.newest()
    assert saved is not None
    first: Any = build_model(load_spec(runs / f"{name}.yaml").spec)
    trained, mean = (
        {key: one for key, one in state.items() if key.startswith("objective.codec.")}
        for state in (saved["model"], saved["ema"])
    )
    assert trained.keys() == mean.keys() == {f"objective.codec.{key}" for key in codec.state_dict()}
    assert len(trained) > 10
    for key, one in codec.state_dict().items():
        assert torch.equal(one, mean[f"objective.codec.{key}"])
        assert not torch.equal(one, trained[f"objective.codec.{key}"])
        assert not torch.equal(one, first.objective.codec.state_dict()[key])
    assert (first.objective.codec.tau, codec.tau) == pytest.approx((1.0, 0.1))  # it stays from step 4 on
    line = run.folder.read_log()[0]
    assert {"loss/codec", "loss/codec/reconstruction", "loss/tokens"} <= line.keys()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_validation_loss_is_that_of_the_model_and_not_of_the_draws(runs: Path, name: str) -> None:
    model = slotlab.open_run(runs / "runs" / name).model.eval()
    images_BCHW = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def loss(*places: int) -> float:
        batch = Batch(
            images_BCHW=images_BCHW[list(places)],
            masks_BHW=None,
            ids=tuple(map(str, places)),
            attributes=({},) * len(places),
        )
        streams = [torch.Generator().manual_seed(place) for place in places]
        with torch.no_grad():
            return float(model.losses(batch, generator=streams).total)

    alone = [loss(place) for place in range(3)]
    assert loss(0, 1, 2) == pytest.approx(sum(alone) / 3, rel=1e-4)
    assert loss(2, 0, 1) == pytest.approx(loss(0, 1, 2), rel=1e-5)


# --- codecs ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vqvae", "dvae", "slate"])
def test_an_evaluation_counts_the_codes_of_all_images(runs: Path, name: str) -> None:
    folder = next((runs / "runs" / name / "evaluation").glob("*"))
    facts = json.loads((folder / "summary.json").read_text())["codes"]
    counts = [int(row["count"]) for row in csv.DictReader((folder / "codes.csv").read_text().splitlines())]
    grid = {"vqvae": 16, "dvae": 4, "slate": 4}[name]
    assert (len(counts), sum(counts)) == (8, 6 * grid) == (facts["codes"], facts["tokens"])
    assert facts["used"] == sum(count > 0 for count in counts) == 8 - facts["dead"]
    shares = [count / sum(counts) for count in counts if count]
    entropy = -sum(share * torch.tensor(share).log().item() for share in shares)
    assert facts["perplexity"] == pytest.approx(torch.tensor(entropy).exp().item(), rel=1e-5)
    assert list((runs / "runs" / name / "figures").glob("codes-*.png"))


def test_a_codec_has_pictures_and_no_masks(runs: Path) -> None:
    [summary] = slotlab.open_run(runs / "runs" / "vqvae").summaries().values()
    assert set(summary["methods"]["model"]) == {"mse", "psnr"}
    assert summary["left_out"] == {"ari": "the model has no masks from the chosen source"}


def refused(path: Path, content: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(SlotlabError) as error:
        slotlab.load_spec(path)
    return " ".join(str(error.value).split())


def changed(name: str, **changes: Any) -> dict[str, Any]:
    return {**SPECS[name], **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("diffusion", objective={"name": "latent_noise", "codec": trained("runs/none")}), "runs/none"),
        (changed("diffusion", objective={"name": "latent_noise", "codec": VQVAE}), "vqvae: has random weights here; train it by a spec of its own, and write 'codec: {name: trained, source: {run: ../runs/NAME}}'"),
        (changed("diffusion", objective={"name": "latent_noise", "codec": trained("runs/dvae")}), "trained: has no latents, which this objective predicts"),
        (changed("diffusion", objective={"name": "latent_noise", "codec": trained("runs/diffusion")}), "the model 'slot_autoencoder' of its run has no codec; train one with model: {name: codec}"),
        (changed("diffusion", data={**DATA, "protocol": {"name": "whole", "image_size": 16}}), "its run was trained on images of 8x8 pixels in [-1, 1]; take the same protocol here"),
        (changed("tokens", objective={"name": "latent_noise", "codec": trained("runs/vqvae")}, model={**SLOTS, "encoder": ENCODER, "decoder": {**TRANSFORMER, "choose": "drawn"}}), "autoregressive: only tokens are drawn, and this objective's target are numbers; leave it out"),
        (changed("tokens", model={**SLOTS, "encoder": ENCODER, "decoder": {**TRANSFORMER, "width": None}}), "autoregressive: tokens have no width of their own: give one, such as 192"),
        (changed("tokens", model={**SLOTS, "encoder": ENCODER, "decoder": {**TRANSFORMER, "orders": "nine"}}), "autoregressive: tokens are read by their place in one order; write 'orders: one'"),
        (changed("tokens", model={**SLOTS, "encoder": ENCODER, "decoder": {**TRANSFORMER, "blocks": "pre_norm"}}), "autoregressive: is SLATE's; write 'blocks: slate', or 0"),
        (changed("tokens", model={**SLOTS, "encoder": ENCODER, "decoder": UNET}), "classes"),
        (changed("vqvae", model={"name": "codec", "codec": trained("runs/vqvae")}), "trained: is trained already: there is nothing to train; name it in an objective"),
        (changed("slate", model={**SPECS["slate"]["model"], "codec": VQVAE}), "vqvae: cannot be trained with what predicts its tokens; take dvae"),
        (changed("slate", model={**SPECS["slate"]["model"], "codec": trained("runs/dvae")}), "trained: is trained already: write model 'slot_autoencoder' with objective 'token_cross_entropy'"),
        (changed("slate", model={**SPECS["slate"]["model"], "decoder": UNET}), "latent_diffusion"),
        (changed("slate", objective="pixel_mse", auxiliary=["sparsity"]), "the model 'slate' takes no auxiliary losses; leave them out"),
        (changed("diffusion", evaluation={"mask_source": "decoder"}), "the decoder 'latent_diffusion' has no masks; write 'mask_source: attention'"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_words(runs: Path, content: dict[str, Any], message: str) -> None:
    assert message in refused(runs / "wrong.yaml", content)


def test_a_codec_that_was_trained_again_is_another_one(runs: Path, tmp_path: Path) -> None:
    source = SPECS["dvae"] | {"seed": 1}
    (tmp_path / "dvae.yaml").write_text(yaml.safe_dump(source))
    slotlab.train(tmp_path / "dvae.yaml", run=tmp_path / "runs" / "dvae", device="cpu", evaluate=False)
    path = tmp_path / "tokens.yaml"
    path.write_text(yaml.safe_dump(SPECS["tokens"]))
    run = slotlab.train(path, run=tmp_path / "runs" / "tokens", device="cpu", evaluate=False)
    before = slotlab.load_spec(path).run_id
    slotlab.train(
        tmp_path / "dvae.yaml", {"seed": 2}, run=tmp_path / "runs" / "dvae", device="cpu", overwrite=True, evaluate=False
    )  # fmt: skip
    with pytest.raises(SlotlabError, match=r"are others by now"):
        slotlab.open_run(run.path).evaluate()
    assert slotlab.load_spec(path).run_id != before


# --- pictures ----------------------------------------------------------------------------


def test_drawn_pictures_follow_from_the_seed_and_the_position_alone(runs: Path) -> None:
    run = slotlab.open_run(runs / "runs" / "diffusion")
    together = run.segment(run.images(positions=[0, 1, 2])).reconstruction_BCHW
    alone = [run.segment(run.images(positions=[place])).reconstruction_BCHW for place in (0, 1, 2)]
    assert together is not None
    for place, picture in enumerate(alone):
        assert picture is not None
        torch.testing.assert_close(together[place], picture[0], rtol=0, atol=1e-4)


def test_the_floor_of_a_codec_is_what_it_gives_back(runs: Path) -> None:
    run = slotlab.open_run(runs / "runs" / "diffusion")
    codec = slotlab.open_run(runs / "runs" / "vqvae").model.codec
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model: Any = run.model
    assert model.has_codec
    torch.testing.assert_close(model.through_codec(images), codec.reconstruct(images))


def test_chosen_tokens_are_drawn_where_the_spec_says_so(runs: Path) -> None:
    def pictures(choose: str, seed: int) -> torch.Tensor:
        spec = load_spec(runs / "tokens.yaml", sets=[f"model.decoder.choose={choose}"]).spec
        model: Any = build_model(spec).eval()
        slots = model.find_slots(torch.zeros(2, 3, 8, 8), generator=torch.Generator().manual_seed(0)).slots
        painted = model.paint(slots, generator=[torch.Generator().manual_seed(seed + i) for i in range(2)])
        assert painted.prediction_BCHW.dtype == torch.int64
        found: torch.Tensor = painted.prediction_BCHW
        return found

    assert torch.equal(pictures("greedy", 1), pictures("greedy", 5))
    assert torch.equal(pictures("drawn", 1), pictures("drawn", 1))
    assert not torch.equal(pictures("drawn", 1), pictures("drawn", 5))


# --- how pictures are drawn is a fact ----------------------------------------------------


def test_other_sampling_is_another_evaluation_and_is_not_compared(
    runs: Path, tmp_path: Path, blank_figures: None, slotlab_copy: Callable[[str, int], Path]
) -> None:
    one, other = slotlab_copy("diffusion", 1), slotlab_copy("diffusion", 2)
    assert (
        slotlab.load_spec(runs / "diffusion.yaml").run_id
        == slotlab.load_spec(runs / "diffusion.yaml", {"model.decoder.sampling.steps": 5}).run_id
    )  # it changes nothing in a training
    slotlab.open_run(one, settings={"evaluation.sampling": {"steps": 5}}).evaluate()
    summaries = slotlab.open_run(one).summaries()
    assert sorted(summary["sampling"]["steps"] for summary in summaries.values()) == [3, 5]
    changed = [summary for summary in summaries.values() if summary["changes"]]
    assert [summary["changes"] for summary in changed] == [{"evaluation.sampling.steps": 5}]
    slotlab.compare([one, other])  # both have the one with 3 steps
    for name in summaries:
        if not summaries[name]["changes"]:
            shutil.rmtree(one / "evaluation" / name)
    with pytest.raises(SlotlabError, match=r"way of drawing pictures|mixed ways of drawing pictures"):
        slotlab.compare([one, other])


@pytest.fixture
def slotlab_copy(runs: Path, tmp_path: Path) -> Callable[[str, int], Path]:
    """Train a family once more, with another seed."""

    def train(name: str, seed: int) -> Path:
        path = tmp_path / "runs" / f"{name}-{seed}"
        slotlab.train(runs / f"{name}.yaml", {"seed": seed}, run=path, device="cpu")
        return path

    return train


def test_messages_name_where_it_is_wrong(runs: Path) -> None:
    content = changed("diffusion", objective={"name": "latent_noise", "codec": VQVAE})
    assert re.search(r"wrong\.yaml:\d+: objective\.codec", refused(runs / "wrong.yaml", content))


# --- composing and showing ---------------------------------------------------------------


def test_set_metrics_of_both_ways_stand_beside_the_floor_of_the_codec(
    runs: Path, tmp_path: Path, blank_figures: None
) -> None:
    weights = tmp_path / "features.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layers = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        torch.jit.save(torch.jit.script(layers), str(weights))
    composition = {
        "ways": ["clusters", "shift"],
        "group": 3,
        "set_metrics": [{"name": "frechet_torchscript", "weights": str(weights), "size": 8}],
    }
    spec = changed("diffusion", evaluation={**SPECS["diffusion"]["evaluation"], "composition": composition})
    (runs / "composed.yaml").write_text(yaml.safe_dump(spec))
    run = slotlab.train(runs / "composed.yaml", run=tmp_path / "run", device="cpu", trust=True)
    [summary] = run.summaries().values()
    assert set(summary["set_metrics"]) == {"frechet_torchscript", "frechet_torchscript_shift"}
    for result in summary["set_metrics"].values():
        assert result["codec"]["of"] == "real images through the codec"
        assert result["codec"]["images"] == 6
        assert result["codec"]["value"] > 0
    assert summary["set_metrics"]["frechet_torchscript_shift"]["composition"]["shift"] == {"group": 3}


@pytest.mark.parametrize(
    ("name", "mode", "pictures"),
    [("diffusion", "draws", 4), ("diffusion", "denoise", 5), ("tokens", "draws", 4)],
)
def test_draws_and_denoising_strips_end_with_what_evaluation_measures(
    runs: Path, tmp_path: Path, name: str, mode: str, pictures: int
) -> None:
    run = slotlab.open_run(runs / "runs" / name)
    album = run.compose(mode, images=[2], steps=3, out=tmp_path / mode)
    files = sorted(path for path in album.folder.glob("000-*.png"))
    assert len(files) == pictures
    measured = run.segment(run.images(positions=[2])).reconstruction_BCHW
    assert measured is not None
    own = {"draws": "000-draw0", "denoise": "000-picture"}[mode]
    shown = torch.from_numpy(np.array(Image.open(album.folder / f"{own}.png"))).movedim(-1, 0)
    assert (shown.int() - measured[0].int()).abs().max() <= 1


def test_a_decoder_without_steps_has_no_denoising_strip(runs: Path) -> None:
    with pytest.raises(
        SlotlabError, match=r"the decoder 'autoregressive' does not make pictures step by step"
    ):
        slotlab.open_run(runs / "runs" / "tokens").compose("denoise", images=[0])


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"step": 3}, "evaluation.sampling.step: 'step' is no setting of how the decoder 'latent_diffusion' draws pictures; did you mean 'steps'? (settings: solver, steps, requantize, eta)"),
        ({"steps": 0}, "evaluation.sampling.steps: Input should be greater than 0"),
        ({"steps": 5000}, "5000 steps are more than there are 'timesteps', 1000"),
    ],
)  # fmt: skip
def test_mistakes_in_sampling_are_told(runs: Path, sampling: dict[str, Any], message: str) -> None:
    content = changed("diffusion", evaluation={**SPECS["diffusion"]["evaluation"], "sampling": sampling})
    assert message in refused(runs / "wrong.yaml", content)


def test_a_decoder_that_draws_nothing_has_no_sampling(runs: Path) -> None:
    content = changed("tokens", evaluation={**SPECS["tokens"]["evaluation"], "sampling": {"steps": 2}})
    message = "the decoder 'autoregressive' has no settings of how it draws pictures; leave 'sampling' out"
    assert message in refused(runs / "wrong.yaml", content)
