"""What a dataset's Config says of its data is understood however it is written: setting, property or ClassVar."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import pytest

from slotlab.framework.contracts import dataset_settings as contract
from slotlab.registry import ComponentConfig


class Bare(ComponentConfig):
    """Says nothing."""


class AsSettings(ComponentConfig):
    variant: Literal["full", "camo"] = "full"
    splits: Mapping[str, str] | None = None


class AsProperties(ComponentConfig):
    most: int = 6

    @property
    def object_limit(self) -> int:
        return self.most

    @property
    def unsplit(self) -> bool:
        return self.most > 6


class AsClassVars(ComponentConfig):
    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    rendered: ClassVar[bool] = True


def test_a_dataset_that_says_nothing_has_none_of_it() -> None:
    assert contract.variant_of(Bare()) is None
    assert contract.splits_of(Bare()) is None
    assert contract.object_limit_of(Bare()) is None
    assert not contract.is_unsplit(Bare())
    assert not contract.is_rendered(Bare())


def test_settings() -> None:
    assert contract.variant_of(AsSettings(variant="camo")) == "camo"
    assert contract.splits_of(AsSettings()) is None, "the protocol splits it"
    assert contract.splits_of(AsSettings(splits={"b": "x", "a": "y"})) == ("b", "a")


@pytest.mark.parametrize("most", [6, 7])
def test_properties(most: int) -> None:
    assert contract.object_limit_of(AsProperties(most=most)) == most
    assert contract.is_unsplit(AsProperties(most=most)) == (most > 6)


def test_class_variables() -> None:
    assert contract.splits_of(AsClassVars()) == ("train", "val")
    assert contract.is_rendered(AsClassVars())
