"""An exception of a component's code is reported with the component's name, file and line."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slotlab.framework.contracts import Outcome, SetResult
from slotlab.framework.contracts.component_calls import called
from slotlab.framework.evaluation.rows import rows_of
from slotlab.framework.metrics.image_sets.compare_sets import measure_sets, usable
from slotlab.framework.metrics.image_sets.feature_cache import Cache, RealImages
from slotlab.registry import SlotlabError

Slotlab = Callable[..., tuple[int, str, str]]
PLUGIN = """
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import mask_metric
from slotlab.registry import hookimpl

SLOTLAB_API = 1


def wrong(outcome):
    return outcome.true_BHW.reshape(3, -1)


@hookimpl
def slotlab_metrics():
    yield mask_metric("wrong", wrong, summary="raises")
"""


def line_of(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    [number] = [place for place, line in enumerate(lines, 1) if line.endswith(f"# {text}")]
    return number


def test_score_names_metric_file_and_line(slotlab: Slotlab, tmp_path: Path) -> None:
    from PIL import Image

    plugin = tmp_path / "broken_metric.py"
    plugin.write_text(PLUGIN)
    for name in ("true", "pred"):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 2)).save(tmp_path / name / "a.png")
    words = ("--true", tmp_path / "true", "--pred", tmp_path / "pred", "--plugin", plugin)
    shape = "shape '[3, -1]' is invalid for input of size 8"
    message = f"metric 'wrong' failed: RuntimeError: {shape} ({plugin}, line 10)"
    assert slotlab("score", *words, "--metrics", "wrong") == (1, "", f"error: {message}\n")


class Module(nn.Module):
    """A metric whose code torch calls."""

    higher_is_better, bounds, needs = True, (0.0, 1.0), frozenset({"images_BCHW"})

    @torch.no_grad()
    def forward(self, outcome: Outcome) -> Tensor:
        return outcome.images_BCHW @ torch.ones(7)  # in a module

    def weights(self, outcome: Outcome) -> Tensor:
        raise AssertionError("not reached")


def test_code_that_torch_calls_is_found() -> None:
    outcome = Outcome(images_BCHW=torch.zeros(1, 3, 2, 2), true_BHW=None, predicted_BHW=None)
    with pytest.raises(SlotlabError) as caught:
        rows_of(outcome, ["a"], {"mine": Module()})
    text = "size mismatch, got input (6), mat (6x2), vec (7)"
    where = f"{__file__}, line {line_of('in a module')}"
    assert str(caught.value) == f"metric 'mine' failed: RuntimeError: {text} ({where})"
    assert isinstance(caught.value.__cause__, RuntimeError)


@dataclass
class Broken:
    """A set metric that raises in one place."""

    place: str
    higher_is_better: bool = False
    extractor: str = "none"

    def at(self, place: str) -> None:
        if place == self.place:
            raise KeyError(place)  # in a set metric

    def lacking(self) -> str | None:
        return self.at("lacking")

    def identity(self) -> str:
        self.at("identity")
        return "none"

    def features(self, images_BCHW: Tensor) -> Tensor:
        self.at("features")
        return images_BCHW.flatten(1).float()

    def distance(self, features_ND: Tensor, real_MD: Tensor) -> SetResult:
        self.at("distance")
        return SetResult(value=0.0, images=len(features_ND), real_images=len(real_MD))


@pytest.mark.parametrize("place", ["lacking", "identity", "features", "distance"])
def test_a_set_metric_is_named(place: str) -> None:
    images = [torch.zeros(4, 3, 2, 2, dtype=torch.uint8)]
    metrics: dict[str, Any] = {"mine": Broken(place)}
    with pytest.raises(SlotlabError) as caught:
        measure_sets(metrics, images, RealImages({}, lambda: images), cache=Cache(None))
    where = f"{__file__}, line {line_of('in a set metric')}"
    assert str(caught.value) == f"set metric 'mine' failed: KeyError: '{place}' ({where})"
    if place != "lacking":
        assert list(usable(metrics)[0]) == ["mine"]


def test_a_component_may_say_itself_what_is_wrong() -> None:
    with pytest.raises(SlotlabError) as caught, called("metric 'mine'"):
        raise SlotlabError("give it weights")
    assert str(caught.value) == "give it weights"


def test_a_component_that_exits_does_not_end_the_command_as_if_all_were_done(
    base: str, write: Callable[[str, str], Path], plugin: Callable[..., Path], slotlab: Slotlab
) -> None:
    with pytest.raises(SlotlabError, match=r"metric 'm' failed: SystemExit"), called("metric 'm'"):
        raise SystemExit(0)
    plugin(**{"return self.layer(images_BCHW)": "raise SystemExit(0)"})
    write("spec.yaml", base.replace("{name: cnn, channels: [4, 4]}", "pixelwise"))
    code, out, err = slotlab("validate", "spec.yaml", "--plugin", "pixelwise.py")
    assert code == 1
    assert "pixelwise: fails on images of 16x16 pixels: SystemExit" in out + err
