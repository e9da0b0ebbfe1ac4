"""Fixtures for the whole suite, and what sets each test apart from its surroundings.

A test starts in an empty folder with a home of its own, in an environment that is the same everywhere, with the
signals, the random streams and the threads that it would have if it were the only one.
"""

import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import IO, Any

import pytest

# What is read where a module is imported (by typer, OpenMP, Hypothesis) has to be in place before the imports below.
KEPT = (
    *("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR", "CUDA_VISIBLE_DEVICES"),
    *("SLOTLAB_SHARED", "SLOTLAB_TESTS_SCRATCH", "SLOTLAB_STRIKES", "SLOTLAB_MUTATIONS"),
)
SCRATCH = os.environ.get("SLOTLAB_TESTS_SCRATCH") or tempfile.mkdtemp(prefix="slotlab-tests-")
SURROUNDINGS = {
    "HOME": f"{SCRATCH}/home",
    "COLUMNS": "80",
    "LINES": "24",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "OMP_NUM_THREADS": "1",
    "HYPOTHESIS_STORAGE_DIRECTORY": f"{SCRATCH}/hypothesis",
    "MPLCONFIGDIR": f"{SCRATCH}/matplotlib",  # a list of fonts, which takes seconds to make
    "SLOTLAB_TESTS_SCRATCH": SCRATCH,
}
inherited = dict(os.environ)
os.environ.clear()
os.environ.update(
    {name: value for name, value in inherited.items() if name in KEPT or name.startswith("PYTEST_")}
)
os.environ.update(SURROUNDINGS)
time.tzset()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

from slotlab.framework.cli import main as cli  # noqa: E402
from slotlab.framework.plugin_loading.discovery import load_registry  # noqa: E402
from slotlab.registry import Registry  # noqa: E402
from slotlab.registry.from_files import __name__ as FROM_FILES  # noqa: E402

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

# A picture of one white pixel, and a document without pages.
BLANK = {
    "png": bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
        "0000000c49444154789c63f8ffff3f0005fe02fe0def46b80000000049454e44ae426082"
    ),
    "pdf": b"%PDF-1.4\n%%EOF\n",
}
Write = Callable[[str, str], Path]
Command = Callable[..., int]
Slotlab = Callable[..., tuple[int, str, str]]


def pytest_unconfigure() -> None:
    """Remove the scratch folder, by the process that made it."""
    if "SLOTLAB_TESTS_SCRATCH" not in inherited:
        shutil.rmtree(SCRATCH, ignore_errors=True)


def start_afresh() -> None:
    """Bring random streams, threads and torch's switches to where they are in a new process.

    One thread: the tensors of tests are too small for more.
    """
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Iterator[Any]:
    """Make what several tests share independent of which of them comes first."""
    if fixturedef.scope != "function":
        start_afresh()
    return (yield)


@pytest.fixture(autouse=True, scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty current folder for what several tests share, and Ctrl-C as in a shell's foreground.

    Behind `&` in a script Ctrl-C is ignored, and every process that a test starts would inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("shared"))
        yield


@pytest.fixture(autouse=True)
def apart(shared_folder: None, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty current folder and an empty home for each test, and the surroundings as they were before it."""
    before = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    folder = Path.cwd()
    home = tmp_path_factory.getbasetemp() / f"home-of-{tmp_path.name}"
    home.mkdir()
    os.environ["HOME"] = str(home)
    os.chdir(tmp_path)
    start_afresh()
    yield
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(before)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def named_runs() -> None:
    """Folders like the runs that shipped specs name: enough to read these specs, and not to build their models."""
    needed = (
        "slot_attention_demo",
        "savi_demo",
        "slots7_demo",
        "vqvae_demo",
        "vqvae_clevrtex",
        "dvae_clevrtex",
        "dvae_movi_d",
    )
    for name in (*needed, "spot_coco_teacher", "slot_attention_clevr10", "savi_obj3d", "stosavi_clevrer"):
        checkpoints = Path("runs", name, "checkpoints")
        checkpoints.mkdir(parents=True)
        (checkpoints / "step-000000001-0123456789abcdef.pt").touch()
        (checkpoints.parent / "spec.yaml").touch()


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures as empty files, for tests of other things: drawing takes longer than all else in a small training."""
    from matplotlib.figure import Figure

    def save(figure: Figure, file: IO[bytes], **options: Any) -> None:
        file.write(BLANK[options["format"]])

    monkeypatch.setattr(Figure, "savefig", save)


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
    """The script that writes synthetic studies (benchmarks/synthetic_study.py)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
        return importlib.import_module("synthetic_study")


@pytest.fixture(scope="session")
def tfrecord_writer() -> ModuleType:
    """The module beside this file that writes MOVi's files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).resolve().parent)
        return importlib.import_module("tfrecord_writer")


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
