"""Compares runs: what `slotlab.compare` returns, and what `compare` and `report` do."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from slotlab.framework.api.choosing import chosen
from slotlab.framework.api.console import PlainConsole, grid_of, say, styled
from slotlab.framework.api.frames import as_frame
from slotlab.framework.api.given import Names, names_of
from slotlab.framework.api.transfer import local_runs
from slotlab.framework.compare import comparison as comparing
from slotlab.framework.compare.csv_json import as_csv, as_json, as_rows
from slotlab.framework.compare.differing_settings import setting_text
from slotlab.framework.compare.results import Arm, ComparedMetric, Comparison
from slotlab.framework.compare.table_markup import html, latex, markdown
from slotlab.framework.compare.tables import facts, tables
from slotlab.framework.system.atomic import write_output
from slotlab.framework.transfer.address import is_address
from slotlab.registry.errors import SlotlabError

if TYPE_CHECKING:
    from pandas import DataFrame

REPORT = "report.html"
PAGES = (".html", ".htm")
"""How the names of pages end."""
WIDTH = 140
"""Columns of tables that are shown as text where there is no terminal."""


@dataclass(frozen=True, repr=False)
class RunComparison:
    """Runs grouped by everything but the seed. Shows itself as tables, in a notebook as HTML."""

    comparison: Comparison
    """All numbers as data: arms, statistics, paired differences."""
    details: tuple[ComparedMetric, ...]
    """The metrics whose tables are shown in full."""

    def frame(self) -> "DataFrame":
        """Return one row for each arm and metric: mean, spread, interval, paired test, cost, settings.

        The columns are those of the CSV that `slotlab compare --format csv` prints. Settings in which arms
        differ have columns of their own, by path; a value that is no number, word or truth value is text.

        Raises:
            SlotlabError: if pandas is not installed.
        """
        rows = as_rows(self.comparison)
        arms = {arm.name: arm for arm in self.comparison.arms}
        differing = self.comparison.differing
        return as_frame([{**row, **settings_of(arms[row["arm"]], differing)} for row in rows])

    def runs_frame(self) -> "DataFrame":
        """Return one row for each run that is counted: arm, folder, seed, settings, value of each metric.

        Raises:
            SlotlabError: if pandas is not installed.
        """
        names = [metric.name for metric in self.comparison.metrics]
        rows = [
            {
                "arm": arm.name,
                "run": str(member.run.path),
                "seed": member.run.seed,
                "evaluation": member.evaluation.name,
                **settings_of(arm, self.comparison.differing),
                **{name: member.evaluation.values.get(name) for name in names},
            }
            for arm in self.comparison.arms
            for member in arm.members
        ]
        return as_frame(rows)

    def write(self, folder: str | Path) -> Path:
        """Write comparison.md, .csv, .tex and .json, and the figures as PNG and PDF; return the folder.

        Raises:
            SlotlabError: for a summary that cannot be read.
        """
        write_comparison(self.comparison, Path(folder))
        return Path(folder)

    def report(self, file: str | Path = REPORT, *, title: str | None = None) -> Path:
        """Write one HTML page that needs no network, as `slotlab report` does; return its path."""
        check_place(Path(file))
        write_report(self.comparison, Path(file), title=title)
        return Path(file)

    def __repr__(self) -> str:
        text = io.StringIO()
        show_tables(PlainConsole(file=text, width=WIDTH, color_system=None), self.comparison, self.details)
        return text.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        return html(tables(self.comparison, details=self.details), facts(self.comparison))


def settings_of(arm: Arm, paths: Sequence[str]) -> dict[str, Any]:
    """Return the settings of an arm at paths: numbers, words and truth values as they are, others as text."""
    plain = (str, int, float, bool)
    values = {path: arm.settings.get(path) for path in paths}
    return {path: value if isinstance(value, plain) else _text(value) for path, value in values.items()}


def _text(value: Any) -> str | None:
    return None if value is None else setting_text(value)


def compare(
    *paths: Any,
    metrics: Names = (),
    primary: str | None = None,
    baseline: str | None = None,
    dataset: str | None = None,
    protocol: str | None = None,
    split: str | None = None,
    masks: str | None = None,
    checkpoint: str | int | None = None,
    evaluation: Mapping[str, object] | None = None,
    failed_below: float | None = None,
    unpaired: bool = False,
    also: Names = (),
    equivalent_within: float | None = None,
    tasks: str | None = None,
    across: Names = (),
    allow_unfinished: bool = False,
    per_image: bool = False,
    probes: bool = False,
) -> RunComparison:
    """Compare runs, folders of runs, or a study: grouped by all but the seed.

    >>> import slotlab
    >>> table = slotlab.compare("runs")  # or run folders one by one, or a study's folder
    >>> print(table.frame()[["arm", "metric", "seeds"]].to_string(index=False))
     arm metric  seeds
    demo    ari      2
    demo fg_ari      2
    demo    mse      2

    Args:
        paths: run folders, addresses of runs, folders of runs, or the folder of a study; what `train`,
            `open_run` and `ablate` returned; lists of these.
        metrics: those to compare; all without any. Their tables are shown in full.
        primary: the metric that decides; the first without it.
        baseline: the arm that the others are compared with.
        dataset: only evaluations on this dataset.
        protocol: only evaluations under this protocol.
        split: only evaluations on this split.
        masks: only evaluations of masks from the `decoder` or of `attention`.
        checkpoint: only evaluations of these weights: `best`, `last` or a step.
        evaluation: other facts of evaluations, such as `{"slots": 11}`.
        failed_below: runs with a worse primary metric count as runs that did not bind.
        unpaired: whether to compare arms without pairing their seeds too, by Welch's t test.
        also: further tests of the primary metric: `effects`, `all-pairs`, `dunnett`, `published`, `profiles`.
        equivalent_within: the margin of a test that arms are equivalent to the baseline.
        tasks: with `profiles`, the axis whose values are tasks.
        across: facts in which arms may differ, such as `protocol`.
        allow_unfinished: whether to count runs that were evaluated before they were done.
        per_image: whether to compare checkpoints over images too, by bootstrap.
        probes: whether to compare the runs' probes (docs/how_to/probing.md) in place of their evaluations.

    Returns:
        A comparison that shows itself, with `frame()`, `runs_frame()`, `write()` and `report()`.

    Raises:
        SlotlabError: for a path without runs, for an arm, metric or fact that is not there, and if the runs
            must not be compared, with all the reasons.
    """
    found = compare_paths(
        local_runs(paths),
        metrics=names_of(metrics),
        primary=primary,
        baseline=baseline,
        dataset=dataset,
        protocol=protocol,
        split=split,
        masks=masks,
        checkpoint=None if checkpoint is None else str(checkpoint),
        evaluation=[f"{name}={value}" for name, value in (evaluation or {}).items()],
        failed_below=failed_below,
        unpaired=unpaired,
        also=names_of(also),
        equivalent_within=equivalent_within,
        tasks=tasks,
        across=names_of(across),
        allow_unfinished=allow_unfinished,
        per_image=per_image,
        probes=probes,
    )
    return RunComparison(found, details_of(found, names_of(metrics)))


def compare_paths(
    paths: Sequence[str | Path],
    *,
    across: Sequence[str],
    allow_unfinished: bool,
    per_image: bool,
    probes: bool,
    **choice: Any,
) -> Comparison:
    """Compare runs; see `chosen` for what else can be said.

    Raises:
        SlotlabError: as `compare`.
    """
    return comparing.compare_paths(
        local_runs(paths),
        chosen(**choice),
        across=across,
        allow_unfinished=allow_unfinished,
        per_image=per_image,
        probes=probes,
    )


def details_of(comparison: Comparison, metrics: Sequence[str]) -> tuple[ComparedMetric, ...]:
    """Return the metrics that are shown in full: those that were asked for, else the primary one."""
    return tuple(one for one in comparison.metrics if one.name in metrics) or (comparison.primary,)


def show_tables(out: Console, comparison: Comparison, details: Sequence[ComparedMetric]) -> None:
    """Print the tables, and under them how to read them."""
    for table in tables(comparison, details=details):
        out.print(styled(table.title, "bold"), soft_wrap=True)
        out.print(grid_of(table))
        out.print()
    for line in facts(comparison):
        out.print(styled(line, "dim"), soft_wrap=True)


def as_text(comparison: Comparison, format_: str) -> str:
    """Return a comparison as the text of a file: `markdown`, `csv`, `latex` or `json`."""
    if format_ == "csv":
        return as_csv(comparison)
    if format_ == "json":
        return dumps(as_json(comparison), indent=2, allow_nan=False) + "\n"
    render = latex if format_ == "latex" else markdown
    return render(tables(comparison), facts(comparison))


ENDINGS = {"markdown": "md", "csv": "csv", "latex": "tex", "json": "json"}


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write comparison.md, .csv, .tex and .json, and the figures as PNG and PDF; say so on stderr."""
    from slotlab.framework.compare.draw_all import draw

    for format_, ending in ENDINGS.items():
        text = as_text(comparison, format_)
        write_output(folder / f"comparison.{ending}", text.encode(errors="backslashreplace"))
    drawn = draw(comparison, folder)
    note = f"; {drawn.note}" if drawn.note else ""
    endings = ",".join(ENDINGS.values())
    say(f"written: {folder}/comparison.{{{endings}}} and {len(drawn.stems)} figures{note}")


