"""Ablation files: what they expand to, and that every mistake is reported with its line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import load_spec
from slotlab.framework.study.folder import StudyFolder
from slotlab.framework.study.load import load_ablation
from slotlab.framework.study.plan import plan_runs, write_study
from slotlab.registry import SlotlabError

ENCODERS = ", ".join(load_registry().names("encoder"))

Write = Callable[[str, str], Path]


def refusal(*sets: str) -> str:
    with pytest.raises(SlotlabError) as caught:
        load_ablation("ablation.yaml", sets=sets)
    return "\n".join(caught.value.lines())


def test_an_arm_is_the_spec_with_its_settings(ablation: str) -> None:
    loaded = load_ablation("ablation.yaml")
    assert [arm.name for arm in loaded.arms] == [
        "slots=7, init=gaussian",
        "slots=7, init=learnable",
        "slots=8, init=gaussian",
        "slots=8, init=learnable",
    ]
    for arm in loaded.arms:
        sets = [f"{path}={value}" for path, value in arm.settings.items()]
        for seed in (0, 1):
            same = load_spec("spec.yaml", sets=[*sets, f"seed={seed}"]).spec
            assert run_id(same) == arm.run_id(seed)
            named = same.model_copy(update={"name": "small_study"})
            assert named.model_dump(mode="json") == arm.spec(seed).model_dump(mode="json")
    assert loaded.baseline is loaded.arms[0]


def test_the_order_of_axes_values_and_seeds_changes_no_identity(ablation: str, write: Write) -> None:
    def ids() -> set[str]:
        loaded = load_ablation("ablation.yaml")
        return {arm.run_id(seed) for arm in loaded.arms for seed in loaded.spec.seeds}

    before = ids()
    lines = ablation.splitlines()
    lines[5], lines[6] = lines[6], lines[5]
    write("ablation.yaml", "\n".join(lines).replace("[7, 8]", "[8, 7]").replace("[0, 1]", "[1, 0]"))
    assert ids() == before
    write("ablation.yaml", ablation.replace("[7, 8]", "[7, 8, 9]").replace("[0, 1]", "[0, 1, 2]"))
    assert before < ids()


def test_settings_and_blocks_may_be_nested_or_dotted(ablation: str, write: Write) -> None:
    blocks = "{narrow: {model.slot_dim: 4, model: {slots: 7}}, wide: {model: {slot_dim: 16}, seed: 1}}"
    text = ablation.replace("path: model.slots, values: [7, 8]", f"values: {blocks}".replace(", seed: 1", ""))
    write("ablation.yaml", text)
    sets = [
        "settings.training.batch_size=3",
        "settings={data.protocol.image_size: 32, model.decoder: {strides: [4]}}",
    ]
    found = [arm.loaded.spec for arm in load_ablation("ablation.yaml", sets=sets).arms]
    assert {spec.training.batch_size for spec in found} == {3}
    assert {spec.data.size for spec in found} == {(32, 32)}
    assert [spec.model.config.slot_dim for spec in found] == [4, 4, 16, 16]


def test_paths_are_relative_to_the_file_that_writes_them(base: str, ablation: str, write: Write) -> None:
    dataset = "settings: {data: {dataset: {name: image_folder, images: pictures}}}"
    write(
        "sub/ablation.yaml",
        ablation.replace("spec.yaml", "../spec.yaml").replace("seeds:", f"{dataset}\nseeds:"),
    )
    arm = load_ablation("sub/ablation.yaml").arms[0]
    assert arm.loaded.spec.model_dump(mode="json")["data"]["dataset"]["images"] == str(
        Path("sub/pictures").absolute()
    )


def test_specs_take_the_place_of_the_base(base: str, ablation: str, write: Write) -> None:
    write("sub/other.yaml", "extends: ../spec.yaml\nmodel: {slot_dim: 16}\n")
    text = ablation.replace(
        "path: model.slots, values: [7, 8]", "path: extends, values: [spec.yaml, sub/other.yaml]"
    )
    settings = "settings: {training.batch_size: 3}"
    write("ablation.yaml", text.replace("seeds:", f"{settings}\nseeds:"))
    loaded = load_ablation("ablation.yaml")
    assert [arm.labels["slots"] for arm in loaded.arms] == ["spec", "spec", "other", "other"]
    for arm in loaded.arms:
        file = {"spec": "spec.yaml", "other": "sub/other.yaml"}[arm.labels["slots"]]
        initializer = f"model.initializer={arm.labels['init']}"
        same = load_spec(file, sets=["training.batch_size=3", initializer]).spec
        assert run_id(same) == arm.run_id(0)
    study, runs = StudyFolder(Path("studies/small_study")), plan_runs(loaded, Path("runs"))
    write_study(loaded, runs, study)
    again = load_ablation(study.study)  # from another folder
    assert [arm.run_id(0) for arm in again.arms] == [arm.run_id(0) for arm in loaded.arms]


def test_specs_that_are_not_there_are_told_with_their_line(base: str, ablation: str, write: Write) -> None:
    for values, message in (
        ("[spec.yaml, none.yaml]", "ablation.yaml:6: axes: there is no spec file none.yaml"),
        ("[spec.yaml, 3]", "'path: extends' takes specs, files or slotlab:NAME, not 3"),
        (
            "[spec.yaml, ablation.yaml]",
            "ablation.yaml is an ablation itself; name the spec of one experiment",
        ),
    ):
        write(
            "ablation.yaml",
            ablation.replace("path: model.slots, values: [7, 8]", f"path: extends, values: {values}"),
        )
        assert message in refusal().replace(f"{Path().absolute()}/", "")


def test_lists_and_random_samples(ablation: str) -> None:
    arms = "arms=[{slots: 8, init: gaussian}, {init: learnable, slots: 7}]"
    listed = load_ablation("ablation.yaml", sets=["sampling=list", arms])
    assert [arm.name for arm in listed.arms] == ["slots=8, init=gaussian", "slots=7, init=learnable"]
    sets = ["sampling=random", "count=2", "exclude=[{slots: 7, init: [gaussian]}]"]
    chosen = [arm.name for arm in load_ablation("ablation.yaml", sets=sets).arms]
    assert len(chosen) == 2
    assert "slots=7, init=gaussian" not in chosen
    assert [arm.name for arm in load_ablation("ablation.yaml", sets=sets).arms] == chosen


def test_the_mistakes_of_all_arms_come_at_once(base: str, write: Write) -> None:
    write(
        "ablation.yaml",
        """
        format: 1
        name: wrong
        question: what is wrong?
        base: spec.yaml
        axes:
          - name: encoder
            path: model.encoder
            values: [cnnn, {name: cnn, chanels: [4]}]
          - name: size
            values:
              small: {data.protocol.image_size: 8, modle.slots: 3}
              large: {training.phases.7.lr: 1}
        seeds: [0]
        """,
    )
    assert refusal() == "\n".join(
        [
            (
                "ablation.yaml:8: model.encoder: no encoder is called 'cnnn'; did you mean 'cnn'? (available: "
                f"{ENCODERS}) (arm 'encoder=cnnn, size=small')"
            ),
            (
                "ablation.yaml:8: model.encoder.chanels: unknown key; did you mean 'channels'? (keys here: name, "
                "channels, kernel_size, strides, last_relu) (arm 'encoder=cnn, size=small')"
            ),
            (
                "ablation.yaml:11: modle: unknown key; did you mean 'model'? (keys here: format, name, seed, plugins, "
                "data, model, objective, auxiliary, training, evaluation) (arm 'encoder=cnnn, size=small' and 1 more)"
            ),
            (
                "ablation.yaml:12: training.phases.7: this is a list of 1; write a position from 0 to 0 "
                "(arm 'encoder=cnnn, size=large' and 1 more)"
            ),
        ]
    )


def test_parts_that_do_not_fit_are_told_with_the_arm(ablation: str) -> None:
    message = refusal("settings.model.decoder.strides=[4]")
    assert message == (
        "--set settings.model.decoder.strides=[4]: model.decoder: spatial_broadcast: the layers make 8 x 4 = 32 pixels "
        "a side, but the target is 16x16; change broadcast_size, strides or channels so that the product is 16"
    )
    assert "(arm 'slots=7, init=gaussian' and 3 more)" not in message


START = """
import torch
from slotlab import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class BlankConfig(ComponentConfig):
    width: int = 3


