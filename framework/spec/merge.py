"""`extends:` and `--set`: how a spec is put together before it is validated.

Mappings merge, lists replace. A component block whose `name` differs from the parent's
replaces the whole block, so that the settings of two components never mix.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path as FilePath

from slotlab.framework.paths import SpecString
from slotlab.framework.spec.errors import Mark, Path, Problem, SpecError
from slotlab.framework.spec.tree import Tree, parse
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest

SHIPPED = "slotlab:"
"""`extends: slotlab:demo` names a spec that comes with slotlab."""


def shipped_specs() -> list[str]:
    """The names of the specs that come with slotlab."""
    folder = resources.files("slotlab.experiments")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def find_spec(name: str | FilePath, folder: FilePath) -> FilePath:
    """Return the file that a name stands for: a path, or `slotlab:NAME`.

    Raises:
        SlotlabError: if there is no such file.
    """
    text = str(name)
    if text.startswith(SHIPPED):
        wanted, names = text.removeprefix(SHIPPED), shipped_specs()
        if wanted not in names:
            raise SlotlabError(
                f"no shipped spec is called '{wanted}'{suggest(wanted, names)} ({', '.join(names)})"
            )
        return FilePath(str(resources.files("slotlab.experiments").joinpath(f"{wanted}.yaml")))
    path = folder / FilePath(text).expanduser()
    if path.is_dir():
        raise SlotlabError(f"{path} is a folder; name the spec file in it")
    if not path.is_file():
        raise SlotlabError(f"there is no spec file {path} (specs that come with slotlab: slotlab:NAME)")
    return path


def read_tree(path: FilePath, seen: Sequence[FilePath] = ()) -> Tree:
    """Read a spec file and merge it over its parent, if it `extends` one.

    Raises:
        SpecError: for mistakes in the files' text, or a chain of parents that closes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SlotlabError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    tree = parse(text, origin=str(path), folder=path.parent)
    if not isinstance(tree.value, dict):
        raise SpecError([Problem(tree.mark, (), "a spec is a mapping of 'key: value' lines")])
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
    return merge(read_tree(parent_path, chain), tree, root=True)


def merge(parent: Tree, child: Tree, *, root: bool = False) -> Tree:
    """Lay the child over the parent."""
    if isinstance(parent.value, str) and isinstance(child.value, dict):
        parent = _block(parent)
    if (
        isinstance(child.value, str)
        and isinstance(parent.value, dict)
        and "name" in parent.value
        and not root
    ):
        child = _block(child)
    if not (isinstance(parent.value, dict) and isinstance(child.value, dict)):
        return child
    names = [tree.value["name"].value for tree in (parent, child) if "name" in tree.value]
    if not root and len(names) == 2 and names[0] != names[1]:
        return child
    merged = dict(parent.value)
    for key, value in child.value.items():
        merged[key] = merge(merged[key], value) if key in merged else value
    return Tree(merged, child.mark)


def _block(name: Tree) -> Tree:
    """Write the component `cnn` as `{name: cnn}`."""
    return Tree({"name": name}, name.mark)


def apply_set(tree: Tree, assignment: str) -> Tree:
    """Lay one `a.b=c` over a spec; the value is read as YAML, a number names a list's item.

    Raises:
        SpecError: if the assignment has no `=` or names an item that is not there.
    """
    mark = Mark(f"--set {assignment}")
    key, equals, text = assignment.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise SpecError([Problem(mark, (), "write --set PATH=VALUE, such as --set training.batch_size=8")])
    value = _remark(parse(text, origin=mark.origin, folder=FilePath()), mark)
    if not text.strip():
        value = Tree(SpecString("", FilePath()), mark)
    return _assign(tree, parts, value, mark, ())


def _assign(tree: Tree, parts: Sequence[str], value: Tree, mark: Mark, path: Path) -> Tree:
    if not parts:
        return merge(tree, value)
    part, rest = parts[0], parts[1:]
    if isinstance(tree.value, list):
        if not part.isdigit() or int(part) >= len(tree.value):
            text = f"this is a list of {len(tree.value)}; write a position from 0 to {len(tree.value) - 1}"
            raise SpecError([Problem(mark, (*path, part), text)])
        items = list(tree.value)
        items[int(part)] = _assign(items[int(part)], rest, value, mark, (*path, int(part)))
        return Tree(items, tree.mark)
    old = tree.child(part)
    if old is None or not rest:
        for name in reversed(rest):
            value = Tree({name: value}, mark)
    else:
        value = _assign(old, rest, value, mark, (*path, part))
    return merge(tree, Tree({part: value}, tree.mark), root=not path)


def _remark(tree: Tree, mark: Mark) -> Tree:
    """Give a tree that was read from a `--set` the mark of that `--set`."""
    if isinstance(tree.value, dict):
        return Tree({key: _remark(child, mark) for key, child in tree.value.items()}, mark)
    if isinstance(tree.value, list):
        return Tree([_remark(child, mark) for child in tree.value], mark)
    return Tree(tree.value, mark)
