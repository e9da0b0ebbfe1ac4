"""What may be made under which name."""

import keyword
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

import yaml

from slotlab.registry import Kind, Registry, SlotlabError
from slotlab.registry.component import LONGEST_WORD, NAME, suggest

OWN_KIND = "kind"
"""The word in place of a kind that makes a new kind."""


def kind_named(word: str, registry: Registry, templates: Sequence[str]) -> str:
    """Return the kind that a word means, in singular or plural.

    Raises:
        SlotlabError: if there is no such kind, or no template for it.
    """
    plurals = {one.plural: one.name for one in registry.kinds.values()}
    kind = plurals.get(word, word)
    if kind in templates:
        return kind
    known = f"'slotlab new' knows these kinds: {', '.join(templates)}"
    if kind in registry.kinds:
        hook = f"'python -m pydoc slotlab.hooks' says what {registry.kinds[kind].hook} has to yield"
        raise SlotlabError(f"there is no template for the kind '{kind}'; {hook} ({known})")
    own = f"for a kind of your own write 'slotlab new {OWN_KIND} NAME'"
    raise SlotlabError(f"no kind is called '{word}'{suggest(word, templates)} ({known}; {own})")


def check_name(name: str, kind: str, registry: Registry) -> None:
    """Refuse a name that a new component, or a new kind, cannot have.

    Raises:
        SlotlabError: with a name that would be right, if there is one near.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST_WORD:
        rule = f"up to {LONGEST_WORD} lower-case letters, digits, '_' and '-', starting with a letter"
        raise SlotlabError(f"name {name[:LONGEST_WORD]!r}: must be {rule}{better(name)}")
    if keyword.iskeyword(name) or yaml.safe_load(name) != name:
        language = "Python" if keyword.iskeyword(name) else "YAML"
        raise SlotlabError(f"name '{name}': is a word of {language}; write, for example, 'my_{name}'")
    if kind == OWN_KIND:
        check_kind(Kind(name, f"{name}s"), registry.kinds)
    elif registry.find(kind, name) is not None:
        text = f"there is already {article(kind)} {kind} called '{name}'"
        raise SlotlabError(f"{text} (see 'slotlab show {kind} {name}'); choose another name")


def check_kind(kind: Kind, known: Mapping[str, Kind]) -> None:
    """Refuse a kind that breaks the rules for kinds, or is there."""
    if kind.complaints():
        right = re.sub("[^a-z_]", "_", kind.name).strip("_")
        raise SlotlabError(
            f"name '{kind.name}': a kind has lower-case letters and '_'; write, for example, '{right}'"
        )
    if len(kind.name) > LONGEST_WORD - len("plain_"):  # its first component is called so
        raise SlotlabError(f"name '{kind.name}': is too long for a kind; choose a shorter one")
    if kind.name == OWN_KIND or kind.name in known or kind.plural in {one.plural for one in known.values()}:
        raise SlotlabError(f"there is already a kind called '{kind.name}'; choose another name")


def check_module(module: str) -> None:
    """Refuse a module that would hide an installed one, as tests find their own folder first.

    Raises:
        SlotlabError: with another name.
    """
    found = find_spec(module)
    if found is not None and found.origin is not None:
        text = f"name '{module}': Python has a module of this name, which the new one would hide"
        raise SlotlabError(f"{text}; write, for example, 'my_{module}'")


def better(name: str) -> str:
    """Return `; write 'x'` with the valid name that is nearest; an empty string if nothing is left."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    found = re.sub(r"[^a-z0-9_-]+", "_", words).lstrip("0123456789_-").rstrip("_-")[:LONGEST_WORD]
    return f"; write, for example, '{found}'" if found else ""


def article(word: str) -> str:
    """Return the indefinite article of a word."""
    return "an" if word[0] in "aeiou" else "a"


def class_name(name: str, kind: str) -> str:
    """Return the name of the component's class, which ends with its kind so that it hides no import."""
    camel, end = ("".join(part.capitalize() for part in re.split("[_-]", word)) for word in (name, kind))
    return camel if kind == OWN_KIND else (camel.removesuffix(end) or camel) + end
