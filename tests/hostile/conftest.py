"""The mutations, and a study that costs nothing to damage."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def mutations() -> ModuleType:
    """The module beside this file."""
    path = Path(__file__).with_name("mutations.py")
    spec = importlib.util.spec_from_file_location("mutations", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def study(synthetic: ModuleType, tmp_path: Path) -> Path:
    """A study of two arms and two seeds whose runs have samples, to be damaged."""
    folder: Path = synthetic.write_study(tmp_path, arms=2, seeds=2, images=6)
    return folder
