"""A pack that is killed at any moment leaves no store or a whole one, and can be gone on with."""

import importlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.data.source import Source
from slotlab.framework.data.store.pack import pack
from slotlab.framework.data.store.reader import Store, store_path
from slotlab.framework.data.store.verify import verify

MODULE = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
import torch
from slotlab.framework.contracts import Sample
from slotlab.framework.data.formats.pictures import decode, fingerprint_paths, rgb
from slotlab.framework.data.store.pack import pack
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.data.source import Source
from slotlab.registry import SlotlabError

@dataclass
class Pictures:
    root: Path

    def __post_init__(self):
        self.paths = sorted(self.root.glob("*.png"))

    def __len__(self):
        return len(self.paths)

    def fingerprint(self):
        return fingerprint_paths(self.paths, self.root)

    def __getitem__(self, index):
        path = self.paths[index]
        time.sleep(float(os.environ.get("SECONDS_A_PICTURE", "0.001")))
        image = torch.from_numpy(rgb(decode(path, str(path))))
        return Sample(id=path.stem, image_CHW=image, mask_HW=image[0] // 64, path=str(path))

def source(root):
    return Source("pictures", "all", Pictures(Path(root)), Preparation(size=(16, 16)), {"dataset": "pictures"})

def work(root, stores, workers):
    pack(source(root), Path(stores), workers=int(workers), chunk=8,
         report=lambda progress: print(progress.done, file=sys.stderr, flush=True))

def work_alone(root, stores, pipe):
    os.setsid()
    pack(source(root), stores, workers=0, chunk=8, report=lambda progress: pipe.send(progress.done))

if __name__ == "__main__":
    try:
        work(*sys.argv[1:])
    except SlotlabError as error:
        print(error)
        sys.exit(error.exit_code)
"""
PICTURES = 100

pytestmark = pytest.mark.slow


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of small pictures, and the module that packs them beside it."""
    root = tmp_path / "tree"
    root.mkdir()
    stream = np.random.default_rng(0)
    for index in range(PICTURES):
        pixels_HWC = stream.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels_HWC).save(root / f"{index:03}.png")
    (tmp_path / "killable.py").write_text(textwrap.dedent(MODULE))
    return root


@pytest.fixture
def killable(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that packs the pictures."""
    monkeypatch.syspath_prepend(str(tree.parent))
    importlib.invalidate_caches()
    sys.modules.pop("killable", None)
    return importlib.import_module("killable")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_none_or_whole(source: Source, stores: Path, whole: dict[str, bytes]) -> bool:
    fingerprint = source.fingerprint()
    assert fingerprint is not None
    path = store_path(source, stores, fingerprint)
    if path.exists():
        assert verify(Store.open(path)) == []
        assert files(path) == whole
    return path.exists()


def test_killed_at_twenty_random_moments(tree: Path, killable: Any, tmp_path: Path) -> None:
    source = killable.source(tree)
    whole = files(pack(source, tmp_path / "whole", workers=0).path)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["slotlab.framework.data.store.pack"])
    stream = random.Random(0)
    halfway = 0
    for number in range(20):
        stores = tmp_path / str(number)
        moments = sorted(stream.randrange(PICTURES + 1) for _ in range(2))
        for moment in moments:  # the second while it goes on from the first
            mine, its = context.Pipe()
            process = context.Process(target=killable.work_alone, args=(tree, stores, its))
            process.start()
            while mine.recv() < moment:
                pass
            time.sleep(stream.uniform(0, 0.03))
            with suppress(ProcessLookupError):  # it was quick
                os.killpg(process.pid, signal.SIGKILL)  # type: ignore[arg-type]
            process.join()
            if assert_none_or_whole(source, stores, whole):
                break
            halfway += 1
        assert files(pack(source, stores, workers=0).path) == whole
        assert len(list(stores.iterdir())) == 1
    assert halfway > 20  # or little was killed on its way


def start(tree: Path, stores: Path, workers: int) -> "subprocess.Popen[str]":
    """Start a pack of its own process group, and return when it has packed something."""
    command = [sys.executable, "killable.py", str(tree), str(stores), str(workers)]
    process = subprocess.Popen(
        command,
        cwd=tree.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"SECONDS_A_PICTURE": "0.03"},  # so that it is not done before it is told to stop
    )
    assert process.stderr is not None
    for line in process.stderr:
        if int(line) > 0:
            break
    return process


def gone(group: int, seconds: float = 10) -> bool:
    """Wait until no process of a group is left."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_workers_end_with_their_parent(tree: Path, killable: Any, tmp_path: Path) -> None:
    source = killable.source(tree)
    whole = files(pack(source, tmp_path / "whole", workers=0).path)
    stores = tmp_path / "stores"
    process = start(tree, stores, 2)
    process.kill()  # the parent alone
    _, errors = process.communicate()
    assert gone(process.pid)
    assert "Traceback" not in errors
    assert not assert_none_or_whole(source, stores, whole)
    assert files(pack(source, stores, workers=0).path) == whole


def test_ctrl_c_ends_cleanly(tree: Path, killable: Any, tmp_path: Path) -> None:
    source = killable.source(tree)
    stores = tmp_path / "stores"
    process = start(tree, stores, 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to parent and workers
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "packing stopped; packing again goes on from there\n")
    assert all(line.isdigit() for line in errors.split())
    said: list[str] = []
    pack(source, stores, workers=0, say=said.append)
    assert len(said) == 1
    assert said[0].startswith("going on where packing stopped: ")
