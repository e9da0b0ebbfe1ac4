"""`extends` and `--set`: laws of merging, and the errors where it cannot be done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slotlab.framework.spec.errors import Mark, SpecError
from slotlab.framework.spec.merge import apply_set, find_spec, merge, read_tree, shipped_files, shipped_specs
from slotlab.framework.spec.tree import Tree, parse
from slotlab.registry import SlotlabError

Write = Callable[[str, str], Path]


def tree(text: str) -> Tree:
    return parse(text, origin="spec.yaml", folder=Path())


def merged(parent: str, child: str, *, root: bool = False) -> Any:
    return merge(tree(parent), tree(child), root=root).plain()


def after(text: str, *sets: str) -> Any:
    found = tree(text)
    for assignment in sets:
        found = apply_set(found, assignment)
    return found.plain()


def refusal(function: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(SlotlabError) as caught:
        function(*arguments)
    return str(caught.value)


# --- laws --------------------------------------------------------------------------------

keys = st.sampled_from(["name", "a", "b", "c"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64) + 1, 2**64 - 1) | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)
specs = st.dictionaries(keys, values, max_size=4).map(yaml.safe_dump)


@given(specs, st.booleans())
def test_nothing_laid_over_changes_nothing(text: str, root: bool) -> None:
    assert merged(text, "{}", root=root) == tree(text).plain()
    assert merged("{}", text, root=root) == tree(text).plain()


@given(specs, st.booleans())
def test_merging_with_itself_changes_nothing(text: str, root: bool) -> None:
    assert merged(text, text, root=root) == tree(text).plain()


@given(specs, specs)
def test_merging_twice_is_merging_once(parent: str, child: str) -> None:
    once = merge(tree(parent), tree(child), root=True)
    assert merge(once, tree(child), root=True).plain() == once.plain()


@given(specs, specs)
def test_merging_changes_neither_tree(parent: str, child: str) -> None:
    below, above = tree(parent), tree(child)
    merge(below, above, root=True)
    assert (below.plain(), above.plain()) == (tree(parent).plain(), tree(child).plain())


@given(specs, values.filter(lambda value: value is not None))
def test_a_set_setting_is_set_and_others_are_kept(text: str, value: Any) -> None:
    before, found = tree(text).plain(), after(text, f"new={yaml.safe_dump(value, default_flow_style=True)}")
    assert found == {**before, "new": value}


# --- components --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parent", "child", "result"),
    [
        ("e: {name: cnn, k: 3}", "e: {name: vit}", {"name": "vit"}),
        ("e: {name: cnn, k: 3}", "e: {name: cnn, d: 1}", {"name": "cnn", "k": 3, "d": 1}),
        ("e: {name: cnn, k: 3}", "e: {d: 1}", {"name": "cnn", "k": 3, "d": 1}),
        ("e: {name: cnn, k: 3}", "e: cnn", {"name": "cnn", "k": 3}),
        ("e: {name: cnn, k: 3}", "e: vit", {"name": "vit"}),
        ("e: cnn", "e: {k: 3}", {"name": "cnn", "k": 3}),
        ("e: cnn", "e: {name: vit, k: 3}", {"name": "vit", "k": 3}),
        ("e: cnn", "e: vit", "vit"),
        ("e: [1, 2, 3]", "e: [4]", [4]),
        ("e: {a: 1}", "e: null", None),
        ("e: 1", "e: {a: 1}", {"a": 1}),
    ],
)
def test_blocks(parent: str, child: str, result: Any) -> None:
    assert merged(parent, child, root=True) == {"e": result}


def test_the_name_of_a_spec_is_not_a_component() -> None:
    assert merged("{name: one, seed: 1}", "name: two", root=True) == {"name": "two", "seed": 1}


# --- extends -----------------------------------------------------------------------------


def test_a_chain_of_parents(write: Write) -> None:
    write("base/one.yaml", "a: 1\nb: 1\nc: 1\n")
    write("base/two.yaml", "extends: one.yaml\nb: 2\nc: 2\n")
    path = write("three.yaml", "extends: base/two.yaml\nc: 3\n")
    found = read_tree(path)
    assert found.plain() == {"a": 1, "b": 2, "c": 3}
    assert found.locate(("a",)) == Mark(str(path.parent / "base/one.yaml"), 1)
    assert found.locate(("b",)) == Mark(str(path.parent / "base/two.yaml"), 2)
    assert found.locate(("c",)) == Mark(str(path), 2)


def test_a_folder_that_paths_start_from_is_that_of_the_parents_too(write: Write) -> None:
    write("base/top.yaml", "a: x\n")
    write("base/one.yaml", "extends: top.yaml\nb: x\n")
    path = write("spec.yaml", "extends: base/one.yaml\nc: x\n")
    own, given = read_tree(path), read_tree(path, folder=Path("given"))
    folders = {key: [tree.value[key].value.folder for tree in (own, given)] for key in "abc"}
    base = path.parent / "base"
    assert folders == {
        "a": [base, Path("given")],
        "b": [base, Path("given")],
        "c": [path.parent, Path("given")],
    }


@pytest.mark.parametrize("name", shipped_specs())
def test_shipped_specs_can_be_parents(write: Write, name: str) -> None:
    shipped = read_tree(find_spec(f"slotlab:{name}", Path())).plain()
    path = write("child.yaml", f"extends: slotlab:{name}\n")
    assert read_tree(path).plain() == shipped


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: absent.yaml", "spec.yaml:2: extends: there is no spec file absent.yaml (specs that come with slotlab: slotlab:NAME)"),
        ("extends: [a, b]", "spec.yaml:2: extends: name one parent file, or slotlab:NAME"),
        ("extends:", "spec.yaml:2: extends: name one parent file, or slotlab:NAME"),
        ("extends: spec.yaml", "spec.yaml:2: extends: the chain of parents comes back to spec.yaml"),
        ("extends: sub", "spec.yaml:2: extends: sub is a folder; name the spec file in it"),
        ("extends: sub/back.yaml", "sub/back.yaml:1: extends: the chain of parents comes back to sub/../spec.yaml"),
        ("extends: list.yaml", "list.yaml:1: a spec is a mapping of 'key: value' lines"),
        ("extends: broken.yaml", "broken.yaml:2: a: this key is given twice, first in line 1; keep one"),
    ],
)  # fmt: skip
def test_parents_that_cannot_be(write: Write, text: str, message: str) -> None:
    write("sub/back.yaml", "extends: ../spec.yaml\n")
    write("list.yaml", "- 1\n")
    write("broken.yaml", "a: 1\na: 2\n")
    write("spec.yaml", f"a: 1\n{text}\n")
    assert refusal(read_tree, Path("spec.yaml")) == message


def test_a_parent_given_twice_is_no_cycle(write: Write) -> None:
    write("one.yaml", "a: 1\n")
    write("two.yaml", "extends: one.yaml\n")
    assert read_tree(write("three.yaml", "extends: two.yaml\n")).plain() == {"a": 1}


def test_shipped_names(write: Write) -> None:
    available = ", ".join(shipped_files())
    assert "demo" in shipped_specs()
    assert refusal(find_spec, "slotlab:dmo", Path()) == (
        f"no shipped spec is called 'dmo'; did you mean 'demo'? (available: {available})"
    )
    write("spec.yaml", "extends: slotlab:zzzzzz\n")
    assert refusal(read_tree, Path("spec.yaml")) == (
        f"spec.yaml:1: extends: no shipped spec is called 'zzzzzz' (available: {available})"
    )


def test_files_that_are_no_specs(write: Write) -> None:
    write("x", "").write_bytes(b"a: \xff\n")
    assert refusal(read_tree, Path("x")) == "x is not UTF-8 text (invalid start byte at byte 3)"
    write("text.yaml", "just words\n")
    assert refusal(read_tree, Path("text.yaml")) == "text.yaml:1: a spec is a mapping of 'key: value' lines"
    assert refusal(find_spec, "absent.yaml", Path()) == (
        "there is no spec file absent.yaml (specs that come with slotlab: slotlab:NAME)"
    )
    assert refusal(find_spec, "", Path()) == ". is a folder; name the spec file in it"


# --- --set -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "assignment", "result"),
    [
        ("a: 1", "a=2", {"a": 2}),
        ("a: 1", "a = 4e-4", {"a": 4e-4}),
        ("a: 1", "b.c.d=[1, x]", {"a": 1, "b": {"c": {"d": [1, "x"]}}}),
        ("a: {b: {c: 1, d: 2}}", "a.b.c=3", {"a": {"b": {"c": 3, "d": 2}}}),
        ("a: [1, 2, 3]", "a.1=9", {"a": [1, 9, 3]}),
        ("a: [{b: 1, c: 2}]", "a.0.b=3", {"a": [{"b": 3, "c": 2}]}),
        ("a: [x, y]", "a.0={name: z, k: 1}", {"a": [{"name": "z", "k": 1}, "y"]}),
        ("e: cnn", "e.k=3", {"e": {"name": "cnn", "k": 3}}),
        ("e: {name: cnn, k: 3}", "e=vit", {"e": {"name": "vit"}}),
        ("e: {name: cnn, k: 3}", "e.name=vit", {"e": {"name": "vit"}}),
        ("e: {name: cnn, k: 3}", "e={name: cnn, d: 1}", {"e": {"name": "cnn", "k": 3, "d": 1}}),
        ("name: one\nseed: 1", "name=two", {"name": "two", "seed": 1}),
        ("a: 1", "a=", {"a": ""}),
        ("a: 1", "a=~", {"a": None}),
        ("a: 1", "a=b=c", {"a": "b=c"}),
        ("a: 1", "a='5'", {"a": "5"}),
    ],
)
def test_assignments(text: str, assignment: str, result: Any) -> None:
    assert after(text, assignment) == result
    assert after(text, assignment, assignment) == result


@pytest.mark.parametrize("assignment", ["a", "=1", "a..b=1", ".a=1", ""])
def test_assignments_of_the_wrong_form(assignment: str) -> None:
    assert refusal(apply_set, tree("a: 1"), assignment) == (
        f"--set {assignment}: write --set PATH=VALUE, such as --set training.batch_size=8"
    )


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("a.2=1", "a.2: this is a list of 2; write a position from 0 to 1"),
        ("a.-1=1", "a.-1: this is a list of 2; write a position from 0 to 1"),
        ("a.x.y=1", "a.x: this is a list of 2; write a position from 0 to 1"),
        ("a.\u00b2=1", "a.\u00b2: this is a list of 2; write a position from 0 to 1"),
        ("b.0=1", "b.0: this is a list of 0; it has no positions to set"),
        ("c=[1", "c: not valid YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"),
        ("c={x: 1, x: 2}", "c.x: this key is given twice, first in line 1; keep one"),
        ("c=!!python/name:os.system x", "c: the tag !!python/name:os.system is not allowed; a spec holds data only"),
        ("extends=other.yaml", "extends: a parent is named in the spec file only"),
    ],
)  # fmt: skip
def test_assignments_that_cannot_be_made(assignment: str, message: str) -> None:
    assert refusal(apply_set, tree("a: [1, 2]\nb: []\n"), assignment) == f"--set {assignment}: {message}"


def test_what_is_set_is_located_at_the_set() -> None:
    found = apply_set(tree("a: {b: 1}\nc: [1, 2]\nd: 1\n"), "a.b=[1, {x: 2}]")
    assert found.locate(("a", "b", 1, "x")) == Mark("--set a.b=[1, {x: 2}]")
    assert found.locate(("a",)) == Mark("spec.yaml", 1)
    assert apply_set(found, "c.0=3").locate(("c", 0)) == Mark("--set c.0=3")
    assert apply_set(found, "d.e=3").locate(("d",)) == Mark("--set d.e=3")
    assert apply_set(found, "d.e=3").locate(("d", "e")) == Mark("--set d.e=3")


def test_a_set_of_errors_is_an_error_of_the_spec() -> None:
    with pytest.raises(SpecError):
        apply_set(tree("a: 1"), "a")
