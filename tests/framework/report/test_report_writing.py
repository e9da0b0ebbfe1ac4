"""The file: safe whatever the texts are, the same for the same runs, and written with whatever is there."""

import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from slotlab.framework.api.comparison import write_report
from slotlab.framework.compare.best_arms import best_arm
from slotlab.framework.compare.comparison import ComparisonRequest, compare_paths
from slotlab.framework.compare.shortlist import MOST
from slotlab.framework.report.build import marks
from slotlab.framework.report.page import Measure
from slotlab.framework.report.runs_and_provenance import provenance

EVIL = "<script>window.hit = 1</script><img src=x onerror='window.hit=1'>\"'></script>&lt;${7*7}{{7*7}}"


class Reader(HTMLParser):
    """Collects elements, attributes that run code or load something, and text."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.scripts, self.handlers, self.sources, self.text, self.inside = 0, [], [], [], None

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        self.scripts += tag == "script"
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        self.sources += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text.append(data)


def read(path):
    reader = Reader()
    reader.feed(path.read_text())
    return reader


def write(folder, place, **options):
    return write_report(compare_paths([folder], **options), place)


def change(path, **values):
    data = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**data, **values}))


def with_evil_texts(folder):
    """Put a text that would run into each field that a user or a run can set."""
    plan = json.loads((folder / "plan.json").read_text())
    plan.update(name=f"name {EVIL}", question=f"question {EVIL}")
    for number, arm in enumerate(plan["arms"]):
        arm["name"] = f"arm {number} {EVIL}"
    plan["compare"]["baseline"] = plan["arms"][0]["name"]
    for axis in plan["axes"]:
        axis.update(name=f"axis {EVIL}", values=[f"value {EVIL}"])
    (folder / "plan.json").write_text(json.dumps(plan))
    runs = sorted((folder.parents[1] / "runs").iterdir())
    for run in runs:
        facts = {"commit": f"commit {EVIL}", "device": f"device {EVIL}", "command": [f"command {EVIL}"]}
        change(
            run / "provenance.json",
            **facts,
            platform=EVIL,
            slotlab=EVIL,
            python=EVIL,
            packages={"torch": EVIL},
        )
        change(run / "cost.json", device=f"cost {EVIL}")
        for summary in run.glob("evaluation/*/summary.json"):
            data = json.loads(summary.read_text())
            for row in data["breakdowns"]["objects"]:
                row["group"] = f"group {row['group']} {EVIL}"
            change(
                summary,
                published=[{"method": f"published {EVIL}", "metric": "ari", "value": 0.5, "std": None}],
                breakdowns=data["breakdowns"],
            )
        for index in run.glob("evaluation/*/samples/index.json"):
            entries = json.loads(index.read_text())
            for entry in entries:
                entry["id"] = f"image {EVIL}"
            index.write_text(json.dumps(entries))
    failed = runs[-1]
    change(failed / "status.json", state="failed", reason=f"reason {EVIL}")
    shutil.rmtree(failed / "evaluation")


@pytest.fixture
def evil(study, tmp_path):
    folder = study(arms=2, seeds=3, images=6, pictures=True)
    with_evil_texts(folder)
    write_report(compare_paths([folder]), tmp_path / "report.html", title=f"title {EVIL}")
    return tmp_path / "report.html"


def test_no_text_becomes_markup(evil):
    reader = read(evil)
    assert reader.scripts == 5  # data, plots' library, plots, films, page
    assert not reader.handlers
    assert all(source.startswith(("data:", "#")) for source in reader.sources)
    text = "".join(reader.text)
    for field in (
        "title",
        "question",
        "arm 0",
        "axis",
        "value",
        "commit",
        "device",
        "reason",
        "published",
        "image",
    ):
        assert f"{field} {EVIL}" in text, field


def test_no_text_runs_in_a_browser(evil, show):
    window = show(evil)
    window.visit_all()
    for tab in window.page.locator("[role=tab]").all():
        tab.click()
    assert window.page.evaluate("window.hit") is None
    assert window.page.locator("[data-plot] a, [data-plot] img, [data-plot] script").count() == 0


def test_the_same_runs_give_the_same_file_wherever_they_lie(study, tmp_path):
    folder = study(arms=2, seeds=2, images=6, pictures=True, failed=0.2)
    write(folder, folder / "report.html")
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder.parents[1], moved, ignore=shutil.ignore_patterns("report.html"))
    there = moved / folder.relative_to(folder.parents[1])
    write(there, there / "report.html")
    first, second = (path / "report.html" for path in (folder, there))
    assert first.read_bytes() == second.read_bytes()
    assert str(tmp_path) not in first.read_text()


def test_the_policy_lets_nothing_be_loaded(study, tmp_path):
    write(study(arms=1, seeds=1), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    rules = dict(rule.strip().partition(" ")[::2] for rule in html.unescape(policy).split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    assert re.fullmatch(r"('sha256-[\w+/=]+' ?){4}", rules["script-src"])


LESS = {
    "no cost": lambda run: (run / "cost.json").unlink(),
    "no log": lambda run: (run / "metrics.jsonl").unlink(),
    "no provenance but the id": lambda run: (run / "provenance.json").write_text('{"run_id": "a"}'),
    "no breakdowns": lambda run: change(next(run.glob("evaluation/*/summary.json")), breakdowns={}),
    "an empty log": lambda run: (run / "metrics.jsonl").write_text(""),
}


@pytest.mark.parametrize("less", LESS)
def test_what_a_run_lacks_is_left_out(study, tmp_path, less):
    folder = study(arms=1, seeds=1)
    for run in (folder.parents[1] / "runs").iterdir():
        LESS[less](run)
    result = write(folder, tmp_path / "report.html")
    assert result["runs"] == 1
    sections = set(re.findall(r'<section[^>]* id="(\w+)"', (tmp_path / "report.html").read_text()))
    every = {"summary", "results", "settings", "runs", "provenance", "curves", "cost"}
    assert sections == every - ({"cost"} if less == "no cost" else set())


def test_one_run_without_anything_else_is_shown_in_the_browser(study, show, tmp_path):
    folder = study(arms=1, seeds=1)
    for run in (folder.parents[1] / "runs").iterdir():
        (run / "cost.json").unlink()
        (run / "metrics.jsonl").unlink()
    write(folder, tmp_path / "report.html")
    window = show(tmp_path / "report.html")
    window.visit_all()
    assert window.page.locator("#overview tbody tr").count() == 1


def test_the_command_writes_into_the_study_and_says_what(slotlab, study):
    folder = study(arms=2, seeds=2)
    code, out, err = slotlab("report", folder, "--json", "-")
    assert code == 0, err
    told = json.loads(out)
    place = folder / "report.html"
    assert told["report"] == str(place)
    assert told["bytes"] == place.stat().st_size
    assert (told["runs"], told["failed"], told["metrics"]) == (4, 0, ["ari", "fg_ari", "mse"])
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_title_metric_and_place_can_be_chosen(slotlab, study, tmp_path):
    folder = study(arms=2, seeds=2)
    place = tmp_path / "pages" / "mine.html"
    code, out, err = slotlab(
        "report", folder, "--out", place, "--title", "My <title>", "--metric", "mse", "--primary", "mse"
    )
    assert code == 0, err
    assert f"{place} (" in out
    text = place.read_text()
    assert "<title>My &lt;title&gt;</title>" in text
    assert 'id="metric-0"' in text
    assert 'id="metric-1"' not in text


def test_a_folder_is_no_file(slotlab, study):
    folder = study(arms=1, seeds=1)
    code, out, err = slotlab("report", folder, "--out", folder)
    assert (code, out, err) == (1, "", f"error: {folder} is a folder; name a file in it with --out\n")


@pytest.mark.parametrize("name", ["x.pdf", "x"])
def test_a_report_is_html(slotlab, study, tmp_path, name):
    place = tmp_path / name
    code, out, err = slotlab("report", study(arms=1, seeds=1), "--out", place)
    text = f"--out {place}: a report is HTML, so its name ends in .html or .htm, as {tmp_path}/x.html does"
    assert (code, out, err) == (1, "", f"error: {text}; browsers print it as PDF\n")
    assert not place.exists()


def test_the_page_opens_on_the_primary_metric(study, show, tmp_path):
    folder, place = study(arms=3, seeds=2), tmp_path / "report.htm"
    choice = ComparisonRequest(
        baseline=json.loads((folder / "plan.json").read_text())["arms"][1]["name"], primary="mse"
    )
    write_report(compare_paths([folder], choice), place)
    page = show(place).page
    tabs = page.locator("[role=tablist][aria-label=Metric] [role=tab]")
    assert [tab.get_attribute("aria-selected") for tab in tabs.all()] == ["false", "false", "true"]
    assert [panel.is_visible() for panel in page.locator("[role=tabpanel][id^=metric-]").all()] == [
        *(False, False, True)
    ]
    assert page.locator("[data-for=scatter-metric]").input_value() == "2"


def test_what_compare_refuses_is_refused_and_the_old_file_stays(slotlab, study):
    folder = study(arms=2, seeds=2)
    place = folder / "report.html"
    place.write_text("old")
    summary = min((folder.parents[1] / "runs").glob("*/evaluation/*/summary.json"))
    change(summary, data={**json.loads(summary.read_text())["data"], "fingerprint": "of other files"})
    code, out, err = slotlab("report", folder)
    assert (code, out) == (1, "")
    assert "of other files" in err
    assert place.read_text() == "old"


def test_no_torch_is_imported(study):
    folder = study(arms=1, seeds=1)
    code = (
        "import sys\n"
        "from slotlab.framework.cli.main import app\n"
        "app(['report', sys.argv[1]], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=True)
    assert (folder / "report.html").is_file()


def test_no_two_arms_share_color_and_shape(study):
    comparison = compare_paths([study(arms=110, seeds=1)])
    found = marks(comparison, [])
    assert len(set(found)) == len(found) == 110


def test_of_too_many_arms_those_on_a_front_have_marks_of_their_own(study):
    comparison = compare_paths([study(arms=130, seeds=1)])
    front = (0, 3, 125, 127, 129)
    found = marks(comparison, [Measure("time", "h", [1.0] * 130, fronts={"ari": front})])
    assert len({found[arm] for arm in front}) == len(front)


def test_the_best_arms_are_drawn_first_and_what_is_hidden_is_said(study, show):
    folder = study(arms=20, seeds=2)
    comparison, place = compare_paths([folder]), folder / "report.html"
    write_report(comparison, place)
    best = [best_arm(comparison, metric).name for metric in comparison.metrics]
    shown = show(place)
    pressed = shown.page.locator(".legend .arm[aria-pressed=true]")
    names = [chip.get_attribute("title") for chip in pressed.all()]
    assert {comparison.baseline, *best} <= set(names)
    assert len(names) == MOST
    words = shown.page.locator("#hidden-arms")
    rule = "shown are the baseline, the best of each metric and the best by ari"
    assert words.inner_text() == f"8 of 20 arms are hidden in plots and pictures: {rule}. Tables have all."
    pressed.first.click()
    assert words.inner_text() == "9 of 20 arms are hidden in plots and pictures. Tables have all."
    shown.page.locator("#all-arms").click()
    assert words.inner_text() == ""


def test_a_plugin_of_ones_own_is_never_counted_among_others(study):
    folder = study(arms=2, seeds=2)
    for number, path in enumerate(sorted((folder.parents[1] / "runs").glob("*/provenance.json"))):
        told = json.loads(path.read_text())
        many = [
            {"kind": "metric", "name": f"m{number}_{i}", "version": 1, "source": "slotlab 0.1.0"}
            for i in range(30)
        ]
        mine = {"kind": "encoder", "name": f"mine{number}", "version": 1, "source": f"mine.py@{number}"}
        path.write_text(json.dumps({**told, "components": [*many, mine]}))
    facts = {fact.label: dict(fact.values) for fact in provenance(compare_paths([folder]))}
    assert set(facts["own plugins"]) == {f"encoder mine{i}, version 1 (mine.py@{i})" for i in range(4)}
    assert list(facts["components"])[-1] == "… and 80 more"
