"""Films on the page: they play together, step, obey keys and those who want no motion, and fall back to pictures."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.api.comparison import write_report
from slotlab.framework.compare.comparison import compare_paths
from slotlab.framework.report import gallery as module
from slotlab.framework.report.gallery import gallery

FRAMES = 6
STATE = """() => [...document.querySelectorAll("img[data-frames]")]
    .map((film) => Math.round(parseFloat(film.style.objectPosition.split(" ")[1]) / 100 * (film.dataset.frames - 1)))"""


@pytest.fixture(scope="module")
def study(made_up, tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("films"), arms=2, seeds=1, images=8, pictures=True, frames=FRAMES)


@pytest.fixture(scope="module")
def page(study):
    place = study / "report.html"
    write_report(compare_paths([study]), place)
    return place


@pytest.fixture
def still(show, page):
    """The page of somebody who wants no motion."""
    return show(page, reduced_motion="reduce").page


def frame(page):
    [at] = set(page.evaluate(STATE))
    return at


def player(page):
    return page.locator("[data-player]").first


def test_all_films_play_together_unless_motion_is_unwanted(show, page, still):
    moving = show(page).page
    button = player(moving).locator("[data-play]")
    assert button.inner_text() == "Pause"
    seen = f"() => (window.seen = (window.seen ?? new Set()).add(({STATE})()[0])).size > 2"
    moving.wait_for_function(seen)
    frame(moving)
    button.click()
    assert button.inner_text() == "Play"
    assert player(still).locator("[data-play]").inner_text() == "Play"
    for window in (moving, still):
        at = frame(window)
        window.wait_for_timeout(400)
        assert frame(window) == at


def test_films_step_by_button_slider_and_keys(still):
    films = player(still)
    films.locator("input[type=range]").fill("0")
    words = films.locator("output")
    assert (frame(still), words.inner_text()) == (0, f"frame 1 of {FRAMES}, seen")
    films.get_by_label("One frame forward").click()
    assert frame(still) == 1
    films.get_by_label("One frame back").click()
    films.get_by_label("One frame back").click()
    assert (frame(still), words.inner_text()) == (FRAMES - 1, f"frame {FRAMES} of {FRAMES}, foretold")
    films.focus()
    image = still.locator("[data-gallery] output").first.inner_text()
    for key, expected in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0)):
        still.keyboard.press(key)
        assert frame(still) == expected
    assert image == "video 1 of 8: 000000"
    assert still.locator("[data-gallery] output").first.inner_text() == image, "no other video"
    for label in ("Pause", "Play"):
        still.keyboard.press("Space")
        assert films.locator("[data-play]").inner_text() == label
    films.locator("[data-slow]").check()
    assert (
        still.locator("[data-player] [data-slow]:checked").count() == still.locator("[data-player]").count()
    )
    films.locator("[data-slow]").uncheck()


def test_a_frame_is_shown_whole_and_alone(still):
    """What is in sight has the colors of that frame: it is as high as one, and moved by whole frames."""
    films = still.locator(".frame:not([hidden]) .strip img.film")
    assert films.count() == 6
    for film in films.all():
        width, height = film.evaluate("f => [f.clientWidth, f.clientHeight]")
        natural = film.evaluate("f => f.naturalHeight / f.naturalWidth")
        assert abs(height - width) <= 1
        assert natural == FRAMES
        assert "frames" in film.get_attribute("alt")


def decoded(picture):
    head, _, data = picture.uri.partition(",")
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return head, np.asarray(image.convert("RGB"))


def test_films_are_passed_on_as_they_are_and_pictures_where_one_is_damaged(study):
    comparison = compare_paths([study])
    for one in gallery(comparison).frames:
        for picture in [*one.truth, *(p for tile in (*one.tiles, *one.slots) for p in tile.pictures)]:
            head, pixels = decoded(picture)
            assert head == "data:image/webp;base64"
            assert (picture.frames, picture.foretold) == (FRAMES, FRAMES // 2)
            assert pixels.shape[:2] == (picture.size[1] * FRAMES, picture.size[0])
            first = pixels[: picture.size[1]]
            for number, shown in enumerate(np.split(pixels, FRAMES)):
                assert np.array_equal(shown, np.roll(first, number, axis=1))
    [samples] = {member.evaluation.folder / "samples" for member in comparison.arms[0].members}
    film, kept = samples / "000000-predicted-film.webp", (samples / "000000-predicted-film.webp").read_bytes()
    film.write_bytes(b"no film")
    found = gallery(comparison)
    film.write_bytes(kept)
    assert [picture.frames for picture in found.frames[0].tiles[0].pictures] == [FRAMES, 1]
    assert found.left_out.startswith(f"1 picture cannot be read: {film}")


def test_films_that_do_not_fit_give_way_to_pictures(study, monkeypatch):
    def shown(comparison):
        frames = gallery(comparison).frames
        return [one for frame in frames for tile in frame.tiles for one in (*frame.truth, *tile.pictures)]

    comparison = compare_paths([study])
    whole = shown(comparison)
    assert {picture.frames for picture in whole} == {FRAMES}
    half = sum(len(uri) for uri in {picture.uri for picture in whole}) // 2
    monkeypatch.setattr(module.PictureEmbedder, "__init__", lambda self: small(self, half))
    assert {picture.frames for picture in shown(comparison)} == {1, FRAMES}


def small(self, left):
    self.left, self.refused, self.known, self.damaged = left, 0, {}, []
