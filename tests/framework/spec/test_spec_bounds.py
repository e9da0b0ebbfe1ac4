"""What no spec needs is refused at once, with its place: depth, length, aliases, digits, strange names."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slotlab.framework.spec.errors import SpecError
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.merge import MOST_PARENTS, apply_set, read_tree
from slotlab.framework.spec.scalars import LARGEST, MOST_DIGITS
from slotlab.framework.spec.tree import MOST_CHARACTERS, MOST_LEVELS, MOST_VALUES, parse
from slotlab.framework.system.file_names import LONGEST, fault
from slotlab.registry import Registry, SlotlabError

Write = Callable[[str, str], Path]
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghijk", "bcdefghijkl", strict=True)
)
DEEP = f"blocks are nested deeper than {MOST_LEVELS} levels"
MANY = f"the document holds more than {MOST_VALUES:,} values, those that aliases repeat included"


@contextmanager
def soon(seconds: float = 2.0) -> Iterator[None]:
    """Ask that a block takes little of the processor's time, however busy the machine is."""
    before = time.process_time()
    yield
    assert time.process_time() - before < seconds


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught, soon():
        parse(text, origin="spec.yaml", folder=Path())
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(BOMB, f"spec.yaml:5: e.0: {MANY}", id="bomb of aliases"),
        pytest.param(
            "a: &a {b: 1, c: 2}\nd: [" + "*a, " * 9999 + "]\n", f"spec.yaml:2: d.3331: {MANY}", id="aliases"
        ),
        pytest.param(
            "".join(f"k{i}: 1\n" for i in range(MOST_VALUES)), f"spec.yaml:{MOST_VALUES}: k9999: {MANY}", id="keys"
        ),
        pytest.param(
            "".join(f"k{i}: 1\n" for i in range(200_000)),
            f"spec.yaml:1: this is 2,088,890 characters long, and a document may have {MOST_CHARACTERS:,}",
            id="200,000 keys",
        ),
        pytest.param("a: " + "[" * 3000 + "]" * 3000, f"spec.yaml:1: a.0.0: {DEEP}", id="lists in lists"),
        pytest.param("a: " + "{b: " * 3000, f"spec.yaml:1: a.b.b: {DEEP}", id="maps in maps"),
        pytest.param("- " * 3000 + "x", f"spec.yaml:1: 0.0.0: {DEEP}", id="items in items"),
        pytest.param("? " * 3000 + "x", f"spec.yaml:1: {DEEP}", id="keys in keys"),
        pytest.param(
            "".join(" " * i + "a:\n" for i in range(900)), f"spec.yaml:{MOST_LEVELS + 1}: a.a.a: {DEEP}", id="lines"
        ),
        pytest.param(
            "a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 40 + "*a" + "]" * 40,
            f"spec.yaml:2: b.0.0: {DEEP}",
            id="deep alias in a deep place",
        ),
        pytest.param(
            "seed: " + "9" * 5000, f"spec.yaml:1: seed: a number of 5,000 digits; at most {MOST_DIGITS} are read", id="digits"
        ),
        pytest.param(
            "lr: 0." + "1" * 5000, f"spec.yaml:1: lr: a number of 5,002 digits; at most {MOST_DIGITS} are read", id="fraction"
        ),
        ("a:\n  lr: 1e999\n", "spec.yaml:2: a.lr: 1e999 is beyond the range of a number; write .inf for infinity"),
        (f"a: {LARGEST + 1}", f"spec.yaml:1: a: {LARGEST + 1} is beyond the whole numbers of 64 bits"),
        (f"a: 0x{'f' * 17}", f"spec.yaml:1: a: 0x{'f' * 17} is beyond the whole numbers of 64 bits"),
        ('a: "b\\0c"', "spec.yaml:1: a: the character U+0000 is not allowed in a setting"),
        ('a: "b\\ud800c"', "spec.yaml:1: a: the character U+D800 is not allowed in a setting"),
        ('"b\\0c": 1', "spec.yaml:1: the character U+0000 is not allowed in a key"),
        pytest.param(
            "k" * 300 + ": 1", f"spec.yaml:1: {'k' * 60}...: a key of 300 characters; at most 200 are read", id="key"
        ),
        ("&a [*a]", "spec.yaml:1: 0: this alias contains itself"),
        (
            "a: &x {b: 1}\nc:\n  <<: *x\n",
            ("spec.yaml:3: c.<<: YAML's merge key is not read; take over another file's settings by "
            "'extends: FILE', and repeat a whole block by an alias: 'key: *name'"),
        ),
        (
            "a: 1\nb: ${model.slots}\n",
            ("spec.yaml:2: b: '${model.slots}': a spec fills in no '${...}'; write the value itself; "
            "settings of another file are taken over by 'extends: FILE'"),
        ),
        (
            'root: "${oc.env:DATA}/x"',
            ("spec.yaml:1: root: '${oc.env:DATA}/x': a spec fills in no '${...}'; write the value itself; "
            "settings of another file are taken over by 'extends: FILE'"),
        ),
    ],
)  # fmt: skip
def test_what_no_spec_needs_is_refused_with_its_place(text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize(
    "text",
    [
        f"a: {'[' * (MOST_LEVELS - 1)}{']' * (MOST_LEVELS - 1)}",
        f"a: {'9' * 19}",
        f"a: {LARGEST}",
        "a: 1e308",
        "'<<': 1",
        "question: costs ${x} more",
        "a: $HOME ${\\alpha}$",
        "a: [" + "1, " * (MOST_VALUES - 2) + "]",
        "a: &a [1]\nb: &a [2]\nc: *a\n",
    ],
    ids=lambda text: text[:20],
)
def test_what_is_within_the_bounds_is_read(text: str) -> None:
    with soon():
        parse(text, origin="spec.yaml", folder=Path())


def test_the_last_of_two_anchors_is_meant() -> None:
    assert parse("a: &a 1\nb: &a 2\nc: *a\n", origin="x", folder=Path()).plain() == {"a": 1, "b": 2, "c": 2}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (".".join(["a"] * 3000) + "=1", f"a path of 3,000 parts; a spec is at most {MOST_LEVELS} levels deep"),
        ("a" * 300 + "=1", "a key of 300 characters; at most 200"),
        ("a=" + "[" * 3000, f"a.0.0.0: {DEEP}"),
        ("a=" + "1" * 5000, f"a: a number of 5,000 digits; at most {MOST_DIGITS} are read"),
        ("a=${b}", "a: '${b}': a spec fills in no '${...}'; write the value itself"),
    ],
)  # fmt: skip
def test_set_is_bounded_as_files_are(assignment: str, message: str) -> None:
    tree = parse("b: 1", origin="spec.yaml", folder=Path())
    with pytest.raises(SpecError) as caught, soon():
        apply_set(tree, assignment)
    assert message in str(caught.value)
    assert str(caught.value).startswith("--set a")
    assert len(str(caught.value)) < 500


