"""A made-up study with pictures, and its page in a browser."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from slotlab.framework.api.comparison import write_report
from slotlab.framework.compare.comparison import compare_paths

ROOT = Path(__file__).resolve().parents[3]
SIDE = 24
COLORS = np.array([[0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115]], np.uint8)


@pytest.fixture(scope="session")
def made_up(synthetic: ModuleType) -> Callable[..., Path]:
    """Write a study into a folder; `pictures` adds samples to each evaluation, `frames` as films."""

    def write(folder: Path, *, pictures: bool = False, frames: int = 1, **options: Any) -> Path:
        study = synthetic.write_study(folder, **options)
        if pictures:
            for number, evaluation in enumerate(sorted((folder / "runs").glob("*/evaluation/*"))):
                draw_samples(evaluation / "samples", seed=number, frames=frames)
        return study

    return write


@pytest.fixture
def study(made_up: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Write a study into a new folder."""
    return lambda **options: made_up(tmp_path / "made", **options)


def draw_samples(folder: Path, *, seed: int, frames: int = 1) -> None:
    """Draw discs on gray ground: 8 images that all runs share, and 2 best, median and worst."""
    from PIL import Image

    folder.mkdir()
    noise = np.random.default_rng(seed)
    index = []
    for position in range(14):
        labels = disc_labels(position)
        image = (COLORS[labels] // 2 + 60).astype(np.uint8)
        made = np.clip(image + noise.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
        predicted = np.roll(labels, int(noise.integers(-2, 3)), axis=1)
        slots = np.concatenate([made * (predicted == slot)[..., None] for slot in range(4)], axis=1)
        pictures = {
            "image": image,
            "reconstruction": made,
            "true": COLORS[labels],
            "predicted": COLORS[::-1][predicted],
            "slots": slots,
        }
        files = {}
        for name, pixels in pictures.items():
            files[name] = f"{position:06d}-{name}.png"
            Image.fromarray(pixels).save(folder / files[name])
            if frames > 1:  # it moves to the right
                film = np.concatenate([np.roll(pixels, number, axis=1) for number in range(frames)])
                files[f"{name}-film"] = f"{position:06d}-{name}-film.webp"
                Image.fromarray(film).save(folder / files[f"{name}-film"], lossless=True)
        role = "shared" if position < 8 else ("best", "median", "worst")[(position - 8) // 2]
        metrics = {"ari": round(float(noise.uniform(0.2, 0.9)), 3)}
        entry = {"id": f"{position:06d}", "position": position, "roles": [role], "metrics": metrics}
        moving = {"frames": frames, "foretold": frames // 2} if frames > 1 else {}
        index.append({**entry, **moving, "files": files})
    (folder / "index.json").write_text(json.dumps(index))


def disc_labels(seed: int) -> np.ndarray:
    """Return labels 0 to 3 of shape (SIDE, SIDE)."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), int)
    for label in (1, 2, 3):
        row, column = chance.uniform(4, SIDE - 4, 2)
        labels[(rows - row) ** 2 + (columns - column) ** 2 < chance.uniform(3, 5) ** 2] = label
    return labels


class Shown:
    """A page in the browser, with all that went wrong and all that was asked for."""

    def __init__(self, page: Any):
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: Path) -> None:
        """Load a file."""
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html.js")

    def visit_all(self) -> None:
        """Scroll to each plot, so that it is drawn."""
        for plot in self.page.query_selector_all("[data-plot]"):
            if plot.is_visible():
                plot.scroll_into_view_if_needed()
                self.page.wait_for_function("plot => plot.dataset.drawn === 'yes'", arg=plot)


@contextmanager
def showing(chromium: Any, path: Path, **options: Any) -> Iterator[Shown]:
    """Open a file in a new window; at the end nothing may have gone wrong in it."""
    context = chromium.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    shown = Shown(context.new_page())
    shown.open(path)
    yield shown
    context.close()
    assert shown.complaints == []
    assert [url for url in shown.requests if not url.startswith("data:")] == [path.as_uri()]


@pytest.fixture
def show(chromium: Any) -> Iterator[Callable[..., Shown]]:
    """Open files in the browser."""
    with ExitStack() as stack:
        yield lambda path, **options: stack.enter_context(showing(chromium, path, **options))


@pytest.fixture(scope="module")
def page(made_up: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of a study with pictures, once for all tests of a file."""
    study = made_up(tmp_path_factory.mktemp("page"), arms=4, seeds=3, images=12, pictures=True)
    place = study / "report.html"
    write_report(compare_paths([study], per_image=True), place)
    return place


@pytest.fixture(scope="module")
def window(chromium: Any, page: Path) -> Iterator[Shown]:
    """The page in one window for all tests of a file; each leaves it as it can be used by the next."""
    with showing(chromium, page) as shown:
        shown.visit_all()
        yield shown
