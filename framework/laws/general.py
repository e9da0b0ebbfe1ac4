"""Laws of every kind: settings, texts, imports, and that a component can be built."""

import ast
import json
from importlib.util import find_spec
from pathlib import Path

from pydantic import ValidationError

from slotlab.framework.laws.benches import BENCHES
from slotlab.framework.laws.blame import global_streams, line_of_attribute, line_of_code, line_that_changes
from slotlab.framework.laws.subject import Lacking, Subject
from slotlab.framework.laws.verdict import Broken, Law, Place, Skip
from slotlab.registry import ComponentError

EMPTY_WORDS = frozenset({"", "todo", "fixme", "x", "summary", "description", "...", "tbd"})
BUILT = "can be built"


def is_described(subject: Subject) -> None:
    """The summary says what the component is, and its settings have a docstring."""
    component = subject.item.component
    summary = component.summary.strip()
    if summary.lower().strip(".") in EMPTY_WORDS | {component.name} or len(summary) < 4:
        text = f"the summary is {summary!r}, which says nothing; `slotlab list` shows it"
        raise Broken(text, place=place_of_text(subject, summary))
    if not component.config.__dict__.get("__doc__"):
        name = component.config.__name__
        repair = f'write """Settings of ...""" under \'class {name}\''
        raise Broken(f"the class {name} has no docstring", repair, place=place_of_config(subject))


def place_of_text(subject: Subject, text: str) -> Place | None:
    """Return the line of a text in the component's files."""
    for file in subject.files:
        for number, line in enumerate(Path(file).read_text().splitlines(), 1):
            if f"summary={text!r}" in line or f'summary="{text}"' in line:
                return Place(Path(file), number)
    return place_of_config(subject)


def place_of_config(subject: Subject, setting: str | None = None) -> Place | None:
    """Return the line of the settings' class, or of one setting."""
    model = subject.item.component.config
    found = None if setting is None else line_of_attribute(model, setting)
    return found or line_of_code(model)


def settings_are_documented(subject: Subject) -> None:
    """Every setting has a docstring under it, which `slotlab show` prints."""
    for name, field in subject.item.component.config.model_fields.items():
        if not (field.description or "").strip():
            repair = f'write a docstring under it: """What {name} is.""" (`slotlab show` prints it)'
            raise Broken(
                f"the setting '{name}' has no docstring", repair, place=place_of_config(subject, name)
            )


def settings_are_closed(subject: Subject) -> None:
    """Settings refuse unknown keys, and cannot be changed."""
    model, given = subject.item.component.config, {**subject.settings, "no_such_key": 1}
    given.update(subject.config.model_dump(mode="json"))
    try:
        model.model_validate(given, context={"registry": subject.registry})
    except ValidationError:
        pass
    else:
        raise Broken(
            "an unknown key is accepted: a slip of a spec would go unseen", place=place_of_config(subject)
        )
    for name in model.model_fields:
        try:
            setattr(subject.config, name, getattr(subject.config, name))
        except ValidationError:
            continue
        raise Broken(
            f"the setting '{name}' can be changed after it was read", place=place_of_config(subject, name)
        )


def settings_survive_saving(subject: Subject) -> None:
    """Settings are the same after a run folder has kept them as text."""
    config, model = subject.config, subject.item.component.config
    try:
        data = json.loads(json.dumps(config.model_dump(mode="json"), allow_nan=False))
        back = model.model_validate(data, context={"registry": subject.registry})
    except (ValidationError, ValueError, TypeError) as error:
        text = " ".join(str(error).split())
        raise Broken(
            f"settings cannot be written and read again: {text}", place=place_of_config(subject)
        ) from None
    for name in model.model_fields:
        before, after = getattr(config, name), getattr(back, name)
        if before != after:
            text = f"'{name}' is {before!r}, and {after!r} after it was written and read again"
            raise Broken(text, place=place_of_config(subject, name))


def imports_are_found(subject: Subject) -> None:
    """What the plugin's files import lies beside them or is installed."""
    if not subject.code_files:
        raise Skip("it comes from a package, not from a file")
    stems = {Path(file).stem for file in subject.code_files} | {
        part for file in subject.code_files for part in Path(file).parts[-2:-1]
    }
    for file in subject.code_files:
        for name, line in imported(Path(file)):
            if name not in stems and not is_there(name):
                text = f"imports '{name}', which neither lies beside the file nor is installed"
                raise Broken(text, place=Place(Path(file), line))


def imported(file: Path) -> list[tuple[str, int]]:
    """Return the modules that a file imports, in functions too, by their first word, with lines."""
    found = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found += [(alias.name.partition(".")[0], node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.append((node.module.partition(".")[0], node.lineno))
    return found


def is_there(name: str) -> bool:
    """Return whether a module is installed."""
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def can_be_built(subject: Subject) -> None:
    """It is built from its settings, and draws from torch's generator alone while it is."""
    if subject.kind not in BENCHES:
        raise Skip("there are no laws about what this kind builds")
    try:
        subject.context  # noqa: B018 - builds it
    except Lacking as lacking:
        reason, _, repair = str(lacking).partition(": ")
        raise Broken(reason, repair, place=place_of_config(subject)) from None
    except ComponentError as error:
        where = f"{error.field}: " if error.field else ""
        repair = "give settings that fit with --set, or let it fit what it is told"
        raise Broken(f"it refuses all that it is told: {where}{error}", repair) from None

    def build() -> None:
        subject.build(seed=3)

    before = global_streams()
    build()
    if global_streams() != before:
        place = line_that_changes(lambda: global_streams()[1:], build, subject.files)
        raise Broken("numbers are drawn from NumPy or Python while it is built", place=place)


GENERAL = (
    Law(
        "is described",
        is_described,
        'write one line that says what the component is, such as "convolutions with growing dilation"',
        cheap=True,
    ),
    Law(
        "settings are documented", settings_are_documented, "write a docstring under each setting", cheap=True
    ),
    Law(
        "settings are closed and frozen",
        settings_are_closed,
        "leave model_config as ComponentConfig has it",
        cheap=True,
    ),
    Law(
        "settings survive saving",
        settings_survive_saving,
        "use types that JSON can hold and that pydantic reads back as they were",
        cheap=True,
    ),
    Law(
        "imports are found",
        imports_are_found,
        "put the module beside the plugin file, or install it",
        cheap=True,
    ),
    Law(
        BUILT,
        can_be_built,
        "draw weights with torch: the seed of a training then decides them",
    ),
)
"""For components of every kind."""
