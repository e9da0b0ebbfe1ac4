"""Texts that are shared hold no places, users or addresses; what else they say stays."""

from pathlib import Path

import pytest

from slotlab.framework.system.privacy import nameless, nameless_data, nameless_words, places


@pytest.fixture(autouse=True)
def zebedee(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/zebedee")
    monkeypatch.setenv("USER", "zebedee")


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        ("/home/zebedee/x/y.yaml", "…/y.yaml"),
        ("/home/zebedee", "~"),
        ("error at /data/zebedee/clevrtex: no such file", "error at …/clevrtex: no such file"),
        ("root=/data/zebedee", "root=…"),
        ("{root: /data/zebedee/cl, x: 1}", "{root: …/cl, x: 1}"),
        ("['/mnt/a', \"/mnt/b\"]", "['…/a', \"…/b\"]"),
        ("../zebedee/x.yaml", "…/x.yaml"),
        ("zebedee/x.yaml", "…/x.yaml"),
        ("~/x/y", "…/y"),
        ("~other/y", "…/y"),
        ("http://zebedee:secret@host:5/p?q=1 failed", "http:… failed"),
        ("file:///home/zebedee/x", "file:…"),
        ("{uri: http://mlflow:5000, root: /a/b}", "{uri: http:…, root: …/b}"),
        ("http://10.0.0.7/x and https://zebedee@example.org/y", "http:… and https:…"),
        ("sqlite:////home/zebedee/ml.db", "sqlite:…"),
        ("zebedee@host:/x/y", "…"),
        (r"C:\Users\zebedee\d", "…/d"),
        ("(/opt/x/mine.py, line 12)", "(…/mine.py, line 12)"),
    ],
)
def test_places_and_names_are_left_out(text: str, shared: str) -> None:
    assert nameless(text) == shared
    assert nameless(shared) == shared, "once is enough"


@pytest.mark.parametrize(
    "text",
    [
        *("ari / fg_ari", "12 images/s", "3/4 of it", "runs/a", "./out/x", "n/a", "mean ± std", "a/b.py:3"),
        *(
            "enc.py@29c634b1: bad",
            "--set data.root=clevrtex",
            "-1/2",
            "scenes-val-whole-decoder",
            "and/or",
            "~",
        ),
        "get the file from https://nvlabs-fi-cdn.nvidia.com/a/b/c.pt and put it there",
        "https://arxiv.org/abs/2006.15055",
        "slotlab train specs/x.yaml --set training.batch_size=8",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert nameless(text) == text


def test_a_word_that_is_a_path_may_hold_spaces() -> None:
    words = [
        "train",
        "/home/zebedee/my specs/x.yaml",
        "--set",
        "data.dataset.root=/data/zebedee/my set",
        "a=b",
    ]
    assert nameless_words(words) == ["train", "…/x.yaml", "--set", "data.dataset.root=…/my set", "a=b"]


def test_data_is_walked_with_its_keys() -> None:
    data = {"/x/y": [1, None, "/x/z", {"a": True}], "b": ("/q/r",)}
    assert nameless_data(data) == {"…/y": [1, None, "…/z", {"a": True}], "b": ["…/r"]}


def test_folders_are_written_from_what_they_have_in_common() -> None:
    far = [Path("/data/zebedee/runs/a/one"), Path("/data/zebedee/runs/b/one")]
    assert list(places(far).values()) == ["a/one", "b/one"]
    assert list(places(far[:1]).values()) == ["one"]
    assert list(places([Path("runs/one")]).values()) == ["runs/one"]
    assert list(places([Path("../zebedee/runs/one")]).values()) == ["one"]


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", nobody)
    assert nameless("/home/zebedee/x") == "…/x"
