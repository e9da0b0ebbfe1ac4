"""The registry finds components, and refuses those that break the rules with a message that says how."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from slotlab.framework.plugin_loading.discovery import load_registry, slotlab_version
from slotlab.registry import (
    KINDS,
    ClosedModel,
    Component,
    ComponentConfig,
    PluginError,
    Ref,
    RefTo,
    Registry,
    hookimpl,
    hookspecs,
)


def build_nothing(config: Any, context: Any) -> None:
    return None


class NamedConfig(ComponentConfig):
    name: str = "x"


def component(**changes: Any) -> Component[Any]:
    facts: dict[str, Any] = {
        "name": "good",
        "config": ComponentConfig,
        "build": build_nothing,
        "summary": "a part",
    }
    return Component(**{**facts, **changes})


@pytest.mark.parametrize("kind", list(KINDS))
def test_builtins_provide_every_kind(registry: Registry, kind: str) -> None:
    found = registry.all(kind)
    assert found
    assert [item.component.name for item in found] == registry.names(kind) == sorted(registry.names(kind))
    assert {item.source for item in found} == {f"slotlab {slotlab_version()}"}
    assert all(registry.find(kind, item.component.name) is item for item in found)


def test_all_is_the_kinds_in_order(registry: Registry) -> None:
    assert registry.all() == [item for kind in KINDS for item in registry.all(kind)]


def test_every_kind_has_a_documented_hook() -> None:
    hooks = {name for name in vars(hookspecs) if name.startswith("slotlab_")}
    assert hooks == {"slotlab_kinds", *(kind.hook for kind in KINDS.values())}
    assert all(getattr(hookspecs, name).__doc__ for name in hooks)


def test_builtins_obey_the_rules_and_document_their_settings(registry: Registry) -> None:
    for item in registry.all():
        assert item.component.complaints() == []
        fields = item.component.config.model_fields
        assert [name for name, field in fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"name": "Bad-Name"},
            "name 'Bad-Name' must be lower-case letters, digits, '_' and '-', starting with a letter",
        ),
        ({"name": 3}, "name 3 must be lower-case letters, digits, '_' and '-', starting with a letter"),
        ({"config": dict}, "config must be a subclass of ComponentConfig, not <class 'dict'>"),
        ({"config": 1}, "config must be a subclass of ComponentConfig, not 1"),
        (
            {"config": NamedConfig},
            "config must not have a field 'name'; it is the key that selects the component",
        ),
        ({"build": "x"}, "build must be callable, not 'x'"),
        ({"summary": " "}, "summary must be one line that says what the component is"),
        ({"summary": "a\nb"}, "summary must be one line that says what the component is"),
        ({"summary": None}, "summary must be one line that says what the component is"),
        ({"version": 0}, "version must be a whole number from 1, not 0"),
        ({"version": "1"}, "version must be a whole number from 1, not '1'"),
        ({"version": True}, "version must be a whole number from 1, not True"),
    ],
)
def test_rules_for_components(changes: dict[str, Any], complaint: str) -> None:
    assert component(**changes).complaints() == [complaint]


@pytest.mark.parametrize(
    "install", [3, None, "slotlab[video] timm", "slotlab[video, data]", "timm>=", "-r list", "a;b"]
)
def test_what_else_it_needs_is_one_package(install: Any) -> None:
    rule = "must be one package as pip is told, without spaces, as 'slotlab[video]' or 'timm>=1.0'"
    assert component(install=install).complaints() == [f"install {rule}; it is {install!r}"]


@pytest.mark.parametrize(
    "install", ["", "timm", "timm>=1.0,<2", "slotlab[video,data]", "slotlab[video]~=0.1", "own-package==1.*"]
)
def test_a_package_may_have_extras_and_versions(install: str) -> None:
    assert component(install=install).complaints() == []


def test_every_broken_rule_is_said_at_once() -> None:
    assert len(component(name="", config=1, build=1, summary="", version=0).complaints()) == 5


def test_a_module_that_was_refused_is_refused_again(registry: Registry) -> None:
    """A plugin that could not be loaded is not taken for one that is loaded already."""
    module = ModuleType("taken")
    module.slotlab_encoders = hookimpl(lambda: [component(name="cnn")])  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(PluginError, match="two plugins provide the encoder 'cnn'"):
            registry.add(module, source="taken 1.0")


def test_registries_share_nothing(plugin: Callable[..., Path]) -> None:
    one, other = load_registry(), load_registry()
    one.add_file(plugin())
    assert one.find("encoder", "pixelwise")
    assert other.find("encoder", "pixelwise") is None


def test_unknown_names_are_explained(registry: Registry) -> None:
    initializers = ", ".join(registry.names("initializer"))
    assert registry.explain_unknown("initializer", "gausian") == (
        f"no initializer is called 'gausian'; did you mean 'gaussian'? (available: {initializers})"
    )
    assert registry.explain_unknown("grouping", "zzz") == (
        f"no grouping is called 'zzz' (available: {', '.join(registry.names('grouping'))})"
    )
    assert Registry().explain_unknown("encoder", "cnn") == "no encoder is called 'cnn' (available: none)"


def test_a_ref_without_a_registry_says_how(registry: Registry) -> None:
    found = registry.find("decoder", "spatial_broadcast")
    assert found is not None
    with pytest.raises(TypeError) as caught:
        found.component.config()
    text = "a Ref needs a registry: validate with context={'registry': load_registry()}"
    assert str(caught.value) == text


def test_a_finished_ref_is_valid(registry: Registry) -> None:
    found = registry.find("encoder", "cnn")
    assert found is not None
    ref = Ref(found, found.component.config())
    assert TypeAdapter(Annotated[Ref, RefTo("encoder")]).validate_python(ref) is ref


class NoSettings(ClosedModel):
    """None."""


def test_unknown_keys_of_a_block_without_settings() -> None:
    with pytest.raises(ValidationError) as caught:
        NoSettings.model_validate({"a": 1})
    assert [error["msg"] for error in caught.value.errors()] == ["unknown key (keys here: none)"]


def test_plugin_error_keeps_its_reason() -> None:
    error = PluginError("is broken", source="x 1.0")
    assert (str(error), error.reason) == ("x 1.0: is broken", "is broken")
