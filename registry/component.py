"""What a plugin provides: a name, typed settings, and a function that builds the component."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import Any, Generic, Self, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

_STANDARD_TYPES = frozenset(get_args(core_schema.ErrorType))
LONGEST_WORD = 60
"""Most characters of a component's name, and of a word for which a known name is suggested."""
NAME = re.compile(r"[a-z][a-z0-9_-]*")
_VERSIONS = r"(?:==|!=|<=|>=|~=|<|>)[\w.*!+-]+"
PACKAGE = re.compile(
    rf"([A-Za-z0-9][\w.-]*)(?:\[[\w.-]+(?:,[\w.-]+)*\])?({_VERSIONS}(?:,{_VERSIONS})*)?", re.ASCII
)
"""One package as pip is told, without spaces: its name (group 1), extras and versions (group 2) if any."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" with the nearest known word; an empty string if none is near."""
    if len(word) > LONGEST_WORD:
        return ""
    plain = {name.lower().replace("-", "_"): name for name in known}
    near = difflib.get_close_matches(word.lower().replace("-", "_"), plain, n=1, cutoff=0.6)
    return f"; did you mean '{plain[near[0]]}'?" if near else ""


def _is_number(annotation: Any) -> bool:
    """Return whether a field's type admits int or float, but not bool."""
    parts = get_args(annotation)
    return annotation in (int, float) or (bool not in parts and any(_is_number(part) for part in parts))


class ClosedModel(BaseModel):
    """Settings that are frozen, refuse unknown keys and suggest the key that was meant."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _explain_mistakes(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        slips = [key for key in data if cls._is_slip(key, data[key])] if isinstance(data, Mapping) else []
        found: list[InitErrorDetails] = []
        valid = None
        try:
            valid = handler(data)
        except ValidationError as error:
            found = [cls._explain(e) for e in error.errors() if e["loc"][:1] not in {(key,) for key in slips}]
        for key in slips:
            kind = custom_error("bool_for_number", f"expected a number, got {str(data[key]).lower()}")
            found.append(InitErrorDetails(type=kind, loc=(key,), input=data[key]))
        if found or valid is None:
            raise ValidationError.from_exception_data(cls.__name__, found)
        return valid

    @classmethod
    def _is_slip(cls, key: str, value: Any) -> bool:
        """Return whether a value is true or false where a number is expected; pydantic would read 1 or 0."""
        field = cls.model_fields.get(key)
        return isinstance(value, bool) and field is not None and _is_number(field.annotation)

    @classmethod
    def _explain(cls, error: Any) -> InitErrorDetails:
        kind: Any = error["type"]
        if kind == "extra_forbidden" and len(error["loc"]) == 1:
            keys = cls.spec_keys()
            text = f"unknown key{suggest(str(error['loc'][0]), keys)}"
            kind = custom_error("unknown_key", f"{text} (keys here: {', '.join(keys) or 'none'})")
        elif kind not in _STANDARD_TYPES:  # one of ours, from deeper down: pass its text on as it is
            kind = custom_error(kind, error["msg"])
        return InitErrorDetails(type=kind, loc=error["loc"], input=error["input"], ctx=error.get("ctx", {}))

    @classmethod
    def spec_keys(cls) -> list[str]:
        """The keys a spec may use here, in the order of their definition."""
        return list(cls.model_fields)


class ComponentConfig(ClosedModel):
    """Base of every component's settings. Document each field with a docstring under it."""

    @classmethod
    def spec_keys(cls) -> list[str]:
        """The keys of the component's block: `name`, then its own."""
        return ["name", *cls.model_fields]

    def cautions(self) -> list[str]:
        """Warnings about settings that are allowed and rarely meant; none by default."""
        return []


def custom_error(kind: str, message: str) -> PydanticCustomError:
    """Build a pydantic error from a finished text (pydantic's types want a literal template)."""
    return PydanticCustomError(cast(Any, kind), cast(Any, message))


ConfigT = TypeVar("ConfigT", bound=ComponentConfig)
ClassT = TypeVar("ClassT", bound=type)
NEEDED = {
    "name": "'name', by which specs select it",
    "config": "'config', the class of its settings",
    "build": "'build', which makes it from its settings and a context",
    "summary": "'summary', one line that says what the component is",
}
"""What a component must be given, in words."""


def complains_later(kind: ClassT) -> ClassT:
    """Let a component be made of too few or unknown arguments: `complaints` says so, with all else."""
    make: Any = kind.__init__  # type: ignore[misc]

    @wraps(make)
    def made(self: Any, **given: Any) -> None:
        known = {one.name: one for one in fields(self) if one.init}
        lacking = [name for name in NEEDED if name not in given]
        unknown = [name for name in given if name not in known]
        rest = {name: value for name, value in given.items() if name in known}
        make(self, **dict.fromkeys(lacking), **rest)
        slips = {name: f"lacks {NEEDED[name]}" for name in lacking}
        for name in unknown:
            slips[name] = f"does not know '{name}'{suggest(name, known)} ({', '.join(known)})"
        object.__setattr__(self, "slips", slips)

    kind.__init__ = made  # type: ignore[misc]
    return kind


@complains_later
@dataclass(frozen=True, kw_only=True)
class Component(Generic[ConfigT]):
    """One interchangeable part.

    `build(config, context)` makes the object that the kind's hook describes. `context`
    carries the facts that the component must not configure itself, such as the image
    size. `version` is raised when the same settings would compute something else: runs of
    the former version are then refused, or evaluated with the settings in `earlier`. What it needs
    beside its package's own dependencies, such as an extra, is said in `install`.
    """

    name: str
    config: type[ConfigT]
    build: Callable[[ConfigT, Any], Any]
    summary: str
    version: int = 1
    earlier: Mapping[int, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    """By former version: the settings with which this version computes what that one did."""
    install: str = ""
    """What else it may need installed, one package as pip is told, without spaces: `slotlab[video]`,
    `timm>=1.0`; model cards name it."""
    slips: Mapping[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """By argument that it lacks or does not know: the complaint."""

    def complaints(self) -> list[str]:
        """Return the rules for components that it breaks, in words; empty if it keeps them all."""
        found = list(self.slips.values())
        given = {name for name in NEEDED if name not in self.slips}
        if "name" in given and not (isinstance(self.name, str) and NAME.fullmatch(self.name)):
            rule = "must be lower-case letters, digits, '_' and '-', starting with a letter"
            found.append(f"name {self.name!r} {rule}")
        elif "name" in given and len(self.name) > LONGEST_WORD:
            found.append(f"name {self.name!r} must have at most {LONGEST_WORD} characters")
        if "config" in given and not (
            isinstance(self.config, type) and issubclass(self.config, ComponentConfig)
        ):
            found.append(f"config must be a subclass of ComponentConfig, not {self.config!r}")
        elif "config" in given and "name" in self.config.model_fields:
            found.append("config must not have a field 'name'; it is the key that selects the component")
        if "build" in given and not callable(self.build):
            found.append(f"build must be callable, not {self.build!r}")
        if "summary" in given and not (
            isinstance(self.summary, str) and len(self.summary.strip().splitlines()) == 1
        ):
            found.append("summary must be one line that says what the component is")
        if type(self.version) is not int or self.version < 1:
            found.append(f"version must be a whole number from 1, not {self.version!r}")
        if self.install != "" and not (isinstance(self.install, str) and PACKAGE.fullmatch(self.install)):
            rule = "must be one package as pip is told, without spaces, as 'slotlab[video]' or 'timm>=1.0'"
            found.append(f"install {rule}; it is {self.install!r}")
        return found