def weights(config, context):
    return {"initializer.mu_D": torch.zeros(config.width)}


@hookimpl
def slotlab_starts():
    yield Component(name="blank", config=BlankConfig, build=weights, summary="a mean of zeros")
"""


def test_weights_to_start_from_that_do_not_fit_are_told_with_the_arm(ablation: str, write: Write) -> None:
    write("blank.py", START)
    with pytest.raises(SlotlabError) as caught:
        load_ablation(
            "ablation.yaml", sets=["settings.training.start={name: blank}"], plugins=[Path("blank.py")]
        )
    message = "\n".join(caught.value.lines())
    assert message.startswith("--set settings.training.start={name: blank}: training.start: blank: ")
    assert "initializer.mu_D" in message
    assert "(arm 'slots=7, init=gaussian' and 1 more)" in message  # learned slots have no mean


@pytest.mark.parametrize(
    ("sets", "text"),
    [
        (["exclude=[{slotss: 7}]"], "exclude.0.slotss: there is no axis 'slotss'; did you mean 'slots'? (axes: slots, init)"),
        (["exclude=[{slots: [7, 6]}]"], "exclude.0.slots: the axis 'slots' has no value '6' (labels: 7, 8)"),
        (["exclude=[{slots: [7, 8]}]"], "exclude: every combination is excluded; nothing is left to run"),
        (["compare.baseline={slots: 7}"], "compare.baseline: give a label for each axis; lacking: init"),
        (["compare.metrics=[ari, miou]"], "compare.metrics.1: 'miou' is not in evaluation.metrics (measured: ari, fg_ari, mse)"),
        (["compare={metrics: [ari], primary: mse}"], "compare.primary: 'mse' is not one of the compared metrics (ari)"),
        (["sampling=random"], "sampling: 'sampling: random' and 'count' go together; give 'count'"),
        (["count=3"], "count: 'sampling: random' and 'count' go together; write 'sampling: random'"),
        (["sampling=list"], "sampling: 'sampling: list' and 'arms' go together; give 'arms'"),
        (["compare.metrics=[arii]"], "compare.metrics.0: 'arii' is not in evaluation.metrics; did you mean 'ari'? (measured: ari, fg_ari, mse)"),
        (["compare.primary=fgari"], "compare.primary: 'fgari' is not one of the compared metrics; did you mean 'fg_ari'? (ari, fg_ari, mse)"),
        (["seeds=[1, 2, 1]"], "seeds: seed 1 is given twice; keep one"),
        (["axes.1={name: slots, path: model.initializer, values: [gaussian]}"], "axes: two axes have the name 'slots'; keep one"),
        (["axes.1.path=model.slots"], "axes: two axes have the path 'model.slots'; keep one"),
        (["axes.0={name: a, values: [1]}"], "axes.0: give the axis a 'path', or values that are blocks of settings: {small: {model.slots: 5}}"),
        (["axes.0.values=[7, 7]"], "axes.0.values: the value 7 is given twice; keep one"),
        (["base=nowhere.yaml"], "base: there is no spec file nowhere.yaml (specs that come with slotlab: slotlab:NAME)"),
        (["launcher=lokal"], "launcher: no launcher is called 'lokal'; did you mean 'local'? (available: local, ray, slurm)"),
    ],
)  # fmt: skip
def test_mistakes_of_the_ablation_itself(ablation: str, sets: list[str], text: str) -> None:
    message = refusal(*sets)
    assert message.endswith(f": {text}"), message
    assert "\n" not in message


def test_what_cannot_be_an_axis(ablation: str, write: Write) -> None:
    write("ablation.yaml", ablation.replace("model.slots, values: [7, 8]", "evaluation.slots, values: [7]"))
    assert refusal() == (
        "ablation.yaml:6: axes: 'evaluation.slots' cannot be varied: all arms are evaluated alike; "
        "set it under 'settings'"
    )


def test_an_axis_that_cannot_be_is_told_before_the_labels_that_it_lacks(ablation: str) -> None:
    sets = [
        "axes.0={name: slots, path: seed, values: [1, 2]}",
        "compare.baseline={slots: 7, init: learnable}",
    ]
    assert refusal(*sets) == f"--set {sets[0]}: axes: 'seed' cannot be varied: give seeds under 'seeds'"


def test_an_ablation_is_no_base(ablation: str) -> None:
    assert refusal("base=ablation.yaml") == (
        "--set base=ablation.yaml: base: ablation.yaml is an ablation itself; name the spec of one experiment"
    )


def test_two_arms_that_are_one_training(ablation: str, write: Write) -> None:
    write("ablation.yaml", ablation.replace("[gaussian, learnable]", "{a: gaussian, b: {name: gaussian}}"))
    assert refusal() == "\n".join(
        f"ablation.yaml:5: axes: the arms 'slots={n}, init=a' and 'slots={n}, init=b' are the same training; "
        "leave one of them out"
        for n in (7, 8)
    )


def test_files_of_the_other_sort(ablation: str) -> None:
    with pytest.raises(SlotlabError) as caught:
        load_spec("ablation.yaml")
    assert (
        str(caught.value)
        == "ablation.yaml is an ablation: run it with 'slotlab ablate ablation.yaml' (--dry-run only plans it)"
    )
    with pytest.raises(SlotlabError) as caught:
        load_ablation("spec.yaml")
    assert str(caught.value) == (
        "spec.yaml is the spec of one experiment: run it with 'slotlab train spec.yaml'"
    )
