"""A run on the Hugging Face Hub: one commit, a card that the Hub reads, and clear words without a network."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import slotlab
from slotlab.framework.runs.folder import RunFolder
from slotlab.registry import SlotlabError


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A hub on this machine, which the Hub's library talks to."""
    from huggingface_hub import constants

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        server = importlib.import_module("hub_server")
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with server.serving() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.address)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            found.address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield found


@pytest.mark.filterwarnings("ignore")
def test_a_run_goes_to_the_hub_and_back(hub: Any, run: Path) -> None:
    slotlab.push(run, "hf://me/finished", license="apache-2.0")
    [(name, added, removed)] = hub.commits
    assert name == "me/finished"
    assert not removed
    assert {"README.md", "manifest.json", "spec.yaml"} <= added
    assert hub.private == {"me/finished": True}, "a new repository is private unless told otherwise"
    assert hub.tokens == {"Bearer hf_test"}
    found = slotlab.pull("hf://me/finished")
    assert RunFolder(found).load_weights().step == 108
    assert slotlab.push(run, "hf://me/finished", license="apache-2.0")["sent"] == 0
    assert len(hub.commits) == 1, "what is there is not sent again"
    assert 'slotlab.open_run("hf://me/finished")' in (found / "README.md").read_text()


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_is_replaced_and_one_in_a_folder(hub: Any, run: Path) -> None:
    slotlab.push(run, "hf://me/runs/first", public=True)
    assert hub.private == {"me/runs": False}
    assert all(path.startswith("first/") for path in hub.commits[0][1])
    with pytest.raises(SlotlabError, match="'finished' lies there, pushed with other files"):
        slotlab.push(run, "hf://me/runs/first", evaluations=False)
    slotlab.push(run, "hf://me/runs/first", evaluations=False, overwrite=True)
    _, added, removed = hub.commits[1]
    assert added == {"first/README.md", "first/manifest.json"}
    assert removed
    assert all(path.startswith("first/evaluation/") for path in removed)
    assert slotlab.pull("hf://me/runs/first", "there").is_dir()
    (run / "status.json").unlink()
    with pytest.raises(SlotlabError, match="there is no pushed run"):
        slotlab.pull("hf://me/runs")


@pytest.mark.filterwarnings("ignore")
def test_a_push_that_fails_leaves_nothing_and_goes_on(hub: Any, run: Path) -> None:
    hub.cut = True
    with pytest.raises(
        SlotlabError, match=r"hf://me/finished cannot be read or written: .*; the same command goes on"
    ):
        slotlab.push(run, "hf://me/finished")
    assert set(hub.repositories["me/finished"]) == {".gitattributes"}
    hub.cut = False
    slotlab.push(run, "hf://me/finished")
    assert slotlab.pull("hf://me/finished", "there").is_dir()


@pytest.mark.filterwarnings("ignore")
def test_what_was_changed_on_the_hub_is_refused(hub: Any, run: Path) -> None:
    slotlab.push(run, "hf://me/finished")
    hub.repositories["me/finished"]["plugins/jittered_slots.py"] += b"import os\n"
    with pytest.raises(
        SlotlabError, match=r"hf://me/finished: plugins/jittered_slots.py is not as manifest.json"
    ):
        slotlab.pull("hf://me/finished", "there")
    with pytest.raises(SlotlabError, match="hf://me/nothing"):
        slotlab.pull("hf://me/nothing")


@pytest.mark.filterwarnings("ignore")
def test_without_a_network_the_message_is_one_line(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SlotlabError) as error:
        slotlab.pull("hf://me/finished")
    assert str(error.value).startswith("hf://me/finished cannot be read or written: ")
    assert "\n" not in str(error.value)


