"""Set metrics: distances as clean-fid has them, features by local files, the floor and the cache."""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slotlab.framework.contracts import SetMetric
from slotlab.framework.metrics.image_sets.compare_sets import distances, halves, measure_sets
from slotlab.framework.metrics.image_sets.distances import Floats, frechet_distance, kernel_distances
from slotlab.framework.metrics.image_sets.extractors import CleanInception, ScriptExtractor, inception_folder
from slotlab.framework.metrics.image_sets.feature_cache import Cache, RealImages
from slotlab.framework.metrics.image_sets.feature_metrics import FrechetMetric, KernelMetric
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
OLD_SCIPY = tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 18)


def features(number: int, width: int, seed: int = 0, shift: float = 0.0) -> Floats:
    """Correlated features that are at least 0, as those behind a ReLU are."""
    stream = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(width, width)) / math.sqrt(width)
    return np.maximum(stream.normal(size=(number, width)) @ mixing + shift, 0.0)


# --- distances ---------------------------------------------------------------------------


def transcribed_frechet(first: Floats, second: Floats) -> float:
    """The definition, by the eigenvalues of the product of covariances."""
    s1, s2 = np.cov(first.T), np.cov(second.T)
    roots = np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).real
    means = first.mean(0) - second.mean(0)
    return float(means @ means + np.trace(s1) + np.trace(s2) - 2 * roots.sum())


def transcribed_kernel(first: Floats, second: Floats, subsets: int, size: int, seed: int) -> float:
    """The unbiased estimate, term by term, on clean-fid's subsets."""
    draw = np.random.RandomState(seed)
    m, width, total = min(len(first), len(second), size), first.shape[1], 0.0
    for _ in range(subsets):
        x = second[draw.choice(len(second), m, replace=False)]
        y = first[draw.choice(len(first), m, replace=False)]
        within_x = sum((x[i] @ x[j] / width + 1) ** 3 for i in range(m) for j in range(m) if i != j)
        within_y = sum((y[i] @ y[j] / width + 1) ** 3 for i in range(m) for j in range(m) if i != j)
        between = sum((x[i] @ y[j] / width + 1) ** 3 for i in range(m) for j in range(m))
        total += (within_x + within_y) / (m * (m - 1)) - 2 * between / m**2
    return total / subsets


@pytest.mark.parametrize(("first", "second"), [(200, 300), (40, 300), (20, 10)])
def test_frechet_distance_is_its_definition(first: int, second: int) -> None:
    a, b = features(first, 32, 0), features(second, 32, 1, shift=0.2)
    assert frechet_distance(a, b) == pytest.approx(transcribed_frechet(a, b), rel=1e-6)


@pytest.mark.skipif(not OLD_SCIPY, reason="clean-fid 0.1.35 calls sqrtm(disp=), which SciPy 1.18 has no more")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("first", "second"), [(400, 300), (40, 50)])
def test_frechet_distance_is_clean_fids(first: int, second: int) -> None:
    from cleanfid.fid import frechet_distance as theirs

    a, b = features(first, 64, 0), features(second, 64, 1, shift=0.1)
    expected = theirs(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-3)


def test_kernel_distance_is_its_definition_and_clean_fids(monkeypatch: pytest.MonkeyPatch) -> None:
    from cleanfid.fid import kernel_distance as theirs

    a, b = features(25, 16, 0), features(30, 16, 1, shift=0.3)
    ours = kernel_distances(a, b, subsets=4, subset_size=20, seed=7)
    assert ours.shape == (4,)
    assert ours.mean() == pytest.approx(transcribed_kernel(a, b, 4, 20, 7), rel=1e-9)
    monkeypatch.setattr(np.random, "choice", np.random.RandomState(7).choice)
    assert ours.mean() == pytest.approx(theirs(a, b, num_subsets=4, max_subset_size=20), rel=1e-9)


def test_no_root_of_a_matrix_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise TypeError("sqrtm() got an unexpected keyword argument 'disp'")

    monkeypatch.setattr("scipy.linalg.sqrtm", fail)  # as clean-fid finds it in SciPy 1.18
    a, b = features(40, 16, 0), features(50, 16, 1, shift=0.2)
    assert frechet_distance(a, b) == pytest.approx(transcribed_frechet(a, b), rel=1e-6)


