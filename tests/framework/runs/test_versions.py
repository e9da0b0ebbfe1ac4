"""Weights are used with parts of the version that they were trained with, or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.versions import OtherVersion, check_versions
from slotlab.framework.spec.schema import ExperimentSpec

Specs = Callable[..., ExperimentSpec]


def trained(folder: Path, *restarts: dict[str, Any], **versions: int) -> RunFolder:
    """A run folder that tells nothing but the versions of its components, `kind_name=version`."""
    run = RunFolder(folder)
    named = [(*name.split("_", 1), version) for name, version in versions.items()]
    components = [
        {"kind": kind, "name": name, "version": version, "source": "slotlab"} for kind, name, version in named
    ]
    run.write_provenance({"components": components, "restarts": list(restarts)})
    return run


def complaints(run: RunFolder, spec: ExperimentSpec) -> list[str]:
    with pytest.raises(OtherVersion) as error:
        check_versions(run, spec)
    return error.value.lines()


def test_the_same_versions(tiny: Specs, tmp_path: Path) -> None:
    check_versions(trained(tmp_path, encoder_cnn=1, grouping_slot_attention=1), tiny())


def test_a_run_that_tells_nothing(tiny: Specs, tmp_path: Path) -> None:
    check_versions(RunFolder(tmp_path), tiny())


def test_metrics_and_data_are_no_part_of_a_model(tiny: Specs, tmp_path: Path) -> None:
    check_versions(trained(tmp_path, metric_ari=7, dataset_scenes=7, optimizer_adam=7), tiny())


def test_every_part_of_another_version_is_refused(tiny: Specs, tmp_path: Path) -> None:
    run = trained(tmp_path, encoder_cnn=7, objective_pixel_mse=2)
    rest = "which computes something else from the same settings; use the slotlab or the plugin that it was "
    rest += "trained with, or train it again"
    assert complaints(run, tiny()) == [
        f"{tmp_path}: trained with version 7 of the encoder 'cnn', and this is version 1, {rest}",
        f"{tmp_path}: trained with version 2 of the objective 'pixel_mse', and this is version 1, {rest}",
    ]


def test_a_part_of_a_part_is_named_by_its_place(tiny: Specs, tmp_path: Path) -> None:
    run = trained(tmp_path, position_linear_grid=3)
    text = "trained with version 3 of the position 'linear_grid', and this is version 1"
    assert {line.partition(", which")[0] for line in complaints(run, tiny())} == {f"{tmp_path}: {text}"}


def test_a_run_that_went_on_with_another_version_has_that_one(tiny: Specs, tmp_path: Path) -> None:
    restart = {"step": 3, "components": [{"kind": "encoder", "name": "cnn", "version": 1}]}
    check_versions(trained(tmp_path, restart, encoder_cnn=7), tiny())


@pytest.mark.parametrize("restarts", [(), ({"step": 3},)])
def test_restarts_that_tell_no_versions_change_nothing(
    tiny: Specs, tmp_path: Path, restarts: tuple[Any, ...]
) -> None:
    check_versions(trained(tmp_path, *restarts, encoder_cnn=1), tiny())


def test_a_timm_encoder_of_the_first_version_is_used_as_it_was_trained(tiny: Specs, tmp_path: Path) -> None:
    run = trained(tmp_path, encoder_timm=1)
    block = {"name": "timm", "model": "test_resnet"}
    assert complaints(run, tiny(model={"encoder": block})) == [
        (
            f"{tmp_path}: trained with version 1 of the encoder 'timm', and this is version 2, which computes "
            "something else from the same settings; write 'normalize: none' and 'border: drop' under model.encoder "
            "in its spec.yaml to use it as it was trained"
        )
    ]
    check_versions(run, tiny(model={"encoder": block | {"normalize": "none", "border": "drop"}}))
