"""The metrics that a user names, by themselves or with settings."""

import pytest

from slotlab.framework.evaluation.choices import chosen_metrics, find_protocol
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.registry import SlotlabError

REGISTRY = load_registry()


def test_metrics_by_name() -> None:
    seed = find_protocol("seed", REGISTRY)
    assert [ref.name for ref in chosen_metrics(seed, None, REGISTRY)] == list(seed.config.evaluation.metrics)
    assert [ref.name for ref in chosen_metrics(seed, "mbo, ari", REGISTRY)] == ["mbo", "ari"]
    assert [ref.name for ref in chosen_metrics(None, None, REGISTRY)] == ["ari", "fg_ari", "mse"]
    with pytest.raises(SlotlabError) as error:
        chosen_metrics(None, "ari,mbo,ari", REGISTRY)
    assert str(error.value) == "--metrics ari,mbo,ari: 'ari' is given twice; keep one"
    with pytest.raises(SlotlabError) as error:
        chosen_metrics(None, "arri", REGISTRY)
    assert str(error.value).startswith("--metrics arri: no metric is called 'arri'; did you mean 'ari'?")
    assert "needs at least" not in str(error.value)
    with pytest.raises(SlotlabError) as error:
        chosen_metrics(None, " , ", REGISTRY)
    assert str(error.value) == "--metrics names no metric; write such as --metrics ari,fg_ari"


def test_metrics_with_settings() -> None:
    first, second = chosen_metrics(None, "[ari, {name: boundary_f, tolerance: 0.5}]", REGISTRY)
    assert (first.name, second.config.tolerance) == ("ari", 0.5)
    with pytest.raises(SlotlabError) as error:
        chosen_metrics(None, "[{name: boundary_f, tolerence: 0.5}]", REGISTRY)
    assert str(error.value) == (
        "--metrics [{name: boundary_f, tolerence: 0.5}]: tolerence: unknown key; "
        "did you mean 'tolerance'? (keys here: name, tolerance)"
    )