@pytest.mark.parametrize("number", [10, 100])
def test_frechet_distance_is_a_distance(number: int) -> None:
    a, b = features(number, 32, 0), features(2 * number, 32, 1, shift=0.2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)
    assert frechet_distance(a, b) > 0.1
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * frechet_distance(a, b), rel=1e-6)


def test_frechet_distance_of_a_shift_is_its_square() -> None:
    a = features(50, 8)
    assert frechet_distance(a, a + np.arange(8)) == pytest.approx(sum(i * i for i in range(8)), rel=1e-9)


def test_kernel_distance_is_near_zero_for_one_distribution_and_not_for_two() -> None:
    pool = features(600, 16)
    same = kernel_distances(pool[:300], pool[300:], subsets=50, subset_size=200, seed=0).mean()
    other = kernel_distances(
        pool[:300], features(300, 16, 5, 0.5), subsets=50, subset_size=200, seed=0
    ).mean()
    assert abs(same) < 0.02 * other


# --- metrics -----------------------------------------------------------------------------


@dataclass
class Colors:
    """Features by hand: mean and range of each channel."""

    missing: str | None = None
    calls: int = 0
    version: str = "1"
    name: str = "colors"

    def lacking(self) -> str | None:
        return self.missing

    def identity(self) -> str:
        return f"colors-{self.version}"

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        self.calls += len(images_BCHW)
        flat_BCN = images_BCHW.float().flatten(2)
        return torch.cat([flat_BCN.mean(2), flat_BCN.amax(2) - flat_BCN.amin(2)], dim=1)


