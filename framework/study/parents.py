"""The specs that arms begin with: an ablation's base, and those that an axis puts in its place."""

from dataclasses import dataclass, field
from pathlib import Path as FilePath

from slotlab.framework.spec.errors import Path, Problem, SpecError
from slotlab.framework.spec.merge import find_spec, folder_of, read_tree
from slotlab.framework.spec.tree import Tree
from slotlab.registry import SlotlabError


@dataclass(frozen=True)
class Parents:
    """Finds and reads the specs that an ablation names."""

    ablation: FilePath
    """The ablation's file."""
    folder: FilePath | None
    """What relative paths in the specs start from; None for the folder of each."""
    known: dict[tuple[FilePath, FilePath | None], Tree] = field(default_factory=dict)
    """What was read, by file and folder."""

    def file(self, value: Tree, where: Path) -> FilePath:
        """Return the file of the spec that a value at a place of the ablation names.

        Raises:
            SpecError: if there is no such file.
        """
        folder = getattr(value.value, "folder", self.ablation.parent)  # of a --set: the current folder
        try:
            return find_spec(value.value, folder)
        except SlotlabError as error:
            raise SpecError([Problem(value.mark, where, str(error))]) from None

    def read(self, value: Tree, where: Path) -> Tree:
        """Read that spec.

        Raises:
            SpecError: if there is no such file, or it is an ablation.
        """
        file = self.file(value, where)
        folder = self.folder or folder_of(str(value.value))
        if (file, folder) not in self.known:
            self.known[file, folder] = read_tree(file, folder=folder)
        found = self.known[file, folder]
        if found.child("axes") is not None and found.child("base") is not None:
            text = f"{file} is an ablation itself; name the spec of one experiment"
            raise SpecError([Problem(value.mark, where, text)])
        return found
