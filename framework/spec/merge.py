"""`extends:` and `--set`: how a spec is assembled before it is validated.

Mappings merge, lists replace. A component block whose `name` differs from the parent's
replaces the whole block, so that the settings of two components never mix.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path as FilePath

from slotlab.framework.spec.errors import Mark, Path, Problem, SpecError, shorten
from slotlab.framework.spec.paths import SpecString, expand
from slotlab.framework.spec.tree import LONGEST_KEY, MOST_CHARACTERS, MOST_LEVELS, Tree, parse
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest

ABLATIONS = "ablations/"
"""The folder of the ablations that come with slotlab, which are not specs of one experiment."""
MOST_PARENTS = 32
"""Most parents of a spec, one above the other."""
IMPLIED = {"model": "slot_autoencoder"}
"""What a block of a spec's section stands for if it has no `name`."""
SHIPPED = "slotlab:"
"""`extends: slotlab:demo` names a spec that comes with slotlab."""


def shipped_folder() -> FilePath:
    """The folder of the specs that come with slotlab."""
    return FilePath(str(resources.files("slotlab.experiments")))


def shipped_files() -> list[str]:
    """The names of all spec files that come with slotlab, such as `demo` or `ablations/slots`."""
    folder = shipped_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def shipped_specs() -> list[str]:
    """The names of the experiments that come with slotlab, such as `demo`."""
    return [name for name in shipped_files() if not name.startswith(ABLATIONS)]


def shipped_ablations() -> list[str]:
    """The names of the ablations that come with slotlab, such as `ablations/slots`."""
    return [name for name in shipped_files() if name.startswith(ABLATIONS)]


def find_spec(name: str | FilePath, folder: FilePath) -> FilePath:
    """Return the file that a name stands for: a path, or `slotlab:NAME`.

    Raises:
        SlotlabError: if there is no such file.
    """
    text = str(name)
    if text.startswith(SHIPPED):
        wanted, names = text.removeprefix(SHIPPED), shipped_files()
        if wanted not in names:
            hint = f"{suggest(wanted, names)} (available: {', '.join(names)})"
            raise SlotlabError(f"no shipped spec is called '{wanted}'{hint}")
        return shipped_folder() / f"{wanted}.yaml"
    path = folder / expand(text)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # such as a name that is too long for any file
        raise SlotlabError(f"{shorten(str(path), 200)}: {error.strerror or error}") from None
    if is_folder:
        raise SlotlabError(f"{path} is a folder; name the spec file in it")
    if not is_file:
        raise SlotlabError(f"there is no spec file {path} (specs that come with slotlab: slotlab:NAME)")
    return path


def folder_of(name: str | FilePath) -> FilePath | None:
    """Return the folder that paths in a spec start from; None for that of its file.

    Nobody keeps data inside an installed package: a spec that comes with slotlab, named as `slotlab:NAME`,
    is read as if it lay in `experiments` in the working folder, as it does in a checkout.
    """
    return FilePath("experiments") if str(name).startswith(SHIPPED) else None


def read_tree(path: FilePath, seen: Sequence[FilePath] = (), folder: FilePath | None = None) -> Tree:
    """Read a spec file and merge it over its parent, if it `extends` one.

    Args:
        path: the file.
        seen: the files that extend it.
        folder: what relative paths in it start from; None for the file's own folder.

    Raises:
        SpecError: for mistakes in the files' text, or a chain of parents that is circular or too long.
    """
    tree = parse(read_text(path), origin=str(path), folder=folder or path.parent)
    if not isinstance(tree.value, dict):
        raise SpecError([Problem(tree.mark, (), "a spec is a mapping of 'key: value' lines")])
    if not tree.value:
        hint = "start from another spec: 'extends: slotlab:demo', in an ablation 'base: slotlab:demo'"
        raise SpecError([Problem(tree.mark, (), f"the file is empty; {hint}")])
    parent = tree.value.pop("extends", None)
    if parent is None:
        return tree
    if not isinstance(parent.value, str):
        raise SpecError([Problem(parent.mark, ("extends",), "name one parent file, or slotlab:NAME")])
    try:
        parent_path = find_spec(parent.value, path.parent)
    except SlotlabError as error:
        raise SpecError([Problem(parent.mark, ("extends",), str(error))]) from None
    chain = (*seen, path.resolve())
    if parent_path.resolve() in chain:
        text = f"the chain of parents comes back to {parent_path}"
        raise SpecError([Problem(parent.mark, ("extends",), text)])
    if len(chain) > MOST_PARENTS:
        text = f"more than {MOST_PARENTS} parents, one above the other; bring some of them together"
        raise SpecError([Problem(parent.mark, ("extends",), text)])
    return merge(read_tree(parent_path, chain, folder_of(parent.value) or folder), tree, root=True)


def read_text(path: FilePath) -> str:
    """Read the text of a spec file.

    Raises:
        SlotlabError: if it is not UTF-8, or far too long for a spec.
    """
    size = path.stat().st_size
    if size > 4 * MOST_CHARACTERS:  # a character has up to four bytes
        raise SlotlabError(f"{path} has {size:,} bytes; a spec has {MOST_CHARACTERS:,} characters at most")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SlotlabError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None