def pictures(number: int, seed: int = 0, high: int = 256) -> list[Tensor]:
    """Batches of random pictures, of unequal sizes."""
    stream = torch.Generator().manual_seed(seed)
    whole = torch.randint(0, high, (number, 3, 6, 6), generator=stream, dtype=torch.uint8)
    return list(whole.split([number // 3, number - number // 3]))


def real(number: int = 20, seed: int = 1, fingerprint: str | None = "f", split: str = "val") -> RealImages:
    facts = {"fingerprint": fingerprint, "split": split, "images": number}
    return RealImages(facts, lambda: iter(pictures(number, seed)))


def measured(metric: SetMetric, images: list[Tensor], **options: Any) -> dict[str, Any]:
    options = {"cache": Cache(None), "real": real(), **options}
    return measure_sets({"m": metric}, images, options.pop("real"), **options)["m"]


def test_a_result_says_what_it_is() -> None:
    found = measured(FrechetMetric(Colors()), pictures(12, high=99))
    assert {key: found[key] for key in ("images", "real_images", "extractor", "features")} == {
        "images": 12,
        "real_images": 20,
        "extractor": "colors",
        "features": 6,
    }
    assert found["higher_is_better"] is False
    assert found["value"] > 100
    assert found["warnings"] == []
    assert found["floor"]["of"] == "two halves of the real images"
    assert (found["floor"]["images"], found["floor"]["real_images"]) == (10, 10)
    assert 0 < found["floor"]["value"] < found["value"]


def test_the_value_is_the_distance_of_the_features() -> None:
    images, truth = torch.cat(pictures(12, 5)), torch.cat(pictures(20, 1))
    a, b = Colors()(images).double().numpy(), Colors()(truth).double().numpy()
    assert measured(FrechetMetric(Colors()), pictures(12, 5))["value"] == frechet_distance(a, b)
    kernel = measured(KernelMetric(Colors(), subsets=9, subset_size=8, seed=3), pictures(12, 5))
    expected = kernel_distances(a, b, subsets=9, subset_size=8, seed=3)
    assert kernel["value"] == expected.mean()
    assert kernel["std_of_subsets"] == expected.std(ddof=1)
    assert (kernel["subsets"], kernel["subset_size"]) == (9, 8)
    assert measured(KernelMetric(Colors(), subsets=1), pictures(12, 5))["std_of_subsets"] is None


def test_a_set_is_no_way_from_itself() -> None:
    found = measured(FrechetMetric(Colors()), pictures(20, 1))
    assert found["value"] == pytest.approx(0, abs=1e-6)
    assert found["floor"]["value"] > 0


def test_few_images_are_warned_of() -> None:
    found = measured(FrechetMetric(Colors()), pictures(5))
    (warning,) = found["warnings"]
    assert warning == (
        "5 images against 20 real ones, with 6 features each: below 6 images a covariance has no full rank and "
        "the value is too high; compare it only at the same numbers of images"
    )
    assert measured(KernelMetric(Colors()), pictures(5))["warnings"] == []


@pytest.mark.parametrize(
    ("composed", "truth", "text"),
    [
        (1, 20, "a distance of sets needs two images or more on both sides: there is 1 of the measured"),
        (9, 1, "a distance of sets needs two images or more on both sides: there is 1 of the real"),
    ],
)
def test_sets_of_one(composed: int, truth: int, text: str) -> None:
    images = [torch.cat(pictures(composed))]
    for metric in (FrechetMetric(Colors()), KernelMetric(Colors())):
        with pytest.raises(SlotlabError) as error:
            measured(metric, images, real=replace(real(truth), read=lambda: [torch.cat(pictures(truth))]))
        assert str(error.value) == text


def test_other_real_images_as_the_floor() -> None:
    other = real(30, seed=8, split="train")
    found = measured(FrechetMetric(Colors()), pictures(12), other=other)["floor"]
    assert found["of"] == "real images of 'train'"
    assert (found["images"], found["real_images"]) == (30, 20)
    assert measured(FrechetMetric(Colors()), pictures(12), other=real())["floor"]["value"] < 1e-6


def test_halves_are_of_the_set_and_share_nothing() -> None:
    features_ND = torch.arange(11.0)[:, None]
    first, second = halves(features_ND, seed=0)
    both = torch.cat([first, second]).flatten().tolist()
    assert (len(first), len(second), len(set(both))) == (5, 5, 10)
    assert torch.equal(first, halves(features_ND, seed=0)[0])
    assert not torch.equal(first, halves(features_ND, seed=1)[0])


def test_a_metric_that_lacks_something_is_refused_before_anything_is_read() -> None:
    def never() -> Iterator[Tensor]:
        raise AssertionError
        yield

    with pytest.raises(SlotlabError) as error:
        measured(FrechetMetric(Colors(missing="there is no file")), never())  # type: ignore[arg-type]
    assert str(error.value) == "m: there is no file"


# --- the cache ---------------------------------------------------------------------------


def test_features_of_real_images_are_computed_once(tmp_path: Path) -> None:
    cache, colors = Cache(tmp_path / "cache"), Colors()
    first = measured(FrechetMetric(colors), pictures(12), cache=cache)
    assert colors.calls == 12 + 20
    again = measured(FrechetMetric(colors), pictures(12), cache=cache)
    assert again == first
    assert colors.calls == 12 + 20 + 12
    assert len(list(cache.folder.iterdir())) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "changed",
    [
        lambda colors, truth: (colors, replace(truth, facts={**truth.facts, "fingerprint": "g"})),
        lambda colors, truth: (colors, replace(truth, facts={**truth.facts, "split": "test"})),
        lambda colors, truth: (Colors(version="2"), truth),
    ],
    ids=["files", "split", "extractor"],
)
def test_other_images_or_features_are_not_taken_from_the_cache(
    tmp_path: Path, changed: Callable[[Colors, RealImages], tuple[Colors, RealImages]]
) -> None:
    cache = Cache(tmp_path)
    measured(FrechetMetric(Colors()), pictures(12), cache=cache)
    colors, truth = changed(Colors(), real())
    measured(FrechetMetric(colors), pictures(12), cache=cache, real=truth)
    assert colors.calls == 12 + 20
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("fingerprint", [None, "untold-1a2b3c4d"])
def test_images_without_a_fingerprint_are_not_kept(tmp_path: Path, fingerprint: str | None) -> None:
    measured(FrechetMetric(Colors()), pictures(12), cache=Cache(tmp_path), real=real(fingerprint=fingerprint))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_computed_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = measured(FrechetMetric(Colors()), pictures(12), cache=cache)
    [file] = tmp_path.iterdir()
    for content in (b"", b"nonsense", file.read_bytes()[:200]):
        file.write_bytes(content)
        assert measured(FrechetMetric(Colors()), pictures(12), cache=cache) == first
    assert np.load(file).shape == (20, 6)


def test_metrics_of_one_extractor_share_its_features() -> None:
    colors = Colors()
    metrics = {"a": FrechetMetric(colors), "b": KernelMetric(colors), "c": FrechetMetric(Colors(version="2"))}
    found = measure_sets(metrics, pictures(12), real(), cache=Cache(None))
    assert colors.calls == 12 + 20
    assert found["a"]["value"] == found["c"]["value"]
    assert [found[name]["features_of"] for name in metrics] == ["colors-1", "colors-1", "colors-2"]
    assert list(found) == ["a", "b", "c"]


# --- extractors --------------------------------------------------------------------------


class Standin(nn.Module):
    """Stands in for Inception in the tests: the same inputs and as many features, and no FID."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Pool()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


class Pool(nn.Module):
    """Random features of a coarse picture."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(2048, 3 * 16, generator=torch.Generator().manual_seed(0))
        self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2] == 299
        assert x.shape[3] == 299
        coarse = torch.nn.functional.adaptive_avg_pool2d(x, [4, 4]).flatten(1)
        found: Tensor = torch.relu(coarse @ self.weight.t())
        return found


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a file in the place of Inception's."""
    folder = tmp_path_factory.mktemp("standin")
    save(Standin(), folder / "inception-2015-12-05.pt")
    return folder


def save(network: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), str(path))


