"""The documentation site: it is built without a warning, whole, and works from the file system without a network."""

import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from slotlab.framework.laws.kinds import LAWS
from slotlab.registry import KINDS, Registry

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow
LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "link": "href"}
"""What a page loads by itself, not at a click."""
PAGES = (
    "index.html",
    "tutorials/first_comparison.html",
    "how_to/plugins/decoder.html",
    "reference/components/dataset.html",
    "reference/errors/framework_spec.html",
    "reference/spec_keys.html",
    "zoo.html",
    "gallery.html",
)


class Links(HTMLParser):
    """What a page leads to, what it loads, and the places in it."""

    def __init__(self, text: str):
        super().__init__()
        self.leads: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.places |= {name for name in (found.get("id"), found.get("name")) if name}
        if tag == "a" and found.get("href"):
            self.leads.append(str(found["href"]))
        address = found.get(LOADED.get(tag, ""))
        if address and found.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built."""
    out = tmp_path_factory.mktemp("docs") / "built"
    command = [sys.executable, str(ROOT / "docs" / "site" / "build.py"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / "site"


@pytest.fixture(scope="module")
def read(site: Path) -> dict[Path, Links]:
    """What each page has, by its file."""
    return {path: Links(path.read_text()) for path in site.rglob("*.html")}


def test_every_link_leads_to_a_page_and_a_place_in_it(site: Path, read: dict[Path, Links]) -> None:
    for path, page in read.items():
        for link in page.leads:
            target, _, place = link.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            there = (path.parent / unquote(target)).resolve() if target else path
            assert there.is_file(), f"{path.relative_to(site)} leads to {link}"
            if place and there in read:
                assert unquote(place) in read[there].places, f"{path.relative_to(site)} leads to {link}"


def test_addresses_hold_in_any_folder(site: Path, read: dict[Path, Links]) -> None:
    """None begins at the root of a host: the site works from a folder and below an address."""
    for path, page in read.items():
        for address in (*page.leads, *page.loads):
            assert not re.match(r"/(?!/)", address), f"{path.relative_to(site)}: {address}"


def test_the_zoo_begins_with_a_row_for_each_spec(site: Path) -> None:
    table = (site / "zoo.html").read_text().partition("<h2")[0]
    for path in (ROOT / "experiments").rglob("*.yaml"):
        assert f'href="#{path.stem}"' in table, path.stem


def test_sources_lead_to_other_hosts(read: dict[Path, Links], site: Path) -> None:
    """Papers and homepages are links; nothing is loaded from them (a law of its own)."""
    papers = {link for link in read[site / "zoo.html"].leads if link.startswith("https://arxiv.org/abs/")}
    video = ("2111.12594", "2206.07764", "2205.14065", "2210.05861", "2412.14295")
    images = ("2110.11405", "2210.08990", "2312.00648", "2408.09162", "2006.15055", "2209.14860")
    assert {f"https://arxiv.org/abs/{number}" for number in (*video, *images)} <= papers
    assert any("kubric" in link for link in read[site / "datasets/movi.html"].leads)
    pages = [page for path, page in read.items() if path.parent.name == "datasets"]
    assert sum(any(link.startswith("http") for link in page.leads) for page in pages) > 5


@pytest.mark.parametrize(
    ("page", "leads", "name"),
    [
        (
            "how_to/plugins/dataset",
            "files/framework/contracts/dataset_settings.py",
            "framework/contracts/dataset_settings.py",
        ),
        (
            "how_to/plugins/dataset",
            "files/framework/contracts/dataset_capabilities.py",
            "framework/contracts/dataset_capabilities.py",
        ),
        ("how_to/ablations", "files/framework/study/launching.py", "framework/study/launching.py"),
        ("reference/laws", "reference/specs", "reference/specs"),
        ("reference/python/data", "reference/data", "reference/data"),
        ("reference/python/slotlab", "explanation/trust", "explanation/trust"),
    ],
)
def test_what_a_page_names_of_the_source_is_a_link(site: Path, page: str, leads: str, name: str) -> None:
    """An installed user has neither the source tree nor docs/."""
    text = (site / f"{page}.html").read_text()
    assert re.search(rf'<a href="[./]*{leads}.html">(<code>)?{name}(</code>)?</a>', text)


def test_names_of_pages_become_links_also_where_markup_is_escaped() -> None:
    sys.path.insert(0, str(ROOT / "docs" / "site"))
    try:
        from page import escaped, led_to_pages  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    text = led_to_pages(escaped("see docs/how_to/sharing.md, `docs/index.md` and x/docs/index.md"), "../")
    assert text == r"see [how\_to/sharing](../how_to/sharing.md), [index](../index.md) and x/docs/index.md"


def test_a_page_with_an_underscore_is_a_link_in_the_zoo_too() -> None:
    """Laws, the zoo and docstrings have one pattern for the names of pages."""
    sys.path.insert(0, str(ROOT / "docs" / "site"))
    try:
        from zoo import linked  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    assert linked("see docs/how_to/sharing.md") == r"see [how\_to/sharing](how_to/sharing.md)"


def test_commands_of_the_zoo_stand_where_the_spec_has_them() -> None:
    """Nothing is lifted out of its sentence: all words of a spec's comment come in its order."""
    sys.path.insert(0, str(ROOT / "docs" / "site"))
    try:
        from zoo import header_of  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    for path in (ROOT / "experiments").rglob("*.yaml"):
        said = [line[1:] for line in path.read_text().splitlines()[1:] if line.startswith("#")]
        pieces = header_of(path.read_text())
        found = [
            f"{piece.name}: {piece.text}" if piece.name not in ("", "commands") else piece.text
            for piece in pieces
        ]
        ours = " ".join(found).split()
        assert ours == " ".join(said).split(), path
        assert not any("gsutil" in piece.text for piece in pieces if piece.name != "commands"), path


