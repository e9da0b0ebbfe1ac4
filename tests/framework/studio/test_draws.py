"""Pictures that are drawn step by step, in the studio's server and on its page."""

import json
import re
from base64 import b64decode
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import slotlab
from slotlab.framework.composition import Composer
from slotlab.framework.studio.app import create_app
from slotlab.framework.studio.studio import Studio

pytest.importorskip("fastapi")

DATA = {
    "dataset": {"name": "scenes", "num_train": 4, "num_val": 4, "textures": ["plain"], "ground_textures": ["plain"]},
    "protocol": {"name": "whole", "image_size": 16},
}  # fmt: skip
TRAINING = {"batch_size": 4, "phases": [{"steps": 2, "lr": 1e-3}]}
CODEC = {
    "format": 1,
    "name": "codec",
    "data": DATA,
    "model": {
        "name": "codec",
        "codec": {
            "name": "vqvae",
            "width": 4,
            "multipliers": [1, 2],
            "blocks": 1,
            "codes": 8,
            "norm_groups": 2,
        },
    },
    "training": TRAINING,
    "evaluation": {"metrics": ["mse"]},
}
DIFFUSION = {
    "format": 1,
    "name": "diffusion",
    "data": DATA,
    "model": {
        "slots": 3,
        "slot_dim": 8,
        "encoder": {"name": "cnn", "channels": [8], "strides": [2]},
        "initializer": "learnable",
        "grouping": "slot_attention",
        "decoder": {"name": "latent_diffusion", "width": 8, "multipliers": [1, 2], "blocks": 1, "attention_at": [2], "head_width": 4, "norm_groups": 2, "sampling": {"steps": 3}},
    },
    "objective": {"name": "latent_noise", "codec": {"name": "trained", "source": {"run": "codec"}}},
    "training": TRAINING,
    "evaluation": {"metrics": ["ari"], "mask_source": "attention"},
}  # fmt: skip
ALL = [{"image": 1, "slot": slot} for slot in range(3)]


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run of a diffusion decoder, which makes a picture in three evaluations."""
    folder = tmp_path_factory.mktemp("drawing")
    for name, spec in (("codec", CODEC), ("diffusion", DIFFUSION)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec))
        slotlab.train(folder / f"{name}.yaml", run=folder / name, device="cpu", evaluate=False)
    return folder / "diffusion"


@pytest.fixture(scope="module")
def client(drawing: Path) -> Any:
    from starlette.testclient import TestClient

    studio = Studio(Composer.open(drawing, device=torch.device("cpu")))
    return TestClient(create_app(studio, hosts=["127.0.0.1"]), base_url="http://127.0.0.1")


def drawn(client: Any, draw: int) -> list[dict[str, Any]]:
    answer = client.post("/api/draw", json={"slots": ALL, "draw": draw})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def pixels(png: bytes, tmp_path: Path) -> np.ndarray[Any, Any]:
    (tmp_path / "picture.png").write_bytes(png)
    with Image.open(tmp_path / "picture.png") as image:
        return np.array(image)


def test_a_picture_is_shown_step_by_step_and_ends_as_the_result(client: Any, tmp_path: Path) -> None:
    lines = drawn(client, 0)
    assert [line["done"] for line in lines] == [1, 2, 3, 4]
    assert {line["total"] for line in lines} == {4}
    result = client.post("/api/compose", json={"slots": ALL})
    assert np.array_equal(pixels(b64decode(lines[-1]["png"]), tmp_path), pixels(result.content, tmp_path))


def test_other_draws_are_other_pictures_and_the_same_each_time(client: Any) -> None:
    first, second, again = drawn(client, 1), drawn(client, 2), drawn(client, 1)
    assert first == again
    assert first[0]["png"] != second[0]["png"]


def test_the_page_is_told_whether_pictures_are_drawn(client: Any) -> None:
    assert client.get("/api/run").json()["draws"] is True


def test_mistakes_are_answered_in_words(client: Any) -> None:
    answer = client.post("/api/draw", json={"slots": [{"image": 99, "slot": 0}]})
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "split 'val' has no image 99: they are 0 to 3",
    )


@pytest.mark.slow
def test_draws_appear_on_the_page(
    chromium: Any, drawing: Path, serve: Callable[..., AbstractContextManager[str]]
) -> None:
    with serve(drawing, "studio of 'diffusion' with 4 images") as address:
        page = chromium.new_page()
        page.goto(address)
        page.wait_for_selector("#result[aria-busy=false]")
        page.get_by_role("button", name="Draw four times").click()
        page.locator("#draws-words", has_text=re.compile("^4 draws of the same slots")).wait_for()
        assert page.locator("#draws img").count() == 4
        assert page.locator("#draws img").nth(3).evaluate("picture => picture.naturalWidth") == 16
        page.close()
