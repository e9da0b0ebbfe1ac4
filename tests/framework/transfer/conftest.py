"""A finished run with a plugin, two checkpoints, evaluations and pictures, which nobody has to train."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

FINISHED = Path(__file__).resolve().parents[2] / "fixtures" / "before_the_move" / "finished"
Files = dict[str, bytes]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The run, in the current folder."""
    shutil.copytree(FINISHED, tmp_path / "finished")
    return tmp_path / "finished"


@pytest.fixture
def memory() -> str:
    """An address in memory where nothing lies."""
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    return "memory://shared/run"


@pytest.fixture
def files() -> Callable[[Path], Files]:
    """Return all files below a folder, by name."""

    def read(folder: Path) -> Files:
        every = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in every}

    return read
