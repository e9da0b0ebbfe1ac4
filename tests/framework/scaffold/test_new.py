"""`slotlab new`: what it writes and refuses, and that a package is installed and found."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import slotlab as front
from slotlab.framework.scaffold.files import kinds, write_all


def listed():
    return sorted(str(path) for path in Path().rglob("*"))


def test_the_test_that_is_written_has_a_case_for_each_law(slotlab):
    slotlab("new", "protocols", "my-protocol", "--out", "some/place")  # a plural means the kind, too
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "some/place/test_my_protocol.py",
    ]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    assert "5 passed, 1 skipped" in found.stdout


def test_the_result_as_json(slotlab):
    code, out, _ = slotlab("new", "metric", "mine", "--out", "a folder", "--json", "-")
    assert code == 0
    assert json.loads(out) == {
        "kind": "metric",
        "name": "mine",
        "files": ["a folder/mine.py", "a folder/spec.yaml", "a folder/test_mine.py"],
        "next": [
            "slotlab check 'a folder/mine.py'",
            "slotlab train 'a folder/spec.yaml'",
            "python -m pytest 'a folder/test_mine.py'",
        ],
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["encodr", "mine"],
            "no kind is called 'encodr'; did you mean 'encoder'? ('slotlab new' knows these",
        ),
        (["painter", "mine"], "for a kind of your own write 'slotlab new kind NAME')"),
        (["encoder", "MyEncoder"], "starting with a letter; write, for example, 'my_encoder'"),
        (["encoder", "2 layers!"], "starting with a letter; write, for example, 'layers'"),
        (
            ["encoder", "é"],
            "name 'é': must be up to 60 lower-case letters, digits, '_' and '-', starting with",
        ),
        (["encoder", "x" * 61], "must be up to 60 lower-case letters"),
        (["encoder", "../mine"], "write, for example, 'mine'"),
        (["encoder", "lambda"], "name 'lambda': is a word of Python; write, for example, 'my_lambda'"),
        (["encoder", "yes"], "name 'yes': is a word of YAML; write, for example, 'my_yes'"),
        (["encoder", "cnn"], "there is already an encoder called 'cnn' (see 'slotlab show encoder cnn')"),
        (["encoder", "random"], "Python has a module of this name, which the new one would hide; write, for"),
        (["encoder", "torch", "--package"], "name 'torch': Python has a module of this name"),
        (["kind", "encoder"], "there is already a kind called 'encoder'; choose another name"),
        (["kind", "kind"], "there is already a kind called 'kind'; choose another name"),
        (["kind", "x" * 55], "is too long for a kind; choose a shorter one"),
        (["kind", "my-kind2"], "a kind has lower-case letters and '_'; write, for example, 'my_kind'"),
    ],
)
def test_what_is_refused_is_answered_with_what_would_be_right(words, message, slotlab):
    code, out, err = slotlab("new", *words)
    assert (code, out) == (1, "")
    assert message in err
    assert listed() == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("model", "model"),
        ("initializer", "slots"),
        ("kind", "name"),
        ("kind", "channels"),
        ("metric", "x" * 60),
    ],
)
def test_names_that_mean_something_elsewhere_are_no_trouble(kind, name, slotlab):
    slotlab("new", kind, name)
    assert [str(one) for one in front.check(f"{name}.py") if one.state == "failed"] == []


@pytest.mark.parametrize("options", [[], ["--package"]])
def test_nothing_is_overwritten_and_nothing_else_is_written(options, slotlab):
    slotlab("new", "metric", "mine", *options)
    place = Path("mine" if options else ".")
    (place / "spec.yaml").write_text("my own\n")
    (place / "README.md").unlink(missing_ok=True)
    before = listed()
    code, _, err = slotlab("new", "metric", "mine", *options)
    assert code == 1
    assert "there already, and nothing was written; name another folder (--out), or move what is there" in err
    assert listed() == before
    assert (place / "spec.yaml").read_text() == "my own\n"


def test_one_file_in_the_way_is_enough(slotlab):
    Path("spec.yaml").symlink_to("nowhere")
    code, _, err = slotlab("new", "metric", "mine")
    assert code == 1
    assert err.startswith("error: spec.yaml is there already, and nothing was written")
    assert listed() == ["spec.yaml"]


def test_a_file_in_the_place_of_a_folder(slotlab):
    Path("taken").write_text("")
    code, _, err = slotlab("new", "metric", "mine", "--out", "taken/deeper")
    assert code == 1
    assert err.startswith("error: taken")
    assert listed() == ["taken"]


def test_what_was_begun_is_taken_back():
    Path("place").mkdir()
    with pytest.raises(UnicodeEncodeError):
        write_all(Path("place"), {"new/first.py": "first", "new/second.py": "\ud800"})
    assert listed() == ["place"]


@pytest.mark.parametrize("kind", kinds())
def test_a_package_has_all_its_parts(kind, slotlab):
    code, out, _ = slotlab("new", kind, "my_part", "--package")
    assert code == 0
    assert out.splitlines()[-3:] == [
        "  python -m pip install -e './my_part[test]'",
        "  python -m pytest my_part",
        f"  slotlab {'ablate' if kind == 'launcher' else 'train'} my_part/spec.yaml",
    ]
    project = tomllib.loads(Path("my_part/pyproject.toml").read_text())
    assert project["project"]["entry-points"] == {"slotlab.plugins": {"my_part": "my_part"}}
    assert project["project"]["name"] == "slotlab-my-part"
    assert "plugins" not in yaml.safe_load(Path("my_part/spec.yaml").read_text())
    steps = yaml.safe_load(Path("my_part/.github/workflows/test.yml").read_text())["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps[2:]] == [
        "python -m pip install '.[test]'",
        "slotlab check slotlab-my-part",
        *([] if kind == "dynamics" else ["slotlab validate spec.yaml"]),
        "python -m pytest",
    ]
    assert "$" not in Path("my_part/README.md").read_text().replace("$ ", "")


CHECK_ALL = """
import sys
import slotlab

for name in sys.argv[1:]:
    found = slotlab.check(name)
    assert found, name
    print(*(one for one in found if one.state == "failed"), sep="\\n", end="")
"""


@pytest.mark.slow
def test_every_template_is_installed_as_a_package_and_found(slotlab):
    for kind in kinds():
        assert slotlab("new", kind, f"my-{kind}" if kind != "kind" else "my_kind", "--package")[0] == 0
    words = "--quiet --no-deps --no-build-isolation --no-index --disable-pip-version-check --target there"
    packages = sorted(f"./{path.parent}" for path in Path().glob("*/pyproject.toml"))
    assert len(packages) == len(kinds())
    install = [sys.executable, "-m", "pip", "install", *words.split(), *packages]
    subprocess.run(install, check=True, capture_output=True, text=True)
    there = os.environ | {"PYTHONPATH": str(Path("there").absolute())}

    def run(*words):
        command = [sys.executable, *words]
        found = subprocess.run(command, cwd="my_encoder", env=there, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    assert run("-c", CHECK_ALL, *(f"slotlab-my-{kind}".replace("_", "-") for kind in kinds())) == ""
    assert "encoder 'my-encoder': 17 laws passed" in run("-m", "slotlab", "check", "slotlab-my-encoder")
    assert run("-m", "slotlab", "validate", "spec.yaml") == "spec.yaml: valid\n"
    assert "17 passed, 2 skipped" in run("-m", "pytest", "-q", "-p", "no:cacheprovider")
