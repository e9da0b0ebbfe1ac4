"""Conditions: protocols, variants and mask sources laid over a run's spec, and what cannot be."""

from typing import Any

import pytest

from slotlab.framework.contracts import MetricContext, PooledMetric
from slotlab.framework.evaluation.choices import find_protocol, metric_refs
from slotlab.framework.evaluation.conditions import (
    Condition,
    EvaluationRequest,
    conditions,
    own_condition,
)
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.protocol import ProtocolConfig, describe_protocol
from slotlab.registry import SlotlabError

REGISTRY = load_registry()
PROTOCOLS = REGISTRY.names("protocol")
VARIANTS = "full, outd, camo, pbg, vbg, grassbg"
NONE = "the dataset 'image_folder' has no variants (bench and clevrtex and movi and moving_scenes and scenes have)"
ONE = "they are the same; ask for one of them"
SMALL = "{name: clevrtex-official, image_size: 16}"


def laid(*sets: str, **wanted: Any) -> list[Condition]:
    return conditions(load_spec("spec.yaml", sets=sets), EvaluationRequest(**wanted))


def refused(*sets: str, **wanted: Any) -> list[str]:
    with pytest.raises(SlotlabError) as error:
        laid(*sets, **wanted)
    return error.value.lines()


def config(name: str, **changes: Any) -> ProtocolConfig:
    found = REGISTRY.find("protocol", name)
    assert found is not None
    made: ProtocolConfig = found.component.config.model_validate(changes)
    return made


# --- protocols as data -------------------------------------------------------------------


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_names_metrics_that_are_there_and_averages_as_they_do(name: str) -> None:
    ref = find_protocol(name, REGISTRY)
    scoring = config(name).evaluation
    refs = metric_refs(ref, REGISTRY)
    assert [one.name for one in refs] == list(scoring.metrics)
    pooled = [isinstance(one.build(MetricContext(value_range=(0.0, 1.0))), PooledMetric) for one in refs]
    assert any(pooled) == (scoring.aggregation == "objects")
    assert scoring.split is None or scoring.split in config(name).splits
    assert name == "whole" or scoring.metrics


def test_changing_one_setting_of_scoring_keeps_the_others() -> None:
    before, after = config("seed").evaluation, config("seed", evaluation={"split": "test"}).evaluation
    assert after == before.model_copy(update={"split": "test"})
    assert before.split == "val"


def test_a_changed_definition_is_in_the_name_and_notes_are_not() -> None:
    changed = config("seed", crop=100, evaluation={"metrics": ["ari"], "notes": "mine"})
    assert describe_protocol("seed", changed) == "seed (crop 100, evaluation.metrics ['ari'])"


@pytest.mark.parametrize(
    "change", ["evaluation.split=test", "evaluation.metrics=[mbo]", "evaluation.notes=mine"]
)
def test_definitions_are_no_part_of_a_runs_identity(base: str, change: str) -> None:
    before, after = (load_spec("spec.yaml", sets=sets).spec for sets in ((), (f"data.protocol.{change}",)))
    assert before.data != after.data
    assert run_id(before) == run_id(after)


# --- laying over -------------------------------------------------------------------------


def test_without_wishes_the_spec_says_it_all(base: str) -> None:
    loaded = load_spec("spec.yaml", sets=["evaluation.split=test", "evaluation.mask_source=attention"])
    [condition] = conditions(loaded, EvaluationRequest())
    own = own_condition(loaded)
    assert condition.spec.data == own.spec.data == loaded.spec.data
    assert condition.spec.evaluation == own.spec.evaluation == loaded.spec.evaluation
    assert (condition.sources, condition.variant) == (own.sources, own.variant) == (("attention",), None)
    assert condition.name("attention") == "scenes-test-whole-attention"


def test_a_protocol_by_name_says_split_metrics_and_masks_and_the_model_keeps_its_range(base: str) -> None:
    [condition] = laid(protocols=[SMALL])
    spec = condition.spec
    assert spec.evaluation.split == "test"
    assert [ref.name for ref in spec.evaluation.metrics] == list(
        config("clevrtex-official").evaluation.metrics
    )
    assert (spec.data.settings.value_range, spec.data.range_name, spec.data.bounds) == (
        "unit",
        "signed",
        (-1.0, 1.0),
    )
    assert spec.data.protocol_name == "clevrtex-official (image_size 16)"
    assert condition.name("decoder") == "scenes-test-clevrtex-official-decoder"
    [condition] = laid(protocols=["{name: lsd-per-object, image_size: 16}"])
    assert condition.sources == ("attention",)


def test_the_specs_own_protocol_by_name_is_the_specs(base: str) -> None:
    [condition] = laid(protocols=["whole"])
    assert condition.spec.data.size == (16, 16)
    assert [ref.name for ref in condition.spec.evaluation.metrics] == ["ari", "fg_ari", "mse"]


def test_what_is_asked_for_goes_before_the_protocol(base: str) -> None:
    [condition] = laid(protocols=[SMALL], split="val", masks="both", variants=["camo"])
    assert condition.spec.evaluation.split == "val"
    assert condition.sources == ("decoder", "attention")
    assert condition.name("attention") == "scenes-camo-val-clevrtex-official-attention"
    assert condition.of("attention").spec.evaluation.mask_source == "attention"


