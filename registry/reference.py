"""`encoder: {name: cnn, channels: [64]}` as a pydantic type.

A `Ref` is a component chosen by name together with its validated settings. The registry
comes from pydantic's validation context, so there is no global one. Refs may be nested
in a component's own Config.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from slotlab.registry.component import ComponentConfig, custom_error
from slotlab.registry.errors import ComponentError, SlotlabError, describe
from slotlab.registry.manager import Registered, Registry


@dataclass(frozen=True)
class Ref:
    """A chosen component and its settings."""

    registered: Registered
    config: ComponentConfig
    implied: bool = False
    """Whether it is the component that its block stands for without a `name`."""

    @property
    def name(self) -> str:
        """The component's name."""
        return self.registered.component.name

    def build(self, context: Any) -> Any:
        """Build the component.

        Raises:
            SlotlabError: a `ComponentError` where settings and context do not fit, and for
                whatever else a component's own code raises.
        """
        try:
            return self.registered.component.build(self.config, context)
        except (SlotlabError, OSError):  # both name what is wrong for the user
            raise
        except Exception as error:
            raise ComponentError(f"cannot be built: {describe(error, self.registered.path)}") from error

    def dump(self, **options: Any) -> dict[str, Any]:
        """The block as it stands in a spec: `{"name": ..., **settings}`; an implied name is left out."""
        name = {} if self.implied else {"name": self.name}
        return {**name, **self.config.model_dump(mode="json", **options)}


@dataclass(frozen=True)
class RefTo:
    """Annotates a `Ref` with its kind: `Annotated[Ref, RefTo("encoder")]`."""

    kind: str
    implied: str | None = None
    """The component that a block without a `name` stands for; None if a name must be given."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate a name, a block or a finished Ref."""
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(_serialize, info_arg=True),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the kind only: `spec.json_schema` puts the kind's components in its place."""
        return {"component": self.kind} | ({} if self.implied is None else {"implied": self.implied})

    def _validate(self, value: Any, info: ValidationInfo) -> Ref:
        if isinstance(value, Ref):
            return value
        if not info.context:
            raise TypeError("a Ref needs a registry: validate with context={'registry': load_registry()}")
        registry: Registry = info.context["registry"]
        block = {"name": value} if isinstance(value, str) else value
        if self.implied is not None and isinstance(block, Mapping):
            block = {"name": self.implied, **block}
        if not isinstance(block, Mapping) or not isinstance(block.get("name"), str):
            article = "an" if self.kind[0] in "aeiou" else "a"
            names = ", ".join(registry.names(self.kind)) or "none"
            message = (
                f"expected the name of {article} {self.kind}, or a block with its 'name' (names: {names})"
            )
            raise custom_error("component_block", message)
        registered = registry.find(self.kind, block["name"])
        if registered is None:
            raise custom_error("unknown_component", registry.explain_unknown(self.kind, block["name"]))
        settings = {key: item for key, item in block.items() if key != "name"}
        config = registered.component.config.model_validate(settings, context=info.context)
        return Ref(registered, config, implied=block["name"] == self.implied)


def _serialize(ref: Ref, info: core_schema.SerializationInfo) -> dict[str, Any]:
    return ref.dump(exclude_defaults=info.exclude_defaults, context=info.context)
