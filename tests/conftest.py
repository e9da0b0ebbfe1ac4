"""Fixtures for the whole suite; each test leaves modules and `sys.path` as it found them."""

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from slotlab.framework.cli import main as cli
from slotlab.framework.discovery import load_registry
from slotlab.registry import Registry
from slotlab.registry.from_files import __name__ as FROM_FILES

# A busy machine is no mistake of the code under test; the same examples are drawn in every run.
settings.register_profile(
    "slotlab", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("slotlab")

PLUGIN = """
from slotlab.registry import Component, ComponentConfig, hookimpl
from torch import nn

SLOTLAB_API = 1


class Config(ComponentConfig):
    width: int = 4


class Encoder(nn.Module):
    def __init__(self, config, context):
        super().__init__()
        self.layer = nn.Conv2d(3, config.width, 1)
        self.channels, self.grid = config.width, context.image_size

    def forward(self, images_BCHW):
        return self.layer(images_BCHW)


@hookimpl
def slotlab_encoders():
    yield Component(name="@NAME@", config=Config, build=Encoder, summary="one linear layer a pixel")
"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
BASE = """
format: 1
name: small
data:
  dataset: {name: scenes, max_objects: 6}
  protocol: {name: whole, image_size: 16}
model:
  slots: 7
  slot_dim: 8
  encoder: {name: cnn, channels: [4, 4]}
  initializer: gaussian
  grouping: slot_attention
  decoder: {name: spatial_broadcast, channels: [4], strides: [2]}
training:
  batch_size: 2
  phases:
    - {steps: 2, lr: 1e-3}
"""

Write = Callable[[str, str], Path]
Command = Callable[..., int]
Slotlab = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """One thread: the tensors of tests are too small for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of the tests' own for what slotlab remembers of its user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def command() -> Command:
    """Run the command in this process; return its exit code."""

    def run(*words: object) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["slotlab", *map(str, words)])
            try:
                cli.main()
            except SystemExit as stop:
                return int(stop.code or 0)
        return 0

    return run


@pytest.fixture
def slotlab(command: Command, capsys: pytest.CaptureFixture[str]) -> Slotlab:
    """Run the command in this process; return (exit code, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        code = command(*words)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The script that makes up studies (benchmarks/synthetic_study.py)."""
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "synthetic_study.py"
    spec = importlib.util.spec_from_file_location("synthetic_study", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser, one for all tests of a process: Playwright cannot be started twice in one."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no Chromium: none of {', '.join(BROWSERS)} is on the path")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=list(BROWSER_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def registry() -> Registry:
    """A new registry of what is installed."""
    return load_registry()


@pytest.fixture(autouse=True)
def forget_plugins() -> Iterator[None]:
    """Forget the modules that plugin files were imported as."""
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith(f"{FROM_FILES}."):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file into an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).removeprefix("\n"), encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def plugin(write: Write) -> Callable[..., Path]:
    """Write a plugin file with one encoder, changed by the replacements `old=new`."""

    def write_plugin(file: str = "pixelwise.py", name: str = "pixelwise", **changes: str) -> Path:
        text = PLUGIN.replace("@NAME@", name)
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        return write(file, text)

    return write_plugin


@pytest.fixture
def base(write: Write) -> str:
    """A small valid spec, written as `spec.yaml` into the current folder."""
    write("spec.yaml", BASE)
    return BASE.removeprefix("\n")
