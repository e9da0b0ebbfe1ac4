"""The studio of a run of clips: films of slots, clips of kept slots, scenes that roll on, and the page of it all."""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slotlab.framework.composition import Composer
from slotlab.framework.studio.app import create_app
from slotlab.framework.studio.studio import Studio

pytest.importorskip("fastapi")
FRAMES, HISTORY, SIDE = 12, 6, 16


@pytest.fixture(scope="module", params=["savi_demo", "slotformer_demo"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(clip_runs: Path, name: str) -> Any:
    from starlette.testclient import TestClient

    studio = Studio(Composer.open(clip_runs / name, device=torch.device("cpu")))
    return TestClient(create_app(studio, hosts=["127.0.0.1"]), base_url="http://127.0.0.1")


def pixels(response: Any) -> np.ndarray[Any, Any]:
    assert response.status_code == 200, response.text
    return np.array(Image.open(io.BytesIO(response.content)))


def compose(client: Any, clip: int, slots: Any = range(4), **fields: Any) -> Any:
    picks = [{"image": clip, "slot": slot} for slot in slots]
    return client.post("/api/compose-clip", json={"slots": picks, **fields})


def test_a_run_of_clips_says_so(client: Any, name: str) -> None:
    run = client.get("/api/run").json()
    history = HISTORY if name == "slotformer_demo" else None
    assert (run["clips"], run["history"], run["ratio"]) == (3, history, 1.0)
    clip = client.get("/api/clips/2").json()
    assert (clip["position"], clip["frames"], len(clip["slots"])) == (2, FRAMES, 4)
    assert sum(slot["area"] for slot in clip["slots"]) == pytest.approx(1)


def test_films_hold_all_frames(client: Any) -> None:
    for picture, channels in (("image", 3), ("reconstruction", 3), ("segments", 3), ("slots/1/cutout", 4)):
        assert pixels(client.get(f"/api/clips/0/{picture}.png")).shape == (FRAMES * SIDE, SIDE, channels)
    assert pixels(client.get("/api/clips/0/slots/3/mask.png")).shape == (FRAMES * SIDE, SIDE)
    first = pixels(client.get("/api/clips/0/first.png"))
    assert np.array_equal(first, pixels(client.get("/api/clips/0/image.png"))[:SIDE])


def test_all_slots_of_a_clip_are_its_reconstruction(client: Any) -> None:
    whole = compose(client, 1)
    assert whole.headers["X-Frames"] == str(FRAMES)
    difference = pixels(whole).astype(int) - pixels(client.get("/api/clips/1/reconstruction.png"))
    assert abs(difference).max() <= 1
    painted = compose(client, 1, show="segments")
    assert (pixels(painted) == pixels(client.get("/api/clips/1/segments.png"))).mean() > 0.99
    with Image.open(io.BytesIO(compose(client, 1, form="webp").content)) as moving:
        assert (moving.format, moving.size) == ("WEBP", (SIDE, SIDE))


def test_a_scene_rolls_on_without_a_slot_where_the_model_foretells(client: Any, name: str) -> None:
    longer = compose(client, 0, (0, 2, 3), frames=20)
    if name == "savi_demo":
        text = f"the clips have {FRAMES} frames, and the model foretells none beyond them"
        assert (longer.status_code, longer.json()["detail"]) == (422, text)
        return
    assert longer.headers["X-Frames"] == "20"
    film = pixels(longer)
    assert len(film) == 20 * SIDE
    shorter = pixels(compose(client, 0, (0, 2, 3)))
    assert abs(film[: FRAMES * SIDE].astype(int) - shorter).max() <= 1
    assert abs(film[: FRAMES * SIDE].astype(int) - pixels(compose(client, 0))).max() > 1


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/clips/3", "split 'val' has no clip 3: they are 0 to 2"),
        ("/api/clips/0/slots/4/mask.png", "there is no slot 4: the slots are 0 to 3"),
        ("/api/clips/0/secret.png", "name: Input should be 'image', 'reconstruction' or 'segments'"),
    ],
)
def test_what_is_not_there_is_told(client: Any, path: str, words: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()["detail"]) == (422, words)


# --- the page -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(clip_runs: Path, serve: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    with serve(clip_runs / "slotformer_demo", "studio of 'slotformer_demo' with 3 videos") as address:
        yield address


@pytest.mark.slow
def test_the_page_mixes_clips_and_rolls_them_on(chromium: Any, address: str, tmp_path: Path) -> None:
    context = chromium.new_context(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(address)

    def ready(words: str) -> None:
        page.wait_for_function(
            "words => document.querySelector('#result-words').textContent === words"
            " && document.querySelector('#result').ariaBusy === 'false'",
            arg=words,
        )

    ready("4 slots: 4 of A, 0 of B")
    output = page.locator("#player output")
    assert output.text_content() == f"frame 1 of {FRAMES}, seen"
    assert page.locator("#player .play").text_content() == "Play"
    page.locator("#player").focus()
    page.keyboard.press("ArrowLeft")
    assert output.text_content() == f"frame {FRAMES} of {FRAMES}, foretold"
    place = page.locator("#result-picture").evaluate("p => p.style.objectPosition")
    assert place.endswith("100%")
    page.keyboard.press("Space")
    assert page.locator("#player .play").text_content() == "Pause"
    page.keyboard.press("Space")
    page.get_by_role("button", name="slot 1 of A", exact=True).click()
    ready("3 slots: 3 of A, 0 of B (the run has 4)")
    page.get_by_role("spinbutton", name="Frames").fill("20")
    page.get_by_role("spinbutton", name="Frames").press("Enter")
    page.wait_for_function("() => document.querySelector('#player output').textContent.includes('of 20')")
    page.get_by_role("button", name="swap slot 2 between A and B").click()
    ready("3 slots: 2 of A, 1 of B (the run has 4)")
    page.get_by_role("button", name="clip 2 as B").click()
    page.wait_for_function("() => document.querySelectorAll('.picker .id')[1].textContent.includes('000002')")
    ready("3 slots: 2 of A, 1 of B (the run has 4)")
    with page.expect_download() as started:
        page.get_by_role("link", name="Download WebP").click()
    assert started.value.suggested_filename == "slotformer_demo-0-2.webp"
    started.value.save_as(tmp_path / "saved.webp")
    with Image.open(tmp_path / "saved.webp") as moving:
        assert (moving.format, moving.size) == ("WEBP", (SIDE, SIDE))
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("img:not([alt])").count() == 0
    context.close()
    assert heard == []