def test_pixels_are_prepared_as_clean_fid_does(standin: Path) -> None:
    from cleanfid.resize import build_resizer

    images = torch.randint(
        0, 256, (3, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    resize: Callable[[NDArray[np.uint8]], NDArray[np.float32]] = build_resizer("clean")
    resized = np.stack([resize(image.permute(1, 2, 0).numpy()) for image in images])
    with torch.no_grad():
        expected = Pool()((torch.from_numpy(resized).permute(0, 3, 1, 2) - 128) / 128)
    for weights in (standin, standin / "inception-2015-12-05.pt"):
        extractor = CleanInception(weights, CPU)
        assert extractor.lacking() is None
        torch.testing.assert_close(extractor(images), expected)
        torch.testing.assert_close(extractor(images[1:2]), expected[1:2])


def test_the_identity_follows_the_content_of_the_weights(standin: Path, tmp_path: Path) -> None:
    copy = tmp_path / "inception-2015-12-05.pt"
    copy.write_bytes((standin / copy.name).read_bytes())
    first = CleanInception(standin, CPU).identity()
    assert CleanInception(copy, CPU).identity() == first
    copy.write_bytes(b"other")
    assert CleanInception(copy, CPU).identity() != first
    script = ScriptExtractor(copy, 8, (0, 0, 0), (1, 1, 1), CPU)
    assert script.identity() != replace(script, size=9).identity()


URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"


def test_without_weights_the_place_for_them_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = f"there is no {tmp_path}/inception-2015-12-05.pt; get the file from {URL} and put it there"
    extractor = CleanInception(tmp_path, CPU)
    assert extractor.lacking() == expected
    with pytest.raises(SlotlabError) as error:
        extractor(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    assert str(error.value) == expected
    monkeypatch.setattr("slotlab.framework.metrics.image_sets.extractors.inception_folder", lambda: tmp_path)
    hint = ", or say where it is with the metric's setting 'weights'"
    assert CleanInception(None, CPU).lacking() == expected + hint


def test_clean_fids_own_place() -> None:
    from cleanfid import features

    assert inception_folder() == Path("/tmp") if features.platform.system() != "Windows" else Path()


def test_weights_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "inception-2015-12-05.pt"
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    path.write_bytes(b"nonsense")
    with pytest.raises(SlotlabError) as error:
        CleanInception(path, CPU)(images)
    assert str(error.value).startswith(f"{path} is not clean-fid's Inception, or is damaged: RuntimeError: ")
    save(nn.Flatten(), path)
    with pytest.raises(SlotlabError) as error:
        CleanInception(path, CPU)(images)
    assert str(error.value).startswith(
        f"{path} is not clean-fid's Inception, or is damaged: AttributeError: "
    )


class Scale(nn.Module):
    """Gives back what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Lone(nn.Module):
    """Gives one row, whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0, keepdim=True)


def test_a_script_is_given_its_own_size_and_range(tmp_path: Path) -> None:
    save(Scale(), tmp_path / "n.pt")
    extractor = ScriptExtractor(tmp_path / "n.pt", 6, (0.5, 0.5, 0.0), (0.5, 0.5, 1.0), CPU)
    assert extractor.name == "torchscript n.pt"
    images = torch.cat(pictures(6))
    scaled = images.float() / 255
    scaled[:, :2] = scaled[:, :2] * 2 - 1
    torch.testing.assert_close(extractor(images), scaled.flatten(1))
    assert replace(extractor, size=4)(images).shape == (6, 48)


def test_scripts_that_cannot_be_used(tmp_path: Path) -> None:
    images = torch.cat(pictures(6))
    extractor = ScriptExtractor(tmp_path / "n.pt", 6, (0, 0, 0), (1, 1, 1), CPU)
    assert extractor.lacking() == f"there is no {tmp_path}/n.pt"
    with pytest.raises(SlotlabError) as error:
        extractor(images)
    assert str(error.value) == f"there is no {tmp_path}/n.pt"
    (tmp_path / "n.pt").write_bytes(b"nonsense")
    with pytest.raises(SlotlabError) as error:
        extractor(images)
    assert str(error.value).startswith(f"{tmp_path}/n.pt is no TorchScript file: RuntimeError: ")
    save(Lone(), tmp_path / "n.pt")
    with pytest.raises(SlotlabError) as error:
        extractor(images)
    given = f"the network in {tmp_path}/n.pt gives (1, 3, 6, 6)"
    assert str(error.value) == f"{given}, not one row of features for each of 6 images"
    save(nn.Linear(7, 2), tmp_path / "n.pt")
    with pytest.raises(SlotlabError) as error:
        replace(extractor)(images)
    text = f"the network in {tmp_path}/n.pt fails on images of 3x6x6: RuntimeError: "
    assert str(error.value).startswith(text)


# --- from pictures to the number ---------------------------------------------------------


class Few(nn.Module):
    """Sixteen features of a prepared picture: few enough for clean-fid's root of a matrix to be quick."""

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.randn(16, 48, generator=torch.Generator().manual_seed(0))
        return torch.relu(nn.functional.adaptive_avg_pool2d((x - 128) / 128, [4, 4]).flatten(1) @ weight.t())


def test_from_files_to_the_number_as_clean_fid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cleanfid import fid
    from PIL import Image

    network = Few()
    sets = {"made": torch.cat(pictures(24, 3)), "real": torch.cat(pictures(40, 4, high=200))}
    for name, images in sets.items():
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{number:03d}.png")
    monkeypatch.setattr(CleanInception, "_open", lambda extractor: network)
    extractor = CleanInception(tmp_path, CPU)
    made, truth = (extractor(sets[name]) for name in ("made", "real"))
    folders = [str(tmp_path / name) for name in sets]
    options: dict[str, Any] = {"mode": "clean", "num_workers": 0, "verbose": False, "device": CPU}
    monkeypatch.setattr(np.random, "choice", np.random.RandomState(5).choice)
    found = [fid.get_folder_features(folder, network, **options) for folder in folders]
    assert np.allclose(found[0], made, rtol=1e-4, atol=1e-4)
    theirs = fid.kernel_distance(*found)
    assert KernelMetric(extractor, seed=5).distance(made, truth).value == pytest.approx(theirs, rel=1e-3)
    if OLD_SCIPY:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = fid.compute_fid(*folders, **options, custom_feat_extractor=network)
        assert FrechetMetric(extractor).distance(made, truth).value == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_a_floor_needs_two_images_in_each_half(number: int) -> None:
    metric = FrechetMetric(extracting=None)  # type: ignore[arg-type]
    real = torch.randn(number, 3, generator=torch.Generator().manual_seed(0))
    result, floor = distances("x", metric, real.flip(0), real, halves(real, 0))
    assert result["value"] == pytest.approx(0.0, abs=1e-6)
    assert (floor is None) is (number < 4)
    assert floor is None or (floor["images"], floor["real_images"]) == (2, 2)


@pytest.mark.parametrize(("number", "warned"), [(3, True), (4, False), (5, False)])
def test_as_many_images_as_features_are_enough_for_no_warning(number: int, warned: bool) -> None:
    metric = FrechetMetric(extracting=None)  # type: ignore[arg-type]
    features = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    for one, other in ((features[:number], features), (features, features[:number])):
        assert bool(metric.distance(one, other).warnings) is warned
