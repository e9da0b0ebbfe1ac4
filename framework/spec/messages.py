"""Pydantic's errors in the words of someone who edits a spec."""

from collections.abc import Mapping
from typing import Any

TEXTS = {
    "missing": "this key is required",
    "int_parsing": "expected a whole number, got {input}",
    "int_type": "expected a whole number, got {input}",
    "int_from_float": "expected a whole number, got {input}",
    "float_parsing": "expected a number, got {input}",
    "float_type": "expected a number, got {input}",
    "finite_number": "expected a finite number, got {input}",
    "bool_parsing": "expected true or false, got {input}",
    "bool_type": "expected true or false, got {input}",
    "string_type": "expected text, got {input}",
    "path_type": "expected a path, got {input}",
    "tuple_type": "expected a list, got {input}",
    "list_type": "expected a list, got {input}",
    "dict_type": "expected a block of 'key: value' lines, got {input}",
    "model_type": "expected a block of 'key: value' lines, got {input}",
    "model_attributes_type": "expected a block of 'key: value' lines, got {input}",
    "greater_than": "must be greater than {gt}, got {input}",
    "greater_than_equal": "must be at least {ge}, got {input}",
    "less_than": "must be less than {lt}, got {input}",
    "less_than_equal": "must be at most {le}, got {input}",
    "too_short": "needs at least {min_length} item(s), got {actual_length}",
    "too_long": "takes at most {max_length} item(s), got {actual_length}",
    "string_too_long": "a text of at most {max_length} characters, and this one has {length}",
    "literal_error": "expected {expected}, got {input}",
    "string_pattern_mismatch": (
        "{input} may hold only letters, digits, '.', '_' and '-', starting with a letter or digit"
    ),
}


def show(value: Any) -> str:
    """Write a value as it would stand in YAML, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a block of 'key: value' lines"
    text = repr(str(value)) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


PARENTS = {"defaults", "_base_", "base_config", "include", "includes", "inherit", "inherits", "parent"}
"""Keys by which the files of other tools name their parent."""


MISSING_RUN = "missing_run"
"""The kind of error that a run is not there whose folder a setting `run` names."""


def say(detail: Mapping[str, Any]) -> str:
    """Return the message for one entry of `ValidationError.errors()`."""
    kind = detail["type"]
    if kind == "literal_error" and detail.get("loc") == ("format",):
        return f"this slotlab reads specs of format 1, got {show(detail['input'])}; write 'format: 1'"
    if kind == "unknown_key" and detail["loc"][0] in PARENTS and len(detail["loc"]) == 1:
        return "unknown key; a spec goes on from another one by 'extends: FILE', or 'extends: slotlab:NAME'"
    if kind == MISSING_RUN:
        path = ".".join(map(str, (*detail["loc"], "run")))
        return f"{detail['msg']}, or name another: --set {path}=FOLDER"
    template = TEXTS.get(kind)
    if template is None:
        return str(detail["msg"]).removeprefix("Value error, ")
    length = len(detail["input"]) if isinstance(detail["input"], str) else 0
    return template.format(input=show(detail["input"]), length=length, **detail.get("ctx", {}))