def test_every_protocol_with_every_variant(base: str) -> None:
    found = laid(protocols=[SMALL, "whole"], variants=["full", "outd"])
    assert [condition.name("decoder") for condition in found] == [
        "scenes-test-clevrtex-official-decoder",
        "scenes-val-whole-decoder",
        "scenes-outd-test-clevrtex-official-decoder",
        "scenes-outd-val-whole-decoder",
    ]
    variants = [getattr(condition.spec.data.dataset.config, "variant", None) for condition in found]
    assert variants == ["full", "full", "outd", "outd"]


def test_a_protocol_may_name_its_variant(base: str) -> None:
    [condition] = laid(protocols=["{name: ocb-ood, image_size: 16}"])
    assert condition.name("decoder") == "scenes-outd-test-ocb-ood-decoder"


def test_what_a_training_looks_at_does_not_bind_an_evaluation(base: str) -> None:
    [condition] = laid(
        "training.checkpoint.best=mse",
        "data.train_split=test",
        protocols=["{name: seed, image_size: 16, evaluation: {metrics: [ari]}}"],
    )
    assert [ref.name for ref in condition.spec.evaluation.metrics] == ["ari"]


def test_a_variant_that_settings_overrule_is_warned_of(base: str) -> None:
    [condition] = laid("data.dataset.textures=[plain]", variants=["outd"])
    [warning] = condition.warnings
    text = "scenes: the variant 'outd' has no say in textures, which these settings name"
    assert warning.endswith(f"data.dataset: {text}")
    assert laid(variants=["outd"])[0].warnings == []


# --- what cannot be ----------------------------------------------------------------------


def test_a_size_that_the_model_cannot_take(base: str) -> None:
    [line] = refused(protocols=["clevrtex-official"])
    assert line == (
        "protocol clevrtex-official has images of 128 pixels, and the model was trained on 16 and cannot take "
        "them: model.decoder: spatial_broadcast: the layers make 8 x 2 = 16 pixels a side, but the target is "
        "128x128; change broadcast_size, strides or channels so that the product is 128"
    )


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        (
            {"variants": ["outdd", "camo"], "split": "nope"},
            [
                f"--variant outdd: 'scenes' has no variant 'outdd'; did you mean 'outd'? (variants: {VARIANTS})",
                "evaluation.split: 'scenes' has no split 'nope' (splits: train, val, test); choose one with --split",
            ],
        ),
        (
            {"protocols": ["{name: whole, image_size: 16}", "whole"]},
            [
                f"two evaluations would be called scenes-val-whole-decoder: {ONE}",
            ],
        ),
    ],
)
def test_everything_that_cannot_be_is_said_at_once(base: str, wanted: Any, lines: list[str]) -> None:
    assert refused(**wanted) == lines


def test_variants_of_data_that_has_none(base: str) -> None:
    folder = "data.dataset={name: image_folder, images: nowhere}"
    assert refused(folder, variants=["outd"]) == [
        f"--variant outd: {NONE}",
    ]
    assert refused(folder, protocols=["{name: ocb-ood, image_size: 16}"]) == [
        f"protocol 'ocb-ood' scores the variant 'outd': {NONE}",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "seeed",
            f"--protocol seeed: no protocol is called 'seeed'; did you mean 'seed'? (available: {', '.join(PROTOCOLS)})",
        ),
        ("{name: seed, crop: -1}", "--protocol {name: seed, crop: -1}: "),
        ("{name: seed", "--protocol {name: seed"),
    ],
)
def test_protocols_that_are_none(base: str, text: str, message: str) -> None:
    [line] = refused(protocols=[text])
    assert line.startswith(message)


def test_a_protocol_of_ones_own_with_an_unknown_metric(base: str) -> None:
    [line] = refused(protocols=["{name: seed, image_size: 16, evaluation: {metrics: [arri]}}"])
    assert line.startswith("protocol 'seed': no metric is called 'arri'; did you mean 'ari'?")


def test_a_decoder_without_masks_leaves_the_attention(base: str, write: Any) -> None:
    write(
        "blind.py",
        """
        from dataclasses import replace

        from slotlab.plugins.decoders.spatial_broadcast import SpatialBroadcastConfig, SpatialBroadcastDecoder
        from slotlab.registry import Component, hookimpl

        SLOTLAB_API = 1


        class Blind(SpatialBroadcastDecoder):
            def forward(self, slots, *, target_BCHW=None, generator=None):
                return replace(super().forward(slots), masks_BKHW=None)


        @hookimpl
        def slotlab_decoders():
            yield Component(name="blind", config=SpatialBroadcastConfig, build=Blind, summary="has no masks")
        """,
    )
    sets = [
        "plugins=[blind.py]",
        "model.decoder={name: blind, channels: [4], strides: [2]}",
        "evaluation.mask_source=attention",
    ]
    [condition] = laid(*sets, masks="both")
    assert condition.sources == ("attention",)
    assert condition.spec.evaluation.mask_source == "attention"
    text = "the decoder 'blind' has no masks; write 'mask_source: attention', or --masks attention"
    assert refused(*sets, masks="decoder") == [f"evaluation.mask_source: {text}"]
    assert refused(*sets, protocols=["{name: seed, image_size: 16}"]) == [f"evaluation.mask_source: {text}"]


@pytest.mark.parametrize("masks", ["both", "attention", "decoder"])
def test_a_model_without_slots_has_one_evaluation_whatever_masks_are_asked_for(masks: str) -> None:
    loaded = load_spec("slotlab:vqvae_demo")
    [condition] = conditions(loaded, EvaluationRequest(masks=masks))
    assert condition.sources == (loaded.spec.evaluation.mask_source,)
    assert condition == own_condition(loaded)
