"""Merges the parts of a study that several machines trained."""

from pathlib import Path
from typing import Any

from slotlab.framework.api.given import paths_of
from slotlab.framework.study.folder import StudyFolder
from slotlab.framework.study.merge import MergedRun, merge_studies


def merge(*studies: Any, into: str | Path) -> Path:
    """Copy the parts of one study, which several machines trained, into one study; return its folder.

    The study lies in INTO/studies/NAME, its runs in INTO/runs. Parts may differ in their seeds, and in which
    of their runs are finished. The studies stay as they are.

    >>> import slotlab
    >>> try:
    ...     slotlab.merge("nowhere", into="all")
    ... except slotlab.SlotlabError as error:
    ...     print("nowhere" in str(error))
    True

    Args:
        studies: folders of studies.
        into: a folder that does not exist yet.

    Raises:
        SlotlabError: if they are not of one ablation, if a run was trained twice with other results, or if
            runs of an arm saw other data, with all the reasons. Nothing is written then.
    """
    paths = paths_of(studies, "a study")
    merge_studies(paths, Path(into))
    return study_in(paths, Path(into))


def study_in(paths: list[Path], into: Path) -> Path:
    """Return the folder of the merged study."""
    return into / "studies" / StudyFolder.open(paths[0]).read_plan().name


def merge_paths(paths: list[Path], into: Path) -> dict[str, Any]:
    """Merge studies, and return what was taken as JSON-ready data."""
    found = merge_studies(paths, into)
    return {"study": str(study_in(paths, into)), "runs": [_row(one) for one in found]}


def _row(one: MergedRun) -> dict[str, Any]:
    return {
        **{name: getattr(one, name) for name in ("arm", "seed", "run_id", "state")},
        "source": None if one.source is None else str(one.source),
        "equal": [str(place) for place in one.equal],
        "set_aside": [str(place) for place in one.set_aside],
    }