def test_the_gallery_says_what_is_seen(site: Path) -> None:
    text = (site / "gallery.html").read_text()
    for picture in re.findall(r'<img alt="([^"]*)" src="([^"]+)"', text):
        assert " " in picture[0], picture
        assert Path(picture[1]).name not in picture[0], picture
    assert len(re.findall(r"From <a href", text)) == len(re.findall("<img alt", text)) > 30


def test_nothing_is_loaded_from_another_host(site: Path, read: dict[Path, Links]) -> None:
    for path, page in read.items():
        for address in page.loads:
            assert not re.match(r"([a-z]+:)?//", address), f"{path.relative_to(site)} loads {address}"
            assert (path.parent / unquote(address.partition("?")[0])).is_file(), f"{path.name}: {address}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text()), style.name


def test_every_component_command_and_law_has_its_place(
    read: dict[Path, Links], site: Path, registry: Registry
) -> None:
    for kind in KINDS:
        page = read[site / "reference" / "components" / f"{kind}.html"]
        for item in registry.all(kind):
            assert item.component.name in page.places, item
    told = unescape((site / "reference" / "laws.html").read_text())
    for laws in LAWS.values():
        assert all(law.name in told for law in laws)
    for path in (ROOT / "experiments").rglob("*.yaml"):
        assert path.stem in read[site / "zoo.html"].places, path.name


def test_no_markup_is_left_over(site: Path, read: dict[Path, Links]) -> None:
    for path in read:
        if "files" not in path.parts:
            text = re.sub(r"<(pre|code|script).*?</\1>", "", path.read_text(), flags=re.DOTALL)
            assert "```" not in text, path.relative_to(site)
            assert not re.search(r"\]\([\w./#]+\)", text), path.relative_to(site)


def test_no_page_shows_a_doubled_escape(site: Path, read: dict[Path, Links]) -> None:
    for path in read:
        if "reference" in path.parts or path.name == "zoo.html":
            text = re.sub(r"<pre.*?</pre>", "", path.read_text(), flags=re.DOTALL)
            assert not re.search(r"<code>[^<]*\\[_*\[]", text), path.relative_to(site)


@pytest.fixture
def opened(chromium: Any) -> Iterator[Any]:
    """A way to open a page without a network, on a screen of a width, in a color scheme."""
    contexts = []

    def make(width: int = 1280, scheme: str = "light") -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        context.set_default_timeout(120_000)
        context.set_offline(True)
        contexts.append(context)
        page = context.new_page()
        page.wrong = []
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("requestfailed", lambda request: page.wrong.append(request.url))
        return page

    yield make
    for context in contexts:
        context.close()


@pytest.mark.parametrize("word", ["invariant_slot_attention", "did you mean", "Holm"])
def test_search_finds_from_the_file_system(site: Path, opened: Any, word: str) -> None:
    page = opened()
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("Control+k")
    page.keyboard.type(word)
    page.get_by_text(re.compile(r"^[1-9][\d,]* results?$")).wait_for()
    assert page.wrong == []


@pytest.mark.parametrize("address", PAGES)
def test_a_phone_shows_a_page_without_scrolling_sideways(site: Path, opened: Any, address: str) -> None:
    page = opened(width=390)
    page.goto((site / address).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.wrong == []


def test_the_dark_scheme_follows_the_system(site: Path, opened: Any) -> None:
    def darkness(scheme: str) -> int:
        page = opened(scheme=scheme)
        page.goto((site / "index.html").as_uri())
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in re.findall(r"\d+", color)[:3])

    assert darkness("dark") < 150 < 600 < darkness("light")