def test_a_chain_of_parents_has_an_end(write: Write) -> None:
    for number in range(MOST_PARENTS + 9):
        write(f"p{number}.yaml", f"# a parent\nextends: p{number + 1}.yaml\n")
    write(f"p{MOST_PARENTS + 9}.yaml", "a: 1\n")
    with pytest.raises(SpecError) as caught, soon():
        read_tree(Path("p0.yaml"))
    text = f"extends: more than {MOST_PARENTS} parents, one above the other; bring some of them together"
    assert str(caught.value) == f"p{MOST_PARENTS}.yaml:2: {text}"
    assert read_tree(Path("p9.yaml")).plain() == {"a": 1}


def test_a_file_that_is_far_too_long_is_not_read(write: Write) -> None:
    path = write("long.yaml", "")
    with path.open("wb") as file:
        file.truncate(10**12)  # takes no space on the disk
    with pytest.raises(
        SlotlabError, match=r"long\.yaml has 1,000,000,000,000 bytes; a spec has 524,288 char"
    ):
        read_tree(path)


def test_a_parent_whose_name_is_too_long_is_told_with_its_line(write: Write) -> None:
    write("a.yaml", f"extends: {'x' * 5000}.yaml\n")
    with pytest.raises(SpecError, match=r"^a.yaml:1: extends: x+\.\.\.: File name too long$"):
        read_tree(Path("a.yaml"))


@pytest.mark.parametrize("key", ["defaults", "_base_", "include"])
def test_other_tools_parents_point_to_extends(write: Write, base: str, key: str) -> None:
    write("spec.yaml", f"{base}{key}: [other]\n")
    with pytest.raises(SpecError) as caught:
        load_spec("spec.yaml")
    hint = "a spec goes on from another one by 'extends: FILE', or 'extends: slotlab:NAME'"
    assert str(caught.value) == f"spec.yaml:{base.count(chr(10)) + 1}: {key}: unknown key; {hint}"


