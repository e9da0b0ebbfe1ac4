"""The perceptual distance as a loss; as a metric it is tested in tests/plugins/test_lpips.py."""

from pathlib import Path

import pytest
import torch
from torch import Generator

from slotlab.framework.metrics.perceptual import PerceptualDistance, unit


@pytest.fixture(scope="module")
def distance(tmp_path_factory: pytest.TempPathFactory) -> PerceptualDistance:
    from torchvision.models import alexnet

    folder, stream = tmp_path_factory.mktemp("lpips"), Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in alexnet().features.state_dict().items()}
    torch.save(
        {
            f"features.{name}": torch.randn(shape, generator=stream) * max(1, shape[1:].numel()) ** -0.5
            for name, shape in shapes.items()
        },
        folder / "b.pth",
    )
    widths = enumerate((64, 192, 384, 256, 256))
    torch.save(
        {f"lin{i}.model.1.weight": torch.rand(1, w, 1, 1, generator=stream) for i, w in widths},
        folder / "l.pth",
    )
    return PerceptualDistance(
        "alex", backbone=Path(folder / "b.pth"), linear=Path(folder / "l.pth"), value_range=(-1, 1)
    )


def test_a_batch_has_the_distances_of_its_images(distance: PerceptualDistance) -> None:
    first, second = torch.rand(2, 3, 3, 40, 36, generator=Generator().manual_seed(1)) * 2 - 1
    found = distance(first, second, torch.float64)
    alone = [distance(a[None], b[None], torch.float64) for a, b in zip(first, second, strict=True)]
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.cat(alone), rtol=1e-5, atol=0)
    torch.testing.assert_close(distance(first, second, torch.float32).double(), found, rtol=1e-5, atol=0)
    assert (distance(first, first, torch.float32) == 0).all()


def test_its_gradient_is_a_number_where_no_feature_is(distance: PerceptualDistance) -> None:
    features = torch.zeros(2, 4, 3, 3)
    features[:, :, 0, 0] = 1
    features.requires_grad_()
    made = unit(features.relu())
    assert (made[:, :, 1:] == 0).all()
    torch.testing.assert_close(made[:, :, 0, 0], torch.full((2, 4), 0.5))
    made.square().sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_it_is_frozen_and_learned_through(distance: PerceptualDistance) -> None:
    first, second = torch.rand(2, 1, 3, 40, 36, generator=Generator().manual_seed(1)) * 2 - 1
    second.requires_grad_()
    distance(first, second, torch.float32).sum().backward()
    assert second.grad is not None
    assert second.grad.isfinite().all()
    assert (second.grad != 0).any()
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_it_computes_in_the_precision_of_its_weights(distance: PerceptualDistance) -> None:
    first, second = torch.rand(2, 1, 3, 40, 36, generator=Generator().manual_seed(1), dtype=torch.float64)
    single = distance(first, second, torch.float64)
    double = distance.double()(first, second, torch.float64)
    distance.float()
    torch.testing.assert_close(single, double, rtol=1e-5, atol=0)
    assert not torch.equal(single, double)