def test_the_card_is_one_of_the_hub(run: Path) -> None:
    from huggingface_hub import ModelCard

    slotlab.push(run, "shared", license="apache-2.0")
    text = Path("shared", "README.md").read_text()
    data = ModelCard(text).data
    assert (data.library_name, data.license, data.pipeline_tag) == (
        "slotlab",
        "apache-2.0",
        "image-segmentation",
    )
    summaries = RunFolder(run).read_summaries()
    told = {(one.metric_type, one.metric_value) for one in data.eval_results}
    measured = {
        (name, mean["mean"]) for one in summaries.values() for name, mean in one["methods"]["model"].items()
    }
    assert told == measured
    assert "| `model.grouping.iterations` | 2 |" in text
    assert "protocol whole (image_size 32), split val, 3 images" in text
    for path in [line.partition("](")[2][:-1] for line in text.splitlines() if line.startswith("![")]:
        assert Path("shared", path).is_file()


def test_the_card_names_packages_and_extras(run: Path) -> None:
    slotlab.push(run, "alone")
    assert "## Needs" not in Path("alone", "README.md").read_text(), "slotlab alone is enough"
    path = run / "provenance.json"
    facts = json.loads(path.read_text())
    old = [{"kind": "encoder", "name": "former", "version": 1, "source": "former-plugin 1"}]
    new = [
        *facts["components"],
        {"kind": "encoder", "name": "snail", "version": 1, "source": "snail-slots 1.2"},
        {"kind": "grouping", "name": "shell", "version": 1, "source": "snail-slots 1.2"},
        {"kind": "metric", "name": "evil", "version": 1, "source": "'; rm -rf ~;' 1"},
        {
            "kind": "dataset",
            "name": "video_folder",
            "version": 1,
            "source": "slotlab 0.1.0",
            "install": "slotlab[video]",
        },
        {"kind": "encoder", "name": "vit", "version": 1, "source": "slotlab 1", "install": "timm>=1.0,<2"},
        {"kind": "decoder", "name": "x` | [here](http://evil)", "version": 1, "source": "other-slots 1"},
        {"kind": "<b>big</b>", "name": "big", "version": 1, "source": "snail-slots 1.2"},
    ]
    path.write_text(json.dumps({**facts, "components": old, "restarts": [{"step": 3, "components": new}]}))
    slotlab.push(run, "shared")
    text = Path("shared", "README.md").read_text()
    assert "| `snail-slots` | 1.2 | encoder `snail`, grouping `shell` |" in text
    assert "| `slotlab[video]` | 0.1.0 | dataset `video_folder` |" in text
    assert "| `timm>=1.0,<2` |  | encoder `vit` |" in text
    assert "$ pip install 'snail-slots==1.2' 'slotlab[video]==0.1.0' 'timm>=1.0,<2'\n" in text
    assert "evil" not in text
    assert "<b>" not in text
    assert "former-plugin" not in text
    assert "rm -rf" not in text
    assert "jittered_slots.py@" not in text


def test_the_interval_of_the_card_is_that_of_a_mean(run: Path) -> None:
    from scipy import stats

    from slotlab.framework.transfer.card import mean_text

    values = [0.2, 0.5, 0.6, 0.9]
    mean, std = sum(values) / 4, stats.tstd(values)
    low, high = stats.t.interval(0.95, 3, loc=mean, scale=stats.sem(values))
    one = {"mean": mean, "std": std, "count": 4}
    assert high > 1
    assert mean_text(one, {}) == f"{mean:.3f} [{low:.3f}, {high:.3f}]"
    assert mean_text(one, {"bounds": [None, None]}) == mean_text(one, {})
    assert mean_text(one, {"bounds": [0.0, 1.0]}) == f"{mean:.3f} [{low:.3f}, 1.000]"
    assert mean_text(one, {"bounds": [0.3, None]}) == f"{mean:.3f} [0.300, {high:.3f}]"
    pooled = {"aggregation": "objects"}
    assert mean_text(one, pooled) == f"{mean:.3f}", "objects of one image are not independent"
    assert mean_text({**one, "count": 1}, {}) == f"{mean:.3f}"
    assert mean_text({"mean": None}, {}) == ""
