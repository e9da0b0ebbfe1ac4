"""YAML 1.2 as a tree: scalars, marks, and every text that is refused."""

import contextlib
import copy
import math
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slotlab.framework.spec.errors import Mark, Problem, SpecError
from slotlab.framework.spec.paths import SpecString, expand, resolve
from slotlab.framework.spec.scalars import FLOAT, INTEGER
from slotlab.framework.spec.tree import dump, parse

NUMBER_LIKE = re.compile(f"{INTEGER.pattern}|{FLOAT.pattern}")


def plain(text: str) -> Any:
    return parse(text, origin="spec.yaml", folder=Path()).plain()


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        plain(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4e-4", 4e-4), ("1E5", 1e5), ("1.", 1.0), ("-.5", -0.5), (".inf", math.inf), ("-.Inf", -math.inf),
        ("12", 12), ("-3", -3), ("+3", 3), ("007", 7), ("0o17", 15), ("0x1F", 31),
        ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None),
        ("true", True), ("False", False), ("TRUE", True),
        ("on", "on"), ("No", "No"), ("y", "y"), ("12:30:00", "12:30:00"), ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"), ("e5", "e5"), (".", "."), ("nULL", "nULL"), ("'5'", "5"), ('"4e-4"', "4e-4"),
        ("'true'", "true"), ("''", ""), ("'~'", "~"), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    found = plain(f"key: {text}\n")["key"]
    assert found == value
    assert type(found) is (SpecString if isinstance(value, str) else type(value))


def test_nan() -> None:
    assert math.isnan(plain("key: .nan")["key"])


texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


def documents_with(text: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    scalars = (
        st.none() | st.booleans() | st.integers(-(2**64) + 1, 2**64 - 1) | st.floats(allow_nan=False) | text
    )
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=12,
    )
    return st.dictionaries(text, values, max_size=4)


# YAML 1.1, which PyYAML writes, and 1.2 agree on text but for some that look like numbers.
documents = documents_with(texts.filter(lambda text: not NUMBER_LIKE.fullmatch(text)))


@given(documents)
def test_what_pyyaml_writes_is_read_back(data: dict[str, Any]) -> None:
    assert plain(yaml.safe_dump(data)) == data


@given(
    documents_with(
        st.text(st.characters(exclude_characters="\0"), max_size=12)
        | st.sampled_from(["1e5", "0o17", "on", "null", "12:30:00", "0x1F", ".5", "9" * 150])
    )
)
def test_what_is_written_is_read_back(data: dict[str, Any]) -> None:
    assert plain(dump(data)) == data
    assert list(plain(dump(data))) == list(data)


@given(documents)
def test_every_mark_is_a_line_of_the_text(data: dict[str, Any]) -> None:
    text = yaml.safe_dump(data)
    tree = parse(text, origin="spec.yaml", folder=Path())
    for key in data:
        mark = tree.locate((key,))
        assert mark.origin == "spec.yaml"
        assert 1 <= (mark.line or 0) <= text.count("\n")


def test_empty_documents_are_empty_mappings() -> None:
    assert plain("") == plain("# nothing\n") == plain("\ufeff") == {}


