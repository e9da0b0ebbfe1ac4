"""One stands for a list of one; what is neither is told in words."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slotlab
from slotlab.framework.api.given import names_of, paths_of
from slotlab.results import Run

TEXTS = st.lists(st.text(min_size=1, max_size=5), max_size=4)


@given(TEXTS)
def test_one_name_is_a_list_of_one(texts: list[str]) -> None:
    assert names_of(texts) == tuple(texts)
    assert names_of(iter(texts)) == tuple(texts)
    assert all(names_of(text) == (text,) for text in texts)


@given(TEXTS)
def test_paths_come_in_any_nesting(texts: list[str]) -> None:
    paths = [Path(text) for text in texts]
    assert paths_of([texts, [paths]], "a run") == paths * 2
    assert all(paths_of(text, "a run") == [Path(text)] for text in texts)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: slotlab.compare(3), "expected the path of a run, or several, not a int"),
        (lambda: slotlab.compare(["runs", None]), "expected the path of a run, or several, not a NoneType"),
        (lambda: slotlab.load_spec("slotlab:demo", plugins=3), "expected the path of a plugin"),
        (lambda: slotlab.load_spec("slotlab:demo", plugins="zero.py"), "zero.py: does not exist"),
        (lambda: slotlab.published("clevr"), "did you mean 'clevr6'?"),
    ],
)
def test_what_is_no_name_and_no_path_is_told(call: Callable[[], object], text: str) -> None:
    with pytest.raises(slotlab.SlotlabError) as error:
        call()
    assert text in str(error.value)


def test_runs_are_compared_as_they_are_opened(here: Path) -> None:
    runs = [slotlab.open_run(path, device="cpu") for path in ("runs/demo", "runs/demo-1")]
    expected = slotlab.compare("runs/demo", "runs/demo-1", metrics=["ari"]).frame()
    for given_ in (runs, (runs,), ([Path("runs/demo"), runs[1]],)):
        assert slotlab.compare(*given_, metrics="ari").frame().equals(expected)


def test_one_metric_is_scored() -> None:
    labels = np.zeros((2, 4, 4), dtype=np.int64)
    labels[:, :2] = 1
    assert slotlab.score(labels, labels, metrics="ari").means == {"ari": 1.0}
    assert slotlab.score(labels, labels, metrics=["ari", "mse"]).left_out.keys() == {"mse"}


def test_a_loaded_spec_is_loaded_again_with_other_settings() -> None:
    spec = slotlab.load_spec("slotlab:demo", {"model.slots": 5})
    other = slotlab.load_spec(spec, {"seed": 3})
    assert (other.settings["seed"], other.settings["model"]["slots"]) == (3, 5)
    assert slotlab.load_spec(spec) is spec
    for call in (slotlab.load_spec, slotlab.build_model):
        with pytest.raises(slotlab.SlotlabError, match=r"^a loaded spec keeps its plugins; "):
            call(spec, plugins="other.py")


def test_an_evaluation_with_other_settings_is_that_of_a_run_opened_with_them(run: Run) -> None:
    few = {"evaluation.max_images": 2, "evaluation.metrics": ["mbo"]}
    found = run.evaluate(settings=few, figures=False)
    again = slotlab.open_run(run.path, settings=few, device="cpu").evaluate(figures=False)
    assert found.rows().equals(again.rows())
    assert len(found.rows()) == 2
    assert len(run.evaluate(figures=False).rows()) == 6
    with pytest.raises(slotlab.SlotlabError, match="under evaluation and data only"):
        run.evaluate(settings={"model.slots": 3})


def test_a_model_says_what_it_takes() -> None:
    model = slotlab.build_model("slotlab:demo")
    wanted = "images are floats (B, 3, 32, 32) in the spec's value range, not "
    for images, given_ in (
        (torch.zeros(2, 3, 40, 40), "float32 (2, 3, 40, 40)"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "uint8 (2, 3, 32, 32)"),
        (torch.zeros(3, 32, 32), "float32 (3, 32, 32)"),
        (np.zeros((2, 3, 32, 32)), "ndarray"),
    ):
        with pytest.raises(slotlab.SlotlabError) as error:
            model(images)
        assert str(error.value) == wanted + given_
    with pytest.raises(slotlab.SlotlabError) as error:
        model.losses(torch.zeros(2, 3, 32, 32))  # type: ignore[arg-type]
    assert str(error.value) == "losses are those of a slotlab.contracts.Batch, not of a Tensor"


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert slotlab.__version__ == version("slotlab")
