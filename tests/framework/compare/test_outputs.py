"""A comparison as tables, numbers and figures: nothing is lost, and users' text stays text."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotlab.framework.compare.arm_styles import plain, style_arms
from slotlab.framework.compare.best_arms import best_arm
from slotlab.framework.compare.comparison import Comparison, compare_paths
from slotlab.framework.compare.csv_json import as_csv, as_json
from slotlab.framework.compare.differing_settings import short_names
from slotlab.framework.compare.draw_all import draw
from slotlab.framework.compare.draw_cost import pareto
from slotlab.framework.compare.draw_curves import band
from slotlab.framework.compare.results import Arm, Difference
from slotlab.framework.compare.shortlist import shortlist
from slotlab.framework.compare.table_markup import (
    MOST_ROWS,
    escape_latex,
    escape_markdown,
    latex,
    markdown,
)
from slotlab.framework.compare.tables import facts, tables
from slotlab.framework.compare.text_table import TextTable, chance, decimals, number
from slotlab.framework.system.terminal import visible

NASTY = r"a|b_c & 50% $x^2$ {#} \alpha *b* `c` <script> [l](u) ~ ^ é"


@pytest.fixture(scope="module")
def comparison(study: Path) -> Comparison:
    return compare_paths([study])


@pytest.fixture(scope="module")
def nasty(comparison: Comparison) -> Comparison:
    first, second, *rest = comparison.arms
    return replace(comparison, arms=(first, replace(second, name=NASTY), *rest))


def undo_latex(text: str) -> str:
    """Read LaTeX as LaTeX does, for the few commands that escaping uses."""
    words = {
        "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<",
        "textgreater": ">", "textbar": "|", "textquotedbl": '"',
    }  # fmt: skip
    text = text.replace(r"$\pm$", "±").replace(r"$\uparrow$", "↑").replace(r"$\downarrow$", "↓")
    assert not re.search(r"(?<!\\)[&%$#_^~<>|]", text), text
    return re.sub(r"\\(\w+)\{\}|\\(.)", lambda match: words[match[1]] if match[1] else match[2], text)


@given(st.text())
def test_latex_prints_what_was_written(text: str) -> None:
    assert undo_latex(escape_latex(text)) == visible(" ".join(text.split()))


@given(st.text(st.sampled_from("a1 |*_`<>[]#&$~\\\n")))
def test_markdown_shows_what_was_written(text: str) -> None:
    escaped = escape_markdown(text)
    assert re.sub(r"\\(.)", r"\1", escaped) == visible(" ".join(text.split()))
    assert not re.search(r"(?<!\\)(\\\\)*[|*_`<>\[\]#&$~]", escaped)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]]


def test_a_markdown_table_has_a_cell_for_each_value(nasty: Comparison) -> None:
    every = tables(nasty)
    text = markdown(every, facts(nasty))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == sum(len(table.rows) + 2 for table in every)
    written = [[re.sub(r"\\(.)", r"\1", cell) for cell in cells(line)] for line in lines if "---" not in line]
    assert written == [[*row] for table in every for row in (table.columns, *table.rows)]
    assert sum(NASTY in row for row in written) == len(every)


def test_a_latex_table_has_a_cell_for_each_value(nasty: Comparison) -> None:
    every = tables(nasty)
    text = latex(every, facts(nasty))
    assert text.startswith("% needs \\usepackage{booktabs,adjustbox,longtable}\n")
    fitted = (r"\begin{adjustbox}{max width=\linewidth}", r"\end{adjustbox}", r"\label{tab:")
    for command in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{table}", r"\end{table}", *fitted):
        assert text.count(command) == len(every)
    labels = re.findall(r"\\label\{tab:[a-z0-9-]+\}", text)
    assert len(set(labels)) == len(every)
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(rows) == sum(len(table.rows) + 1 for table in every)
    widths = [len(re.split(r"(?<!\\)&", row)) for row in rows]
    assert widths == [len(table.columns) for table in every for _ in (0, *table.rows)]
    outside = [line for line in text.splitlines() if line and not line.startswith(("%", "  ", "\\"))]
    assert outside == []


def test_labels_of_latex_end_with_a_whole_word() -> None:
    titles = [
        "fg_ari ↑: difference to 'initializer=gaussian' paired by seed",
        "a" * 60,
        "x" * 48,
        f"{'b' * 47} cd",
    ]
    text = latex([TextTable(title, ("a",), (("b",),)) for title in titles], [])
    labels = re.findall(r"\\label\{tab:([a-z0-9-]+)\}", text)
    assert labels == ["fg-ari-difference-to-initializer-gaussian-paired", "a" * 48, "x" * 48, "b" * 47]


def test_latex_has_true_minus_signs_and_no_bracket_after_a_line_break() -> None:
    table = TextTable(
        "t", ("arm", "difference", "interval"), (("a-1", "-0.5", "[-1.0, +2.0]"), ("[b]", "-", "+1e-5"))
    )
    rows = [line for line in latex([table], []).splitlines() if line.endswith("\\\\")]
    assert rows[1:] == [r"  a-1 & $-$0.5 & {}[$-$1.0, +2.0] \\", r"  {}[b] & -- & +1e-5 \\"]


def test_a_table_longer_than_a_page_goes_on_with_its_head() -> None:
    columns = ("arm", "ari")
    for rows, environment in ((MOST_ROWS, "table"), (MOST_ROWS + 1, "longtable")):
        table = TextTable("t", columns, tuple((f"a{i}", "1") for i in range(rows)))
        text = latex([table], [])
        assert rf"\begin{{{environment}}}" in text
        assert text.count(r"arm & ari \\") == (1 if environment == "table" else 2)
        assert len(re.findall(r"^  a\d+ & 1 ", text, re.MULTILINE)) == rows


def test_a_best_mean_is_bold_only_where_the_test_bears_it_out(comparison: Comparison) -> None:
    for p in (0.2, 0.05, 0.049):
        metric = comparison.primary
        best = best_arm(comparison, metric)
        assert best is not None
        arms = [
            replace(arm, binding=None, differences=with_p(arm, metric.name, p)) for arm in comparison.arms
        ]
        shown = tables(replace(comparison, arms=tuple(arms)))[0]
        column = len(shown.columns) - len(comparison.metrics) + comparison.metrics.index(metric)
        row = [arm.name for arm in arms].index(best.name)
        bold = {cell for cell in shown.best if cell[1] == column}
        assert bold == ({(row, column)} if p < 0.05 else set())
        marked = [
            line
            for line in latex([replace(shown, best=frozenset(bold))], []).splitlines()
            if r"\textbf" in line
        ]
        assert [line.split("&")[0].strip() for line in marked] == ([escape_latex(best.name)] if bold else [])


def with_p(arm: Arm, metric: str, p: float) -> dict[str, Difference]:
    return {name: replace(one, p_holm=p if name == metric else 1.0) for name, one in arm.differences.items()}


def test_numbers_are_written_for_people() -> None:
    assert [number(0.12345, 3), number(None, 3), number(0.5, 2, signed=True), number(float("nan"), 1)] == [
        "0.123", "-", "+0.50", "-",
    ]  # fmt: skip
    assert [chance(p) for p in (None, 1e-9, 0.00123, 0.0321, 0.25, 1.0)] == [
        "-", "< 0.0001", "0.0012", "0.032", "0.25", "1.00",
    ]  # fmt: skip


def test_csv_and_json_hold_all_numbers_in_full(nasty: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(nasty))))
    data = json.loads(json.dumps(as_json(nasty), allow_nan=False))
    assert len(rows) == len(nasty.arms) * len(nasty.metrics)
    for row in rows:
        arm = nasty.arm(row["arm"])
        (written,) = [one for one in data["arms"] if one["name"] == row["arm"]]
        statistics, difference = arm.statistics[row["metric"]], arm.differences.get(row["metric"])
        assert float(row["mean"]) == statistics.mean == written["statistics"][row["metric"]]["mean"]
        assert statistics.interval is not None
        assert [float(row["low"]), float(row["high"])] == written["statistics"][row["metric"]]["interval"]
        assert (row["p_holm"] == "") == (difference is None)
        for name in ("mean", "std", "median", "iqm"):
            assert float(row[name]) == getattr(statistics, name)
        for name in ("t", "p", "effect", "detectable", "detectable_difference", "least_p"):
            assert row[name] == ("" if difference is None else str(getattr(difference, name)))
        if difference is not None:
            assert difference.interval is not None
            ends = (difference.interval.low, difference.interval.high)
            assert (float(row["difference"]), float(row["difference_std"])) == (
                difference.mean,
                difference.std,
            )
            assert (float(row["difference_low"]), float(row["difference_high"])) == ends
            assert int(row["pairs"]) == difference.count
            told = written["differences"][row["metric"]]
            assert told["interval"] == list(ends)
            assert told["by_seed"] == {str(seed): value for seed, value in difference.by_seed.items()}
            for name in ("mean", "std", "t", "p", "effect", "detectable", "detectable_difference", "least_p"):
                assert told[name] == getattr(difference, name)
        assert (int(row["seeds"]), int(row["failed"])) == (statistics.count, len(arm.failed))
        if difference is not None:
            assert (
                float(row["p_holm"]) == difference.p_holm == written["differences"][row["metric"]]["p_holm"]
            )
        assert row["model.grouping.iterations"] == str(arm.settings["model.grouping.iterations"])
    assert [run["seed"] for run in data["arms"][0]["runs"]] == [0, 1, 2]
    assert data["left_out"] == {}


def test_published_rows_of_the_compared_metrics_stand_beside(synthetic: ModuleType, tmp_path: Path) -> None:
    study = synthetic.write_study(tmp_path, arms=1, seeds=2, images=4)
    row = {"method": "Slot Attention", "metric": "ari", "value": 0.624, "std": None, "seeds": 3}
    row |= {"train": "full", "source": "a paper", "protocol": "whole", "note": ""}
    for file in tmp_path.glob("runs/*/evaluation/*/summary.json"):
        summary = json.loads(file.read_text())
        file.write_text(json.dumps({**summary, "published": [row, {**row, "metric": "mbo"}]}))
    found = compare_paths([study])
    assert found.published == (row,)
    (table,) = [one for one in tables(found) if one.title == "published numbers under the same protocol"]
    assert table.columns == ("method", "metric", "mean", "±", "± is", "seeds", "trained on", "source")
    assert table.rows == (("Slot Attention", "ari", "0.624", "-", "-", "3", "full", "a paper"),)
    kinds = ((None, "not said"), ("std", "std"), ("standard_error", "standard error"))
    for spread, words in kinds:
        shown = replace(found, published=({**row, "std": 0.02, "spread": spread},))
        [line] = next(one for one in tables(shown) if one.title == table.title).rows
        assert line[3:5] == ("0.02", words)


def test_a_published_row_of_two_conditions_stands_once(synthetic: ModuleType, tmp_path: Path) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=1, images=4)
    row = {"method": "Slot Attention", "metric": "ari", "value": 0.624, "source": "a paper"}
    for place, file in enumerate(sorted(tmp_path.glob("runs/*/evaluation/*/summary.json"))):
        facts = {"published": [row], "filter": f"0 to {place} objects by metadata"}
        file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))
    assert compare_paths([study], across={"filter"}).published == (row,)


@pytest.mark.parametrize(
    ("spreads", "means", "places"),
    [
        ([0.012], [0.5], 3), ([0.1], [0.5], 2), ([0.0999], [0.5], 3), ([1.0], [9.0], 1), ([12.0], [9.0], 0),
        ([0.5, 0.02, 0.0, None, 0.03], [1.0] * 5, 3), ([0.0, None], [5.0, None], 3), ([None], [0.0], 3), ([1e-12], [1.0], 8),
    ],
)  # fmt: skip
def test_numbers_have_the_decimals_that_show_two_digits_of_the_median_spread(
    comparison: Comparison, spreads: list[float | None], means: list[float | None], places: int
) -> None:
    """Without a spread, of a hundredth of the median mean."""
    metric, first = comparison.metrics[0], comparison.arms[0]
    statistics = [
        replace(first.statistics[metric.name], std=std, mean=mean)
        for std, mean in zip(spreads, means, strict=True)
    ]
    arms = tuple(replace(first, statistics={metric.name: one}) for one in statistics)
    assert decimals(replace(comparison, arms=arms), metric) == places


def test_chances_are_written_with_two_digits_on_both_sides_of_a_tenth() -> None:
    assert [chance(p) for p in (0.99e-4, 1e-4, 0.0999, 0.1, 0.104)] == [
        "< 0.0001",
        "0.0001",
        "0.1",
        "0.10",
        "0.10",
    ]


POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


@given(POINTS, st.booleans())
def test_the_front_is_what_no_other_beats(points: list[tuple[int, int]], higher: bool) -> None:
    def beats(one: Sequence[float], other: Sequence[float]) -> bool:
        better = one[1] >= other[1] if higher else one[1] <= other[1]
        return one[0] <= other[0] and better and tuple(one) != tuple(other)

    front = pareto(points, higher_is_better=higher)
    assert set(front) == {i for i, point in enumerate(points) if not any(beats(one, point) for one in points)}
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)


def test_a_band_stands_where_all_seeds_have_a_value() -> None:
    found = band([{1: 1.0, 2: 2.0, 3: 3.0}, {2: 4.0, 3: 1.0}])
    assert (found.x, found.mean, found.low, found.high) == ((2, 3), (3.0, 2.0), (2.0, 1.0), (4.0, 3.0))
    assert band([]).x == ()


def test_figures_are_drawn_as_png_and_pdf_whatever_arms_are_called(nasty: Comparison, tmp_path: Path) -> None:
    odd = replace(nasty.arms[2], name=r"_$\frac{1}$ ^", differences={})
    found = draw(replace(nasty, arms=(*nasty.arms[:2], odd), metrics=nasty.metrics[:1]), tmp_path)
    names = {stem.name for stem in found.stems}
    assert {"intervals-ari", "differences-ari", "objects-ari", "cost-time"} <= names
    assert {"curve-train-loss", "curve-validation-ari"} <= names
    for stem in found.stems:
        assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert stem.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert found.note == ""


def test_figures_show_the_baseline_and_the_best(comparison: Comparison) -> None:
    means = {arm.name: arm.statistics["ari"].mean or 0.0 for arm in comparison.arms}
    best = max((name for name in means if name != comparison.baseline), key=means.__getitem__)
    assert {arm.name for arm in shortlist(comparison, 2)} == {comparison.baseline, best}


def test_the_best_of_each_metric_is_among_the_shown(comparison: Comparison) -> None:
    for most in range(2, len(comparison.arms) + 1):
        shown = {arm.name for arm in shortlist(comparison, most)}
        assert len(shown) == most
        every = [best_arm(comparison, metric) for metric in (comparison.primary, *comparison.metrics)]
        wanted = dict.fromkeys([comparison.baseline, *(arm.name for arm in every if arm is not None)])
        assert set(list(wanted)[:2]) <= shown
        assert most < len(wanted) or set(wanted) <= shown


def test_no_two_arms_of_a_figure_look_alike(comparison: Comparison) -> None:
    """Not even where there is no line, as in a figure of costs."""
    arms = [replace(comparison.arms[0], name=str(i)) for i in range(40)]
    looks = style_arms(arms, "3")
    assert len({(one.color, one.marker) for one in looks.values()}) == 40
    assert looks["3"].color == "#222222"


def test_text_in_figures_is_no_mathematics() -> None:
    assert plain("a $x$ b") == r"a \$x\$ b"
    assert plain("_hidden") == " _hidden"


def test_settings_are_called_by_the_shortest_ends_that_tell_them_apart() -> None:
    """A number alone is no name: it stands behind what it numbers."""
    assert short_names(["model.encoder.name", "model.slots"]) == {
        "model.encoder.name": "encoder", "model.slots": "slots",
    }  # fmt: skip
    assert short_names(["a.phases.0.lr", "a.phases.1.lr", "b.lr"]) == {
        "a.phases.0.lr": "phases.0.lr", "a.phases.1.lr": "phases.1.lr", "b.lr": "b.lr",
    }  # fmt: skip
    assert short_names(["a.x.0", "a.x.1", "1"]) == {"a.x.0": "x.0", "a.x.1": "x.1", "1": "1"}
