"""The studio's server: laws of composing, and what it answers to bad requests."""

import io
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slotlab.framework.composition import Composer
from slotlab.framework.figures.slot_colors import rgb, slot_color
from slotlab.framework.studio import serve
from slotlab.framework.studio.app import create_app
from slotlab.framework.studio.studio import KEPT_IN_MEMORY, Studio
from slotlab.registry import SlotlabError

pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def studio(run_path: Path) -> Studio:
    return Studio(Composer.open(run_path, device=torch.device("cpu")))


@pytest.fixture
def client(studio: Studio) -> Any:
    from starlette.testclient import TestClient

    return TestClient(create_app(studio, hosts=["127.0.0.1"]), base_url="http://127.0.0.1")


def pixels(response: Any) -> np.ndarray[Any, Any]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return np.array(Image.open(io.BytesIO(response.content)))


def slots(image: int, numbers: Any = range(4)) -> list[dict[str, Any]]:
    return [{"image": image, "slot": slot} for slot in numbers]


def compose(client: Any, picks: Any, **fields: Any) -> Any:
    return client.post("/api/compose", json={"slots": picks, **fields})


# --- laws --------------------------------------------------------------------------------


def test_all_slots_of_an_image_are_its_reconstruction(client: Any) -> None:
    for image in (0, 7, 11):
        whole = compose(client, slots(image))
        assert whole.content == client.get(f"/api/images/{image}/reconstruction.png").content
        painted = compose(client, slots(image), show="segments")
        assert painted.content == client.get(f"/api/images/{image}/segments.png").content


def test_the_order_of_slots_changes_nothing_that_is_seen(client: Any) -> None:
    there, back = (pixels(compose(client, slots(3, order))) for order in ((0, 1, 2, 3), (3, 1, 0, 2)))
    assert np.abs(there.astype(int) - back).max() <= 1  # sums are taken in another order


def test_a_slot_that_is_moved_ends_at_the_other_one(client: Any) -> None:
    def moved(amount: float) -> bytes:
        pick = {"image": 0, "slot": 1, "toward": {"image": 5, "slot": 1}, "amount": amount}
        content: bytes = compose(client, [*slots(0, [0]), pick, *slots(0, [2, 3])]).content
        return content

    assert moved(0) == compose(client, slots(0)).content
    assert moved(1) == compose(client, [*slots(0, [0]), *slots(5, [1]), *slots(0, [2, 3])]).content
    assert len({moved(0), moved(0.5), moved(1)}) == 3


def test_dropping_a_slot_changes_the_picture(client: Any) -> None:
    pictures = {
        compose(client, slots(2, kept)).content for kept in ((0, 1, 2, 3), (0, 1, 2), (1, 2, 3), (1,))
    }
    assert len(pictures) == 4


def test_the_same_seed_gives_the_same_picture(run_path: Path, client: Any) -> None:
    drawn = {
        (seed, number): client.get(f"/api/samples/{seed}/{number}.png")
        for seed in (0, 5)
        for number in (0, 3)
    }
    assert all(pixels(one).shape == (16, 16, 3) for one in drawn.values())
    assert len({one.content for one in drawn.values()}) == 4
    other = Studio(Composer.open(run_path, device=torch.device("cpu")))
    from slotlab.framework.figures.png import to_png

    assert to_png(other.sample(5, 3)) == drawn[5, 3].content


def test_slots_are_shown_by_their_masks(client: Any) -> None:
    found = client.get("/api/images/4").json()
    assert [one["slot"] for one in found["slots"]] == [0, 1, 2, 3]
    assert [one["color"] for one in found["slots"]] == [slot_color(slot) for slot in range(4)]
    assert sum(one["area"] for one in found["slots"]) == pytest.approx(1)
    masks = [pixels(client.get(f"/api/images/4/slots/{slot}/mask.png")) for slot in range(4)]
    assert np.abs(np.sum(masks, axis=0, dtype=int) - 255).max() <= 2
    cutouts = [pixels(client.get(f"/api/images/4/slots/{slot}/cutout.png")) for slot in range(4)]
    for slot, cutout in enumerate(cutouts):
        assert cutout.shape == (16, 16, 4)
        assert np.array_equal(cutout[..., 3], masks[slot])
        assert found["slots"][slot]["area"] == pytest.approx(masks[slot].mean() / 255, abs=0.01)
    segments = pixels(client.get("/api/images/4/segments.png"))
    for slot, mask in enumerate(masks):
        largest = (segments == rgb(slot_color(slot))).all(axis=2)
        assert (mask[largest] == np.max(masks, axis=0)[largest]).all()
    parts = np.stack([cutout[..., :3] for cutout in cutouts])
    blended = (parts / 255 * np.stack(masks)[..., None]).sum(axis=0)
    whole = ((parts > 0) & (parts < 255)).all(axis=0)  # elsewhere parts were clipped, each by itself
    assert whole.any()
    difference = np.abs(blended - pixels(client.get("/api/images/4/reconstruction.png")))
    assert difference[whole].max() <= 3


