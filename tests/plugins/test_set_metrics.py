"""Set metrics as plugins: settings, names and extractors; and how a spec declares them."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slotlab.framework.contracts import SetMetric, SetMetricContext
from slotlab.framework.metrics.image_sets.distances import frechet_distance, kernel_distances
from slotlab.framework.model.build import build_set_metrics
from slotlab.framework.model.check import check_parts
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import load_spec
from slotlab.registry import ComponentError, SlotlabError

REGISTRY = load_registry()
CPU = SetMetricContext(device=torch.device("cpu"))
Write = Callable[[str, str], Path]


def build(name: str, **settings: Any) -> SetMetric:
    registered = REGISTRY.find("set_metric", name)
    assert registered is not None
    component = registered.component
    made: SetMetric = component.build(component.config.model_validate(settings), CPU)
    return made


def images(number: int, seed: int = 0) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, 3, 16, 16), generator=stream, dtype=torch.uint8)


@pytest.mark.parametrize("name", REGISTRY.names("set_metric"))
def test_building_reads_nothing_and_says_what_is_lacking(name: str, tmp_path: Path) -> None:
    settings = {"weights": str(tmp_path / "none")}
    metric = build(name, **settings, **({"model": "test_resnet"} if name == "frechet_timm" else {}))
    reason = metric.lacking()
    assert reason is not None
    assert reason.startswith(f"there is no {tmp_path}/none")
    assert metric.higher_is_better is False
    with pytest.raises(SlotlabError) as error:
        metric.features(images(2))
    assert str(error.value) == reason


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small timm model."""
    import timm

    path = tmp_path_factory.mktemp("timm") / "resnet.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    return path


def test_features_of_a_timm_model_are_its_pooled_ones(resnet: Path) -> None:
    import timm

    metric = build("frechet_timm", model="test_resnet", weights=str(resnet))
    assert metric.extractor == "timm test_resnet (resnet.pth)"
    model: Any = timm.create_model("test_resnet", checkpoint_path=str(resnet)).eval()
    side = model.default_cfg["input_size"][1]
    mean, std = (torch.tensor(model.default_cfg[key])[:, None, None] for key in ("mean", "std"))
    pictures = nn.functional.interpolate(
        images(5).float() / 255, (side, side), mode="bicubic", antialias=True
    )
    with torch.no_grad():
        expected = model.forward_head(
            model.forward_features((pictures.clamp(0, 1) - mean) / std), pre_logits=True
        )
    found = metric.features(images(5))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.cat([metric.features(images(5)[:2]), metric.features(images(5)[2:])]), found
    )


def test_timm_models_that_cannot_be(resnet: Path) -> None:
    import timm

    with pytest.raises(ComponentError) as error:
        build("frechet_timm", model="test_resnt", weights="x")
    assert (
        str(error.value) == f"timm {timm.__version__} has no model 'test_resnt'; did you mean 'test_resnet'?"
    )
    metric = build("frechet_timm", model="test_vit", weights=str(resnet))
    with pytest.raises(SlotlabError) as found:
        metric.features(images(2))
    assert str(found.value).startswith(f"{resnet} does not fit timm's 'test_vit': RuntimeError: ")


class Pool(nn.Module):
    """Stands in for Inception here: as many features, random ones of a coarse picture."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(2048, 48, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.relu(nn.functional.adaptive_avg_pool2d(x, [4, 4]).flatten(1) @ self.weight.t())
        return found


class Standin(nn.Module):
    """With the layers where clean-fid looks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Pool()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a file in the place of Inception's."""
    folder = tmp_path_factory.mktemp("standin")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Standin()), str(folder / "inception-2015-12-05.pt"))
    return folder


def test_fid_and_kid_share_features_and_have_their_distances(standin: Path) -> None:
    fid = build("fid", weights=str(standin))
    kid = build("kid", weights=str(standin), subsets=3, subset_size=5, seed=2)
    assert fid.extractor == kid.extractor == "inception_v3 (clean-fid, mode clean)"
    assert fid.identity() == kid.identity()
    first, second = fid.features(images(6)), kid.features(images(8, seed=1))
    assert first.shape == (6, 2048)
    a, b = first.double().numpy(), second.double().numpy()
    assert fid.distance(first, second).value == frechet_distance(a, b)
    expected = kernel_distances(a, b, subsets=3, subset_size=5, seed=2).mean()
    assert kid.distance(first, second).value == expected
    assert len(fid.distance(first, second).warnings) == 1


class Means(nn.Module):
    """In the place of Inception: the least and the largest value that it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.flatten(1).amin(1), x.flatten(1).amax(1)], 1).repeat(1, 1024)


def test_inception_is_given_bytes_in_its_own_range(tmp_path: Path) -> None:
    stand_in = Standin()
    stand_in.layers = Means()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(stand_in), str(tmp_path / "inception-2015-12-05.pt"))
    metric = build("fid", weights=str(tmp_path))
    black, white = torch.zeros(1, 3, 16, 16), torch.full((1, 3, 16, 16), 255.0)
    found = metric.features(torch.cat([black, white]).byte())
    low, high = (0 - 128) / 128, (255 - 128) / 128
    torch.testing.assert_close(found, torch.tensor([[low], [high]]).expand(2, 2048))


def test_a_spec_declares_its_composition(base: str, write: Write) -> None:
    declared = "evaluation:\n  composition: {set_metrics: [fid, {name: kid, subsets: 7}], floor: test}\n"
    spec = load_spec(write("with.yaml", base + declared)).spec
    assert check_parts(spec) == [], "whether the weights are there or not"
    assert list(build_set_metrics(spec, torch.device("cpu"))) == ["fid", "kid"]
    assert run_id(spec) == run_id(load_spec("spec.yaml").spec), "it is no part of what is trained"


@pytest.mark.parametrize(
    ("composition", "path", "text"),
    [
        (
            "{library: vall}",
            "library",
            "'scenes' has no split 'vall'; did you mean 'val'? (splits: train, val, test)",
        ),
        (
            "{floor: half}",
            "floor",
            "'scenes' has no split 'half' (splits: train, val, test)",
        ),
        (
            "{set_metrics: [fid, fid]}",
            "set_metrics.1",
            "the set metric 'fid' is given twice; keep one",
        ),
    ],
)
def test_compositions_that_cannot_be(base: str, write: Write, composition: str, path: str, text: str) -> None:
    spec = load_spec(write("with.yaml", f"{base}evaluation:\n  composition: {composition}\n")).spec
    (problem,) = check_parts(spec)
    assert str(problem) == f"evaluation.composition.{path}: {text}"