def default_place(paths: Sequence[str]) -> Path:
    """Return where a report goes: into the one folder that was given, else into the current one."""
    return Path(paths[0]) / REPORT if len(paths) == 1 and not is_address(paths[0]) else Path(REPORT)


def check_place(place: Path) -> None:
    """Refuse a place where no page can lie.

    Raises:
        SlotlabError: for a folder, and for a name that is not that of an HTML file.
    """
    if place.is_dir():
        raise SlotlabError(f"{place} is a folder; name a file in it with --out")
    if place.suffix.lower() not in PAGES:
        text = f"--out {place}: a report is HTML, so its name ends in {' or '.join(PAGES)}"
        raise SlotlabError(f"{text}, as {place.with_suffix('.html')} does; browsers print it as PDF")


def write_report(comparison: Comparison, place: Path, *, title: str | None = None) -> dict[str, Any]:
    """Write the page whole or not at all, and return what was written, as JSON-ready data."""
    from slotlab.framework.report.build import build_page
    from slotlab.framework.report.render import render

    page = build_page(comparison, title=title, seen_from=place.resolve().parent)
    html = render(page).encode(errors="backslashreplace")
    write_output(place, html)
    return {
        "report": str(place),
        "bytes": len(html),
        "title": page.title,
        "arms": [arm.name for arm in comparison.arms],
        "baseline": comparison.baseline,
        "metrics": [item.name for item in comparison.metrics],
        "primary": comparison.primary.name,
        "runs": sum(len(arm.members) for arm in comparison.arms),
        "failed": sum(len(arm.failed) for arm in comparison.arms),
        "left_out": len(comparison.left_out),
        "findings": [finding.text for finding in page.findings],
    }
