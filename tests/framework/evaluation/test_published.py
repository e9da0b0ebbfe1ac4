"""Published references: what ships is whole and comparable, and what is not a reference is refused."""

from collections.abc import Callable
from importlib import resources

import pytest

from slotlab.framework.evaluation import published
from slotlab.framework.evaluation.published import comparable, of_protocol, read_references, references
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

Specs = Callable[..., ExperimentSpec]
REGISTRY = load_registry()
SET_METRICS = {"fid"}
ROW = "- {data: clevrtex, train: full, test: full, protocol: seed, source: a paper, rows: [ROWS]}"
CLEVRTEX = {"name": "clevrtex", "root": "nowhere"}


def test_every_reference_names_a_protocol_and_a_metric_that_are_here() -> None:
    found = references()
    assert len(found) > 100
    assert {one.protocol for one in found} <= set(REGISTRY.names("protocol"))
    assert {one.metric for one in found} <= set(REGISTRY.names("metric")) | SET_METRICS
    configs = [REGISTRY.find("dataset", name).component.config for name in REGISTRY.names("dataset")]
    assert {one.data for one in found} <= {getattr(config, "published_data", None) for config in configs}
    assert len(set(found)) == len(found), "each once"


def test_values_are_in_the_units_of_the_metrics() -> None:
    assert all(-0.5 <= one.value <= 1 for one in references() if one.metric != "fid")
    assert all(one.value > 100 for one in references() if one.metric == "fid")


def test_the_numbers_of_the_reference_report() -> None:
    rows = [one for one in references() if one.protocol == "seed"]
    assert {(one.metric, one.max_objects, one.value) for one in rows} == {
        ("ari", 6, 0.56269),
        ("fid", 6, 143.379),
        ("ari", None, 0.55447),
        ("fid", None, 161.366),
    }


def test_only_the_same_protocol_data_variant_and_filter_are_comparable(tiny: Specs) -> None:
    def methods(**data: object) -> set[str]:
        return {one.method for one in comparable(tiny(data={"dataset": CLEVRTEX, **data}).data)}

    assert "AKOrN L=2" in methods(protocol="clevrtex-official")
    assert methods(protocol={"name": "clevrtex-official", "image_size": 64}) == set(), "another protocol"
    assert methods(protocol="isa") == set()
    assert methods(protocol="ocb-ood") == set(), "nothing is published of the full variant"
    assert "DIAS" in methods(protocol="ocb-ood", dataset=CLEVRTEX | {"variant": "outd"})
    six = {"max_objects": 6, "count": "mask_colors"}
    limits = [
        {
            one.max_objects
            for one in comparable(tiny(data={"dataset": CLEVRTEX, "protocol": "seed", **more}).data)
        }
        for more in ({}, {"filter": six})
    ]
    assert limits == [{None}, {6}]
    assert comparable(tiny(data={"protocol": "clevrtex-official"}).data) == [], (
        "generated scenes are other data"
    )


def test_references_of_a_protocol() -> None:
    rows = of_protocol(references(), "boqsa-nocrop")
    assert {one.protocol for one in rows} == {"boqsa-nocrop"}
    assert list(of_protocol(references(), None)) == references()
    with pytest.raises(SlotlabError) as error:
        of_protocol(rows, "whole")
    known = "there are some under: boqsa-nocrop"
    assert str(error.value) == f"no published numbers under protocol 'whole' ({known})"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "r.yaml: expected a list of entries with 'rows'"),
        ("- {data: clevrtex}", "r.yaml: entry 0: expected a block with 'rows', a list"),
        (
            ROW.replace("ROWS", "{method: A, metric: ari, value: 0.5}, {method: B, metric: ari}"),
            "r.yaml: entry 0, row 1: value: this key is required",
        ),
        (
            ROW.replace("ROWS", "{method: A, metric: ari, value: 0.5, std: -1}"),
            "r.yaml: entry 0, row 0: std: must be at least 0.0, got -1",
        ),
        (
            ROW.replace("a paper", "''").replace("ROWS", "{method: A, metric: ari, value: 1}"),
            "r.yaml: entry 0, row 0: source: String should have at least 1 character",
        ),
    ],
)
def test_what_is_no_reference(text: str, message: str) -> None:
    with pytest.raises(SlotlabError) as error:
        read_references(text, "r.yaml")
    assert str(error.value) == message


def test_the_table_is_installed() -> None:
    assert resources.files("slotlab.framework.evaluation.published").joinpath(published.FILE).is_file()
