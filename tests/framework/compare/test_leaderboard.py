"""Leaderboards: what tests do not bear gets no place of its own, and failures are counted, never averaged."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from slotlab.framework.api.leaderboard import leaderboard
from slotlab.framework.compare.comparison import Comparison, ComparisonRequest, compare
from slotlab.framework.compare.leaderboard import board_of
from slotlab.framework.compare.leaderboard_page import boards_json, findings, leaderboard_table, page
from slotlab.framework.compare.run_records import RunRecord
from slotlab.framework.system.json_files import read_json, write_json
from slotlab.registry import SlotlabError

from .conftest import Record


def arms(record: Record, values: Sequence[Sequence[float]], **facts: object) -> list[RunRecord]:
    """One arm for each list, with so many slots as its number, and a seed for each of its values."""
    return [
        record(f"{number}-{seed}", seed, value, settings={"model.slots": number}, **facts)
        for number, given in enumerate(values, start=4)
        for seed, value in enumerate(given)
    ]


def compared(runs: Sequence[RunRecord], **request: object) -> Comparison:
    return compare(runs, ComparisonRequest(**request))  # type: ignore[arg-type]


SPREAD = (0.0, 0.01, 0.03, 0.02, 0.05)
CLEAR = [[base + one * (1 + 0.1 * i) for one in SPREAD] for i, base in enumerate((0.2, 0.7, 0.4))]


def test_arms_that_differ_clearly_have_a_place_each(record: Record) -> None:
    board = board_of(compared(arms(record, CLEAR)))
    assert [one.arm.name for one in board.standings] == ["slots=5", "slots=6", "slots=4"]
    assert [one.places for one in board.standings] == [(1, 1), (2, 2), (3, 3)]
    assert findings(board)[0] == "slots=5 is better than slots=4, slots=6 in ari"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([[0.5], [0.9], [0.1]], id="one seed"),
        pytest.param([[0.1, 0.9], [0.2, 0.7], [0.3, 0.4]], id="two seeds"),
        pytest.param([[0.5, 0.6, 0.4]] * 3, id="equal"),
        pytest.param([[0.5, 0.1, 0.6, 0.2], [0.2, 0.6, 0.1, 0.5], [0.4, 0.3, 0.3, 0.5]], id="mixed up"),
    ],
)
def test_nothing_is_ranked_that_no_test_bears_out(record: Record, values: list[list[float]]) -> None:
    board = board_of(compared(arms(record, values)))
    assert {one.places for one in board.standings} == {(1, 3)}
    assert findings(board) == [
        "no test tells any two of these apart in ari: the order of their rows bears nothing"
    ]


def test_less_is_better_turns_the_board_round(record: Record) -> None:
    runs = [
        record(f"{number}-{seed}", seed, settings={"model.slots": number}, values={"mse": value})
        for number, given in enumerate(CLEAR, start=4)
        for seed, value in enumerate(given)
    ]
    board = board_of(compared(runs))
    assert [(one.arm.name, one.places) for one in board.standings] == [
        ("slots=4", (1, 1)),
        ("slots=6", (2, 2)),
        ("slots=5", (3, 3)),
    ]


def test_where_some_runs_bound_their_number_decides_and_no_t_test(record: Record) -> None:
    ten, half, none = [0.6] * 10, [0.6] * 5 + [0.1] * 5, [0.1] * 10
    jitter = [
        [one + 0.001 * seed * number for seed, one in enumerate(values)]
        for number, values in enumerate((ten, half, none), start=1)
    ]
    found = board_of(compared(arms(record, jitter), failed_below=0.3))
    better = {one.arm.name: one.worse for one in found.standings}
    # Fisher: 10 and 5 of 10 have p 0.033, 5 and 0 as well, which Holm's correction for three pairs takes away.
    assert better == {"slots=4": ("slots=6",), "slots=5": (), "slots=6": ()}
    plain = board_of(compared(arms(record, jitter)))
    assert {one.arm.name: one.worse for one in plain.standings}["slots=4"] == ("slots=5", "slots=6")


def test_failed_runs_are_counted_and_change_no_mean_and_no_place(record: Record) -> None:
    finished = arms(record, CLEAR)
    lost = [
        record(f"lost-{seed}", seed, state="failed", evaluations=0, settings={"model.slots": 5})
        for seed in (5, 6)
    ]
    never = record("never", 0, state="failed", evaluations=0, settings={"model.slots": 9})
    before, after = (board_of(compared(runs)) for runs in (finished, [*finished, *lost, never]))
    for one, other in zip(before.standings, after.standings, strict=False):
        assert (one.arm.name, one.places) == (other.arm.name, other.places)
        assert one.arm.statistics == other.arm.statistics
    assert [len(one.arm.failed) for one in after.standings] == [2, 0, 0, 1]
    last = after.standings[-1]
    assert (last.arm.name, last.places) == ("slots=9", None)
    text = page([after], title="T", command="c")
    assert text.count("| slots=5 | 5    |") == text.count("| slots=5 | 6    |") == 1
    assert "### failed runs" in text


def test_the_order_of_runs_changes_no_byte(record: Record) -> None:
    runs = arms(record, CLEAR)
    boards = [board_of(compared(order)) for order in (runs, runs[::-1])]
    first, second = (json.dumps(boards_json([board])) for board in boards)
    assert first == second
    assert page(boards[:1], title="T", command="c") == page(boards[1:], title="T", command="c")


class TestOfStudies:
    """Of folders on disk, with baselines."""

    @pytest.fixture
    def studies(self, synthetic: ModuleType, tmp_path: Path) -> list[Path]:
        found = []
        for name, seed in (("b", 1), ("a", 2)):
            study = synthetic.write_study(tmp_path / name, arms=3, seeds=3, failed=0.2, random_seed=seed)
            write_json(study / "plan.json", {**read_json(study / "plan.json"), "name": f"bench-{name}"})
            found.append(study)
        return found

    def test_the_order_of_folders_and_their_place_change_no_byte(
        self, studies: list[Path], tmp_path: Path
    ) -> None:
        pages = []
        for number, given in enumerate((studies, studies[::-1])):
            place = leaderboard(given).write(tmp_path / str(number) / "bench.md")
            pages.append((place.read_bytes(), place.with_suffix(".json").read_bytes()))
        for folder in ("a", "b"):
            shutil.move(tmp_path / folder, tmp_path / "elsewhere" / folder)
        moved = [tmp_path / "elsewhere" / one.relative_to(tmp_path) for one in studies]
        place = leaderboard(moved).write(tmp_path / "2" / "bench.md")
        pages.append((place.read_bytes(), place.with_suffix(".json").read_bytes()))
        assert pages[0] == pages[1] == pages[2]
        text = pages[0][0].decode()
        assert text.index("## bench-a") < text.index("## bench-b")
        assert str(tmp_path) not in text
        again = "slotlab bench table studies/bench-a studies/bench-b --out bench.md"
        assert f"Written by `{again}`" in text

    def test_a_baseline_is_one_row_whatever_the_number_of_arms(self, studies: list[Path]) -> None:
        (board, _) = leaderboard(studies).boards
        assert [(row.name, row.values["ari"]) for row in board.baselines] == [("one_segment", 0.0)]
        rows = leaderboard_table(board).rows
        assert len(rows) == len(board.standings) + 1
        assert rows[-1][0].startswith("baseline one_segment")
        assert board.notes == ()

    def test_a_baseline_that_contradicts_itself_is_told(self, studies: list[Path]) -> None:
        summary = next(studies[1].parents[1].glob("runs/*/evaluation/*/summary.json"))
        data = read_json(summary)
        data["methods"]["one_segment"]["ari"]["mean"] = 0.5
        write_json(summary, data)
        (board, _) = leaderboard(studies).boards
        (note,) = board.notes
        assert note.startswith("ari of the baseline one_segment differs between runs (0 to 0.5)")
        assert note in boards_json([board])["boards"][0]["findings"]

    def test_arms_that_are_no_better_than_a_baseline_are_named_once(self, studies: list[Path]) -> None:
        for summary in studies[1].parents[1].glob("runs/*/evaluation/*/summary.json"):
            data = read_json(summary)
            data["methods"]["one_segment"]["ari"]["mean"] = 0.99
            write_json(summary, data)
        board = leaderboard(studies[1])
        told = "no better in mean ari than a baseline without training (one_segment, 0.99)"
        assert page(board.boards, title="T", command="c").count(told.replace("_", r"\_")) == 1
        assert repr(board).count(told) == 1

    def test_mistakes_are_told(self, studies: list[Path], tmp_path: Path) -> None:
        board = leaderboard(studies)
        for file, message in (("page.html", "does not end in .md"), (".", "is a folder")):
            with pytest.raises(SlotlabError, match=message):
                board.write(tmp_path / file)
        copied = shutil.copytree(studies[0], studies[0].parent / "copy")
        with pytest.raises(SlotlabError, match="are both called 'bench-b'"):
            leaderboard(studies[0], copied)
        assert len(leaderboard(studies[0], studies[0]).boards) == 1
        with pytest.raises(SlotlabError, match="is not a study"):
            leaderboard(tmp_path)
        with pytest.raises(SlotlabError, match="name at least one study"):
            leaderboard()