def merge(parent: Tree, child: Tree, *, root: bool = False, implied: str | None = None) -> Tree:
    """Lay the child over the parent.

    Args:
        parent: what is below.
        child: what counts where both have something.
        root: whether both are whole specs, whose `name` is no component's.
        implied: the component that a block without a `name` stands for.
    """
    if isinstance(parent.value, str) and isinstance(child.value, dict):
        parent = _block(parent)
    if (
        isinstance(child.value, str)
        and isinstance(parent.value, dict)
        and ("name" in parent.value or implied is not None)
        and not root
    ):
        child = _block(child)
    if not (isinstance(parent.value, dict) and isinstance(child.value, dict)):
        return child
    below = parent.value["name"].value if "name" in parent.value else implied
    if not root and below is not None and "name" in child.value and child.value["name"].value != below:
        return child
    merged = dict(parent.value)
    for key, value in child.value.items():
        stands_for = IMPLIED.get(key) if root else None
        merged[key] = merge(merged[key], value, implied=stands_for) if key in merged else value
    return Tree(merged, child.mark)


def _block(name: Tree) -> Tree:
    """Write the component `cnn` as `{name: cnn}`."""
    return Tree({"name": name}, name.mark)


class Option(str):
    """An assignment made by another option than `--set`; error messages name it: `--launcher slurm`."""

    written: str
    """As the user wrote it."""

    def __new__(cls, assignment: str, written: str) -> "Option":
        """Make the assignment `a.b=c`."""
        one = super().__new__(cls, assignment)
        one.written = written
        return one


def apply_set(tree: Tree, assignment: str) -> Tree:
    """Lay one `a.b=c` over a spec; the value is read as YAML, a number names a list's item.

    Error messages name `--set a.b=c`, or the `Option` that made the assignment.

    Raises:
        SpecError: if the assignment has no `=`, names an item that does not exist, or has a value
            that cannot be read.
    """
    written = assignment.written if isinstance(assignment, Option) else f"--set {assignment}"
    mark = Mark(shorten(written, 200))
    key, equals, text = assignment.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise SpecError([Problem(mark, (), "write --set PATH=VALUE, such as --set training.batch_size=8")])
    _refuse_parts(parts, mark)
    if parts == ["extends"]:
        raise SpecError([Problem(mark, ("extends",), "a parent is named in the spec file only")])
    if not text.strip():
        return _assign(tree, parts, Tree(SpecString("", FilePath()), mark), mark, ())
    try:
        value = parse(text, origin=mark.origin, folder=FilePath())
    except SpecError as error:
        raise SpecError(Problem(mark, (*parts, *p.path), p.text) for p in error.problems) from None
    return _assign(tree, parts, _remark(value, mark), mark, ())


def assign(tree: Tree, key: str, value: Tree) -> Tree:
    """Lay a value over a spec at a dotted path, as `--set` does; the value keeps its own marks.

    Raises:
        SpecError: if the path names an item that does not exist, or is not a path of a spec.
    """
    parts = [part.strip() for part in key.split(".")]
    if not all(parts) or parts == ["extends"]:
        text = "write a path of the spec, such as training.batch_size"
        raise SpecError([Problem(value.mark, (key,), text)])
    _refuse_parts(parts, value.mark)
    return _assign(tree, parts, value, value.mark, ())


def _refuse_parts(parts: Sequence[str], mark: Mark) -> None:
    """Refuse a path that no spec can have: too deep, or with too long a key."""
    if len(parts) > MOST_LEVELS:
        text = f"a path of {len(parts):,} parts; a spec is at most {MOST_LEVELS} levels deep"
        raise SpecError([Problem(mark, (), text)])
    if (part := max(parts, key=len)) and len(part) > LONGEST_KEY:
        raise SpecError([Problem(mark, (), f"a key of {len(part):,} characters; at most {LONGEST_KEY}")])


def _assign(tree: Tree, parts: Sequence[str], value: Tree, mark: Mark, path: Path) -> Tree:
    if not parts:
        return merge(tree, value)
    part, rest = parts[0], parts[1:]
    if isinstance(tree.value, list):
        index = _position(tree.value, part, mark, path)
        items = list(tree.value)
        items[index] = _assign(items[index], rest, value, mark, (*path, index))
        return Tree(items, tree.mark)
    old = tree.child(part)
    if old is None or not rest:
        for name in reversed(rest):
            value = Tree({name: value}, mark)
    else:
        value = _assign(old, rest, value, mark, (*path, part))
    where = tree.mark if isinstance(tree.value, dict) else mark  # a scalar becomes a block by this --set
    implied = IMPLIED.get(str(path[0])) if len(path) == 1 else None
    return merge(tree, Tree({part: value}, where), root=not path, implied=implied)


def _position(items: Sequence[Tree], part: str, mark: Mark, path: Path) -> int:
    if part.isdecimal() and int(part) < len(items):
        return int(part)
    hint = f"write a position from 0 to {len(items) - 1}" if items else "it has no positions to set"
    raise SpecError([Problem(mark, (*path, part), f"this is a list of {len(items)}; {hint}")])


def _remark(tree: Tree, mark: Mark) -> Tree:
    """Give a tree that was read from a `--set` the mark of that `--set`."""
    if isinstance(tree.value, dict):
        return Tree({key: _remark(child, mark) for key, child in tree.value.items()}, mark)
    if isinstance(tree.value, list):
        return Tree([_remark(child, mark) for child in tree.value], mark)
    return Tree(tree.value, mark)