def test_anchors_are_read() -> None:
    assert plain("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


def test_keys_are_text() -> None:
    assert plain("1: a\ntrue: b\nnull: c\n") == {"1": "a", "true": "b", "null": "c"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n\tb: 2\n", "spec.yaml:2: this line is indented with a tab; use spaces"),
        ("a:\n\tb: 2\n", "spec.yaml:2: this line is indented with a tab; use spaces"),
        ("a: [1, 2\n", "spec.yaml:2: not valid YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"),
        ("a: 1\n---\nb: 2\n", "spec.yaml:2: not valid YAML: expected a single document in the stream, but found another document"),
        ("a: *nosuch\n", "spec.yaml:1: not valid YAML: found undefined alias 'nosuch'"),
        (
            "a: 1\nb: 2: 3\n",
            ("spec.yaml:2: not valid YAML: mapping values are not allowed here; "
            "is it indented deeper than the line before, or does a ':' lack the space behind it?"),
        ),
        ("a: 1\nb: x\x07\n", "spec.yaml:2: the character U+0007 is not allowed in YAML"),
        ("a: !!python/object:os.system {}\n", "spec.yaml:1: a: the tag !!python/object:os.system is not allowed; a spec holds data only"),
        ("a: !!python/name:os.system ''\n", "spec.yaml:1: a: the tag !!python/name:os.system is not allowed; a spec holds data only"),
        ("a: !mine 1\n", "spec.yaml:1: a: the tag !mine is not allowed; a spec holds data only"),
        ("a:\n  - 1\n  - !!str 5\n", "spec.yaml:3: a.1: the tag !!str is not allowed; a spec holds data only"),
        ("!!int a: 1\n", "spec.yaml:1: a: the tag !!int is not allowed; a spec holds data only"),
        ("a: !!set {b, c}\n", "spec.yaml:1: a: the tag !!set is not allowed; a spec holds data only"),
        ("a: &x [1, *x]\n", "spec.yaml:1: a.1: this alias contains itself"),
        ("a: 1\n? [b, c]\n: 2\n", "spec.yaml:2: a key must be text"),
        (
            "a: 1\nb: {c: 1, c: 2}\na: 3\na: 4\n",
            ("spec.yaml:2: b.c: this key is given twice, first in line 2; keep one\n"
            "spec.yaml:3: a: this key is given twice, first in line 1; keep one\n"
            "spec.yaml:4: a: this key is given twice, first in line 1; keep one"),
        ),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, message: str) -> None:
    assert refusal(text) == message


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(SpecError):
        plain(text)


def test_locate_finds_the_deepest_that_was_written() -> None:
    tree = parse("a:\n  b:\n    - c: 1\n", origin="x", folder=Path())
    for path, line in {
        (): 1,
        ("z",): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 0): 3,
        ("a", "b", 9, "c"): 2,
    }.items():
        assert tree.locate(path) == Mark("x", line)


@given(st.permutations([("b", 2), ("a", 9), ("a", 10), ("b", None)]))
def test_problems_are_in_the_order_of_lines(marks: list[tuple[str, int | None]]) -> None:
    error = SpecError(Problem(Mark(*mark), (), "x") for mark in marks)
    assert str(error) == "a:9: x\na:10: x\nb: x\nb:2: x"


# --- paths -------------------------------------------------------------------------------


@given(texts)
def test_text_of_a_spec_keeps_its_folder_when_copied(text: str) -> None:
    string = SpecString(text, Path("/folder"))
    for twin in (copy.copy(string), copy.deepcopy(string), pickle.loads(pickle.dumps(string))):
        assert (twin, twin.folder) == (string, Path("/folder"))


def test_paths_are_relative_to_the_file_they_are_written_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve(SpecString("a/b", Path("/folder"))) == Path("/folder/a/b")
    assert resolve(SpecString("/a/b", Path("/folder"))) == Path("/a/b")
    assert resolve(SpecString("a", Path("sub"))) == tmp_path / "sub/a"
    assert resolve("a") == tmp_path / "a"
    assert resolve(3) == 3
    assert resolve(None) is None


def test_home_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert expand("~/x") == Path("/home/someone/x")
    assert resolve(SpecString("~/x", Path("/folder"))) == Path("/home/someone/x")
    assert expand("~no_such_user_here/x") == Path("~no_such_user_here/x")


def test_a_problem_is_told_in_one_line_whatever_it_quotes() -> None:
    problem = Problem(Mark("spec.yaml", 3), ("a\nerror: b",), "no encoder is called 'c\nd'")
    assert str(problem) == "spec.yaml:3: a\\nerror: b: no encoder is called 'c\\nd'"
