"""The studio's page in a real browser, served by the command as a user starts it."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
PIXELS = """picture => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return canvas.toDataURL();
}"""


@pytest.fixture(scope="module")
def address(run_path: Path, serve: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """The page of `slotlab studio RUN`, which ends well by Ctrl-C."""
    with serve(run_path, "studio of 'demo' with 12 images") as address:
        yield address


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    """The page with its first result; at the end the console must be empty."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(address)
    ready(page)
    page.wait_for_load_state("networkidle")
    yield page
    context.close()
    assert heard == []


def ready(page: Any, words: str = "4 slots: 4 of A, 0 of B") -> None:
    """Wait for the result of the last click, which has these words."""
    page.wait_for_selector("#result[aria-busy=false]")
    assert page.locator("#result-words").text_content() == words


def result(page: Any) -> str:
    return str(page.locator("#result-picture").evaluate(PIXELS))


def slot(page: Any, number: int, side: str) -> Any:
    return page.get_by_role("button", name=f"slot {number} of {side}", exact=True)


def pressed(page: Any) -> str:
    """Return the kept slots, such as `A0 A1 B2`."""
    sides = [(side, number) for side in "AB" for number in range(4)]
    kept = [s for s in sides if slot(page, s[1], s[0]).get_attribute("aria-pressed") == "true"]
    return " ".join(f"{side}{number}" for side, number in kept)


def test_slots_are_kept_dropped_and_swapped(page: Any) -> None:
    assert pressed(page) == "A0 A1 A2 A3"
    whole = result(page)
    assert whole == page.locator("img.reconstruction").nth(0).evaluate(PIXELS)
    slot(page, 1, "A").click()
    ready(page, "3 slots: 3 of A, 0 of B (the run has 4)")
    dropped = result(page)
    slot(page, 1, "B").click()
    ready(page, "4 slots: 3 of A, 1 of B")
    added = result(page)
    page.get_by_role("button", name="All of A").click()
    ready(page)
    assert result(page) == whole
    page.get_by_role("button", name="swap slot 1 between A and B").click()
    ready(page, "4 slots: 3 of A, 1 of B")
    assert pressed(page) == "A0 A2 A3 B1"
    assert result(page) == added
    assert len({whole, dropped, added}) == 3
    page.get_by_role("button", name="Swap all").click()
    ready(page, "4 slots: 1 of A, 3 of B")
    assert pressed(page) == "A1 B0 B2 B3"
    page.get_by_role("button", name="All of B").click()
    ready(page, "4 slots: 0 of A, 4 of B")
    assert result(page) == page.locator("img.reconstruction").nth(1).evaluate(PIXELS)


def test_swapped_slots_go_from_a_to_b(page: Any) -> None:
    slider = page.get_by_role("slider")
    assert slider.is_disabled()
    whole = result(page)
    page.get_by_role("button", name="swap slot 2 between A and B").click()
    ready(page, "4 slots: 3 of A, 1 of B")
    swapped = result(page)
    slider.fill("50")
    ready(page, "4 slots: 3 of A, 1 of B")
    assert result(page) not in (whole, swapped)
    slider.fill("0")
    ready(page, "4 slots: 3 of A, 1 of B")
    assert result(page) == whole


def test_without_slots_there_is_no_picture(page: Any) -> None:
    for number in range(4):
        slot(page, number, "A").click()
    ready(page, "no slot is kept; click one")
    assert page.locator("#result-picture").is_hidden()
    assert page.locator("#download").get_attribute("href") is None


def test_images_are_chosen_by_thumbnail_number_and_chance(page: Any) -> None:
    page.get_by_role("button", name="image 5 as A").click()
    page.wait_for_function("() => document.querySelector('.picker .id').textContent === 'scenes_val_000005'")
    assert page.get_by_role("button", name="image 5 as A").get_attribute("aria-pressed") == "true"
    ready(page)
    before = result(page)
    number = page.get_by_role("spinbutton", name="number of image A")
    number.fill("11")
    number.press("Enter")
    page.wait_for_function("() => document.querySelector('.picker .id').textContent === 'scenes_val_000011'")
    ready(page)
    assert result(page) != before
    assert page.get_by_role("button", name="image 8 as A").is_visible(), "the thumbnails go along"
    number.fill("12")
    number.press("Enter")
    assert page.get_by_role("alert").text_content() == "there is no image 12: they are 0 to 11"
    assert number.input_value() == "11"
    page.get_by_role("button", name="random image B").click()
    page.wait_for_load_state("networkidle")
    ready(page)
    assert int(page.get_by_role("spinbutton", name="number of image B").input_value()) in range(12)


def test_everything_can_be_done_by_keyboard(page: Any) -> None:
    page.get_by_role("button", name="All of A").focus()
    for _ in range(3):  # All of B, Swap all, the first slot
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    ready(page, "3 slots: 3 of A, 0 of B (the run has 4)")
    assert pressed(page) == "A1 A2 A3"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # swap
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    ready(page, "4 slots: 3 of A, 1 of B")
    page.get_by_role("radio", name="picture").focus()
    picture = result(page)
    page.keyboard.press("ArrowRight")
    ready(page, "4 slots: 3 of A, 1 of B")
    assert page.get_by_role("radio", name="segments").is_checked()
    assert result(page) != picture


def test_the_picture_is_downloaded_as_it_is_shown(page: Any, tmp_path: Path) -> None:
    from PIL import Image

    page.get_by_role("button", name="swap slot 0 between A and B").click()
    ready(page, "4 slots: 3 of A, 1 of B")
    with page.expect_download() as started:
        page.get_by_role("link", name="Download PNG").click()
    assert started.value.suggested_filename == "demo-0-1.png"
    started.value.save_as(tmp_path / "saved.png")
    with Image.open(tmp_path / "saved.png") as image:
        assert (image.format, image.size) == ("PNG", (16, 16))


def test_pictures_are_drawn_by_seed(page: Any) -> None:
    def drawn(button: str, seed: int) -> list[str]:
        page.get_by_role("button", name=button).click()
        page.locator("#samples-words", has_text=re.compile(f"^pictures of seed {seed}$")).wait_for()
        pictures = page.locator("#samples img")
        assert pictures.count() == 8
        return [pictures.nth(i).evaluate(PIXELS) for i in range(8)]

    first = drawn("Draw pictures", 0)
    second = drawn("Next seed", 1)
    assert page.get_by_role("spinbutton", name="Seed").input_value() == "1"
    assert page.locator("#samples figcaption").first.text_content() == "seed 1, 0"
    assert set(first).isdisjoint(second)
    page.get_by_role("spinbutton", name="Seed").fill("0")
    assert drawn("Draw pictures", 0) == first


def test_everything_has_a_name_and_fits_a_phone(chromium: Any, address: str) -> None:
    context = chromium.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(address)
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for control in page.get_by_role("button").all():
        label = control.get_attribute("aria-label") or control.text_content()
        assert re.search(r"\w", label), control.evaluate("element => element.outerHTML")
    assert page.locator("img:not([alt])").count() == 0
    slot(page, 3, "A").tap()
    ready(page, "3 slots: 3 of A, 0 of B (the run has 4)")
    assert page.locator("#result-picture").is_visible(), "the result stays in sight"
    context.close()
