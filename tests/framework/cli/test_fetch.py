"""`slotlab data fetch`: sizes and licenses first, then a question; a dataset of one's own."""

import json
from pathlib import Path

import pytest

from tests.conftest import Slotlab

PLUGIN = '''
from typing import ClassVar
from slotlab import Component, ComponentConfig, hookimpl
from slotlab.contracts import Downloads, Source

SLOTLAB_API = 1


class PetsConfig(ComponentConfig):
    """Settings of pets."""

    downloads: ClassVar[Downloads] = Downloads(
        parts={"cats": (Source(url="URL", license="CC0", bytes=7),), "dogs": ()}, usual=("cats",)
    )


@hookimpl
def slotlab_datasets():
    yield Component(name="pets", config=PetsConfig, build=lambda config, context: None, summary="pets")
'''


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    path = tmp_path / "pets.py"
    path.write_text(PLUGIN.replace("URL", "http://127.0.0.1:9/cats.tar"))
    return path


def test_it_says_what_is_to_come_and_fetches_nothing_unasked(
    slotlab: Slotlab, tmp_path: Path, pets: Path
) -> None:
    code, out, err = slotlab("data", "fetch", "pets", tmp_path / "into", "--plugin", pets)
    assert (code, out) == (1, "")
    for text in (
        "cats.tar",
        "http://127.0.0.1:9/cats.tar",
        "license: CC0",
        "to come: 0.00 GB;",
        "give --yes",
    ):
        assert text in err
    assert not (tmp_path / "into").exists()
    assert slotlab("data", "fetch", "pets", tmp_path / "into", "--plugin", pets, "--dry-run")[0] == 0


def test_what_is_there_is_not_asked_for(slotlab: Slotlab, tmp_path: Path, pets: Path) -> None:
    (tmp_path / "cats.tar").write_bytes(b"1234567")
    code, _, err = slotlab("data", "fetch", "pets", tmp_path, "--plugin", pets, "--yes")
    assert code == 0
    assert "taken as it is" in err
    code, out, _ = slotlab("data", "fetch", "pets", tmp_path, "--plugin", pets, "--json", "-")
    assert code == 0
    assert json.loads(out)["files"][0]["bytes"] == 7


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["obj3d"], "obj3d cannot be fetched: its 7 GB are on Google Drive"),
        (["movi"], "gsutil -m cp -r gs://kubric-public"),
        (
            ["clevrtexx"],
            "there is no dataset 'clevrtexx'; did you mean 'clevrtex'?; to fetch: clevrer, clevrtex",
        ),
        (["scenes"], "'scenes' says of no place where its data is published; to fetch: clevrer"),
        (
            ["clevrtex", "--part", "outt"],
            "clevrtex has no part 'outt'; its parts are full, outd, camo; did you",
        ),
    ],
)
def test_mistakes_say_what_can_be_done(slotlab: Slotlab, tmp_path: Path, words: list[str], text: str) -> None:
    code, _, err = slotlab("data", "fetch", words[0], tmp_path, *words[1:])
    assert code == 1
    assert text in " ".join(err.split())
