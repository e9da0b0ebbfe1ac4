"""LPIPS with weights that the test makes. Nothing is downloaded."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.plugins.metrics.lpips import LPIPS, LPIPSConfig
from slotlab.registry import ComponentError

SIGNED = MetricContext(value_range=(-1.0, 1.0))


def small_alexnet() -> nn.Sequential:
    """AlexNet's convolutions as torchvision has them, with its default random weights."""
    from torchvision.models import alexnet

    with torch.random.fork_rng(), torch.device("meta"):
        features: nn.Sequential = alexnet().features
    features = features.to_empty(device="cpu")
    stream = Generator().manual_seed(0)
    for parameter in features.parameters():
        spread = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        parameter.data = torch.randn(parameter.shape, generator=stream) * spread
    return features


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "alexnet.pth"
    state = {f"features.{name}": value for name, value in small_alexnet().state_dict().items()}
    torch.save({**state, "classifier.6.bias": torch.zeros(1000)}, path)
    return path


def pair(size: int = 40) -> Outcome:
    images, others = torch.rand(2, 3, 3, size, size + 8, generator=Generator().manual_seed(1)) * 2 - 1
    return Outcome(images_BCHW=images, true_BHW=None, predicted_BHW=None, reconstructions_BCHW=others)


def reference(backbone: Path, found: Outcome, **options: Any) -> Tensor:
    """Measure with the authors' package, with the same weights."""
    lpips = pytest.importorskip("lpips")
    network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = {
        name.removeprefix("features."): value
        for name, value in torch.load(backbone, weights_only=True).items()
        if name.startswith("features.")
    }
    slices = [getattr(network.net, f"slice{i}") for i in range(1, 6)]
    for part in slices:
        for name, layer in part.named_children():
            if isinstance(layer, nn.Conv2d):
                layer.load_state_dict({key: state[f"{name}.{key}"] for key in ("weight", "bias")})
    with torch.no_grad():
        distances: Tensor = network(found.images_BCHW, found.reconstructions_BCHW, **options)
    return distances.flatten().double()


@pytest.mark.filterwarnings("ignore:The parameter 'pretrained' is deprecated:UserWarning")
@pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning")
@pytest.mark.filterwarnings("ignore:You are using `torch.load` with `weights_only=False`:FutureWarning")
def test_equal_to_the_package_of_its_authors(backbone: Path) -> None:
    found = pair()
    values = LPIPS(LPIPSConfig(backbone=backbone), SIGNED)(found)
    expected = reference(backbone, found)
    assert (values > 0.01).all()
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=0)
    assert found.reconstructions_BCHW is not None
    unit = Outcome(
        images_BCHW=(found.images_BCHW + 1) / 2,
        true_BHW=None,
        predicted_BHW=None,
        reconstructions_BCHW=(found.reconstructions_BCHW + 1) / 2,
    )
    on_unit = LPIPS(LPIPSConfig(backbone=backbone), MetricContext(value_range=(0.0, 1.0)))(unit)
    torch.testing.assert_close(on_unit, values, rtol=1e-4, atol=0)


def linear_file(folder: Path) -> Path:
    widths = (64, 192, 384, 256, 256)
    torch.save(
        {f"lin{i}.model.1.weight": torch.ones(1, w, 1, 1) for i, w in enumerate(widths)}, folder / "l.pth"
    )
    return folder / "l.pth"


def test_images_that_shrink_to_nothing_are_undefined(backbone: Path, tmp_path: Path) -> None:
    metric = LPIPS(LPIPSConfig(backbone=backbone, linear=linear_file(tmp_path)), SIGNED)
    assert metric(pair(30)).isnan().all()
    assert metric(pair(31)).isfinite().all()


def refused(field: str, **options: Any) -> str:
    with pytest.raises(ComponentError) as error:
        LPIPS(LPIPSConfig(**options), SIGNED)
    assert error.value.field == field
    return str(error.value)


def test_without_weights() -> None:
    assert refused("backbone") == (
        "needs 'backbone: FILE' with ImageNet weights; "
        "take https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
    )
    assert refused("backbone", network="vgg").endswith("/vgg16-397923af.pth")


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none.pth"
    assert refused("backbone", backbone=path) == f"weights file {path} does not exist"


def test_weights_that_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "text.pth"
    path.write_text("<html>not found</html>")
    assert refused("backbone", backbone=path) == f"weights file {path} cannot be read as weights"
    torch.save([1, 2], path)
    assert refused("backbone", backbone=path) == f"weights file {path} holds no weights by name"


def test_weights_of_another_network(backbone: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, path)
    expected = f"weights file {path} does not hold torchvision's 'alex': '0.bias'"
    assert refused("backbone", backbone=path) == expected
    assert "does not hold torchvision's 'vgg'" in refused("backbone", backbone=backbone, network="vgg")
    expected = f"weights file {path} does not hold LPIPS weights of 'alex': 'lin0.model.1.weight'"
    assert refused("linear", backbone=backbone, linear=path) == expected


def test_without_the_package_that_has_the_linear_weights(
    backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slotlab.framework.metrics.perceptual.find_spec", lambda name: None)
    expected = "needs 'linear: FILE', or the package lpips: pip install 'slotlab[lpips]'"
    assert refused("linear", backbone=backbone) == expected


def test_the_package_is_found_and_not_imported(backbone: Path) -> None:
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("the package lpips is not installed")
    weights = LPIPS(LPIPSConfig(backbone=backbone), SIGNED).distance.weights_LC
    assert [len(layer) for layer in weights] == [64, 192, 384, 256, 256]
    assert all((layer >= 0).all() for layer in weights)