def test_an_image_is_the_same_before_and_after_it_was_taken_apart(client: Any) -> None:
    before = client.get("/api/images/9/image.png").content
    assert client.get("/api/images/9").json()["id"] == "scenes_val_000009"
    assert client.get("/api/images/9/image.png").content == before


def test_only_so_many_images_are_remembered(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEPT_IN_MEMORY >= 2, "two images are mixed"
    monkeypatch.setattr("slotlab.framework.studio.studio.KEPT_IN_MEMORY", 2)
    fresh = Studio(studio.composer)
    first = fresh.take_apart(0)
    for image in (1, 0, 2, 0):
        fresh.take_apart(image)
    assert list(fresh._seen) == [2, 0]
    assert fresh.take_apart(0) is first, "what was used last is kept"


def test_facts_of_the_run(client: Any) -> None:
    assert client.get("/api/run").json() == {
        "name": "demo",
        "step": 4,
        "dataset": "scenes",
        "split": "val",
        "protocol": "whole (image_size 16)",
        "images": 12,
        "image_size": 16,
        "slots": 4,
        "seed": 0,
        "device": "cpu",
        "draws": False,
        "clips": 0,
        "history": None,
        "ratio": 1.0,
    }


# --- bad requests ------------------------------------------------------------------------

TOO_MANY = slots(0, [0] * 65)
BAD = [
    ("/api/images/12", None, "split 'val' has no image 12: they are 0 to 11"),
    ("/api/images/12/image.png", None, "split 'val' has no image 12: they are 0 to 11"),
    ("/api/images/-1", None, "position: Input should be greater than or equal to 0"),
    ("/api/images/1/slots/4/mask.png", None, "there is no slot 4: the slots are 0 to 3"),
    ("/api/images/1/slots/4/cutout.png", None, "there is no slot 4: the slots are 0 to 3"),
    ("/api/samples/-1/0.png", None, "seed: Input should be greater than or equal to 0"),
    (
        "/api/samples/x/0.png",
        None,
        "seed: Input should be a valid integer, unable to parse string as an integer",
    ),
    ("/api/compose", [], "slots: List should have at least 1 item after validation, not 0"),
    ("/api/compose", TOO_MANY, "slots: List should have at most 64 items after validation, not 65"),
    ("/api/compose", slots(12), "split 'val' has no image 12: they are 0 to 11"),
    ("/api/compose", slots(0, [9]), "there is no slot 9: the slots are 0 to 3"),
    ("/api/compose", [{"image": 0}], "slots.0.slot: Field required"),
    (
        "/api/compose",
        [{"image": 0, "slot": 0, "amount": 2}],
        "slots.0.amount: Input should be less than or equal to 1",
    ),
    ("/api/compose", [{"image": 0, "slot": 0, "x": 1}], "slots.0.x: Extra inputs are not permitted"),
    (
        "/api/compose",
        [{"image": 0, "slot": 0, "toward": {"image": 0, "slot": 7}}],
        "there is no slot 7: the slots are 0 to 3",
    ),
]


@pytest.mark.parametrize(("path", "picks", "words"), BAD)
def test_bad_requests_are_answered_in_words(client: Any, path: str, picks: Any, words: str) -> None:
    response = client.get(path) if picks is None else compose(client, picks)
    assert (response.status_code, response.json()) == (422, {"detail": words})


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/nothing", "/../api.py", "/..%2fapi.py", "/%2e%2e/studio.py"]
)
def test_nothing_else_is_served(client: Any, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_request_under_another_name_is_refused(client: Any) -> None:
    assert client.get("/api/run", headers={"host": "somewhere.example"}).status_code == 400


def test_the_page_loads_nothing_from_elsewhere(client: Any) -> None:
    from slotlab.framework.studio.app import HEADERS

    page = client.get("/")
    for name, value in HEADERS.items():
        assert page.headers[name] == value
    folder = Path(serve.__file__).parent / "static"
    for file in folder.iterdir():
        served = client.get(f"/{file.name}")
        assert served.content == file.read_bytes()
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http" not in text.replace('"http', "")
        assert "//" not in text.replace("// ", "")


# --- serving -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.2", False),
        ("studio.example", False),
    ],
)
def test_which_addresses_are_this_machines_alone(host: str, local: bool) -> None:
    assert serve.is_loopback(host) == local


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SlotlabError) as caught:
            serve.listen("127.0.0.1", port)
    words = f"cannot listen at 127.0.0.1:{port} (Address already in use); try another --port or --host"
    assert str(caught.value) == words


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    with pytest.raises(SlotlabError) as caught:
        serve.require_libraries()
    assert str(caught.value) == "the studio needs fastapi and uvicorn: pip install 'slotlab[studio]'"