def test_thousands_of_mistakes_are_told_soon_and_not_all(write: Write, base: str) -> None:
    write(
        "spec.yaml", base.replace("training:", "training:\n" + "".join(f"  k{i}: yes\n" for i in range(4900)))
    )
    with pytest.raises(SpecError) as caught, soon(4):
        load_spec("spec.yaml")
    assert caught.value.lines()[-1] == "and 4,800 more mistakes"
    assert len(caught.value.lines()) == 101


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "grouping: {name: slot_attention, iterations: 2147483648}",
            "grouping.iterations: must be at most 100",
        ),
        (
            f"encoder: {{name: cnn, channels: {[1] * 4000}}}",
            "encoder.channels: takes at most 64 item(s), got 4000",
        ),
        (
            "slot_dim: 9223372036854775807",
            "projection: cannot be built: RuntimeError: Storage size calculation",
        ),
        ("slot_dim: 18446744073709551615", "initializer: gaussian: cannot be built: "),
    ],
)
def test_settings_that_no_machine_can_try_are_refused_soon(
    write: Write, base: str, setting: str, message: str
) -> None:
    from slotlab.framework.model.check import check_parts

    key = setting.partition(":")[0]
    kept = [line for line in base.splitlines() if not line.startswith(f"  {key}:")]
    kept.insert(kept.index("model:") + 1, f"  {setting}")
    write("spec.yaml", "\n".join(kept))
    with soon(4):
        try:
            loaded = load_spec("spec.yaml")
            found = [str(problem) for problem in loaded.error(check_parts(loaded.spec)).problems]
        except SpecError as error:
            found = error.lines()
    assert any(f"model.{message}" in text for text in found), found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 201, "spec.yaml:2: name: a text of at most 200 characters, and this one has 201"),
        ("ünïcode", "spec.yaml:2: name: 'ünïcode' may hold only letters, digits"),
        ("a/b", "spec.yaml:2: name: 'a/b' may hold only letters, digits"),
        ("..", "spec.yaml:2: name: '..' may hold only letters, digits"),
        ('"a\\nb"', "spec.yaml:2: name: 'a\\nb' may hold only letters, digits"),
    ],
)
def test_a_name_that_no_folder_can_have_is_refused(write: Write, base: str, name: str, message: str) -> None:
    write("spec.yaml", base.replace("name: small", f"name: {name}"))
    with pytest.raises(SpecError) as caught:
        load_spec("spec.yaml")
    assert str(caught.value).startswith(message)


def test_the_longest_name_is_one_of_a_folder(write: Write, base: str, tmp_path: Path) -> None:
    from slotlab.framework.jobs.train import default_folder

    write("spec.yaml", base.replace("name: small", f"name: {'a' * 200}"))
    folder = default_folder(load_spec("spec.yaml"), tmp_path)
    folder.with_name(f".{folder.name}.1234567.tmp").mkdir()


@pytest.mark.parametrize(
    ("split", "reason"),
    [
        ("val/hard", "the character / is not allowed in a file name"),
        ("x" * 101, f"101 bytes long, and at most {LONGEST} fit into a file name"),
        ("ö" * 60, f"120 bytes long, and at most {LONGEST} fit into a file name"),
        ('"a\\tb"', "the character U+0009 is not allowed in a file name"),
        ('" "', "a name must have a visible character"),
    ],
)
def test_a_split_that_no_folder_can_be_named_after_is_refused(
    write: Write, base: str, registry: Registry, split: str, reason: str
) -> None:
    from slotlab.framework.model.check import check_parts

    folders = f"{{name: image_folder, splits: {{train: {{images: a}}, {split}: {{images: b}}}}}}"
    write(
        "spec.yaml",
        base.replace("{name: scenes, max_objects: 6}", folders) + f"evaluation: {{split: {split}}}\n",
    )
    loaded = load_spec("spec.yaml")
    (problem,) = loaded.error(check_parts(loaded.spec)).problems
    assert problem.path == ("evaluation", "split")
    assert problem.text.endswith(f"names the evaluation's folder: {reason}")


@pytest.mark.parametrize("name", ["val", "Prüfung 2", "检验", "a" * LONGEST, "test+extra"])
def test_names_in_any_script_are_fine(name: str) -> None:
    assert fault(name) is None
