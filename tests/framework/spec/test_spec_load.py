"""From files to a validated spec: every mistake with its file, line, path and text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.errors import PathProblem, shorten
from slotlab.framework.spec.load import LoadedSpec, load_spec
from slotlab.framework.spec.merge import shipped_specs
from slotlab.framework.spec.messages import TEXTS, say, show
from slotlab.registry import SlotlabError

Write = Callable[[str, str], Path]
KEYS = "name, channels, kernel_size, strides, last_relu"
DATASETS, ENCODERS, INITIALIZERS = (
    ", ".join(load_registry().names(kind)) for kind in ("dataset", "encoder", "initializer")
)
METRICS = ", ".join(load_registry().names("metric"))


def refusal(**options: Any) -> str:
    with pytest.raises(SlotlabError) as caught:
        load_spec("spec.yaml", **options)
    return str(caught.value)


@pytest.mark.usefixtures("named_runs")
@pytest.mark.parametrize("name", shipped_specs())
def test_shipped_specs_are_valid(name: str) -> None:
    assert load_spec(f"slotlab:{name}").spec.format == 1


def test_all_mistakes_at_once_in_the_order_of_lines(write: Write) -> None:
    write(
        "spec.yaml",
        """
        format: 2
        name: "-x"
        data:
          dataset: scnes
          protocol: {name: whole, image_size: large}
        modle: {}
        model:
          slots: 0
          encoder: {name: cnn, channels: [4, -1, x], kernal_size: 3}
          initializer: [gaussian]
          grouping: {iterations: 3}
        training:
          batch_size: 2.5
          phases: [{epochs: 1}]
        """,
    )
    lines = refusal().splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        f"spec.yaml:{n}" for n in (1, 2, 4, 5, 6, 7, 8, 9, 9, 9, 10, 11, 13, 14)
    ]
    texts = [line.split(": ", 1)[1] for line in lines]
    assert texts[:3] == [
        "format: this slotlab reads specs of format 1, got 2; write 'format: 1'",
        "name: '-x' may hold only letters, digits, '.', '_' and '-', starting with a letter or digit",
        f"data.dataset: no dataset is called 'scnes'; did you mean 'scenes'? (available: {DATASETS})",
    ]
    assert texts[3:] == [
        "data.protocol.image_size: expected a whole number above 0, or [rows, columns], got 'large'",
        "modle: unknown key; did you mean 'model'? (keys here: format, name, seed, plugins, data, model, objective, auxiliary, training, evaluation)",
        "model.decoder: this key is required",
        "model.slots: must be greater than 0, got 0",
        "model.encoder.channels.1: must be greater than 0, got -1",
        "model.encoder.channels.2: expected a whole number, got 'x'",
        f"model.encoder.kernal_size: unknown key; did you mean 'kernel_size'? (keys here: {KEYS})",
        f"model.initializer: expected the name of an initializer, or a block with its 'name' (names: {INITIALIZERS})",
        "model.grouping: expected the name of a grouping, or a block with its 'name' (names: adaptive_slots, invariant_slot_attention, slot_attention)",
        "training.batch_size: expected a whole number, got 2.5",
        "training.phases.0.lr: this key is required",
    ]


# One wrong setting for every text: what is set, at which path it is found, what is said.
WRONG = {
    "missing": ("training.phases=[{steps: 1}]", "training.phases.0.lr", "this key is required"),
    "int_parsing": ("model.slots=many", "model.slots", "expected a whole number, got 'many'"),
    "int_type": ("model.slots=[1]", "model.slots", "expected a whole number, got [1]"),
    "int_from_float": ("model.slots=1.5", "model.slots", "expected a whole number, got 1.5"),
    "float_parsing": ("training.clip_norm=on", "training.clip_norm", "expected a number, got 'on'"),
    "float_type": ("training.clip_norm={a: 1}", "training.clip_norm", "expected a number, got a block of 'key: value' lines"),
    "string_type": ("data.train_split=12", "data.train_split", "expected text, got 12"),
    "path_type": ("plugins=[1]", "plugins.0", "expected a path, got 1"),
    "tuple_type": ("evaluation.metrics=ari", "evaluation.metrics", "expected a list, got 'ari'"),
    "model_type": ("evaluation=", "evaluation", "expected a block of 'key: value' lines, got ''"),
    "greater_than": ("model.slots=0", "model.slots", "must be greater than 0, got 0"),
    "greater_than_equal": ("seed=-1", "seed", "must be at least 0, got -1"),
    "less_than": ("training.optimizer={name: adam, betas: [0.9, 1]}", "training.optimizer.betas.1", "must be less than 1.0, got 1"),
    "less_than_equal": ("data.dataset.max_objects=11", "data.dataset.max_objects", "must be at most 10, got 11"),
    "too_short": ("training.phases=[]", "training.phases", "needs at least 1 item(s), got 0"),
    "too_long": ("training.optimizer={name: adam, betas: [0, 0, 0]}", "training.optimizer.betas", "takes at most 2 item(s), got 3"),
    "string_too_long": (f"name={'x' * 201}", "name", "a text of at most 200 characters, and this one has 201"),
    "literal_error": ("training.precision=half", "training.precision", "expected 'float32', 'bfloat16' or 'float16', got 'half'"),
    "string_pattern_mismatch": (
        "name=a b", "name", "'a b' may hold only letters, digits, '.', '_' and '-', starting with a letter or digit"),
}  # fmt: skip
SAID = {  # types that no setting of slotlab's own has, as pydantic reports them
    "finite_number": ({"input": float("inf")}, "expected a finite number, got inf"),
    "bool_parsing": ({"input": "maybe"}, "expected true or false, got 'maybe'"),
    "bool_type": ({"input": None}, "expected true or false, got nothing"),
    "list_type": ({"input": True}, "expected a list, got true"),
    "dict_type": ({"input": "x" * 80}, f"expected a block of 'key: value' lines, got '{'x' * 56}..."),
    "model_attributes_type": ({"input": 3}, "expected a block of 'key: value' lines, got 3"),
}


def test_every_text_is_tested() -> None:
    assert set(WRONG) | set(SAID) == set(TEXTS)


@pytest.mark.parametrize("kind", WRONG)
def test_texts(base: str, kind: str) -> None:
    assignment, path, text = WRONG[kind]
    written = f"--set {assignment}"
    assert refusal(sets=[assignment]) == f"{shorten(written, 200)}: {path}: {text}"


@pytest.mark.parametrize("kind", SAID)
def test_texts_for_types_that_plugins_may_use(kind: str) -> None:
    detail, text = SAID[kind]
    assert say({"type": kind, "loc": ("x",), "msg": "?", **detail}) == text


def test_other_texts_are_passed_on() -> None:
    assert say({"type": "value_error", "loc": (), "msg": "Value error, no", "input": 1}) == "no"
    assert show([1, None]) == "[1, None]"


@pytest.mark.parametrize(
    ("phase", "text"),
    [
        ("{lr: 1, steps: 1, epochs: 1}", "training.phases.0: give the phase either 'epochs' or 'steps'"),
        ("{lr: 1}", "training.phases.0: give the phase either 'epochs' or 'steps'"),
        (
            "{lr: 1, steps: 1, optimizer_state: kept}",
            "training: the first phase has no optimizer state to keep; write 'fresh'",
        ),
    ],
)
def test_phases(base: str, phase: str, text: str) -> None:
    Path("spec.yaml").write_text(base.replace("{steps: 2, lr: 1e-3}", phase))
    lines = base.splitlines()
    line = 1 + (lines.index("training:") if text.startswith("training:") else lines.index("  phases:") + 1)
    assert refusal() == f"spec.yaml:{line}: {text}"


@pytest.mark.parametrize("phases", ["[]", "[{lr: 1}]", "[{lr: 0, steps: 1}, {lr: 1}]"])
def test_too_few_items_are_said_only_of_lists_without_faulty_items(base: str, phases: str) -> None:
    said = refusal(sets=[f"training.phases={phases}"])
    assert ("needs at least" in said) == (phases == "[]")


def test_an_empty_file(write: Write) -> None:
    write("spec.yaml", "# nothing but words\n")
    hint = "start from another spec: 'extends: slotlab:demo', in an ablation 'base: slotlab:demo'"
    assert refusal() == f"spec.yaml:1: the file is empty; {hint}"


def test_a_file_that_lacks_every_section(write: Write) -> None:
    write("spec.yaml", "seed: 1\n")
    sections = ("format", "name", "data", "model", "training")
    assert refusal() == "\n".join(f"spec.yaml:1: {name}: this key is required" for name in sections)


def test_true_is_no_number(base: str) -> None:
    assert refusal(sets=["training.batch_size=true", "model.encoder.kernel_size=false"]) == (
        "--set model.encoder.kernel_size=false: model.encoder.kernel_size: expected a number, got false\n"
        "--set training.batch_size=true: training.batch_size: expected a number, got true"
    )


def test_infinite_numbers_are_refused(base: str) -> None:
    said = "expected a finite number, got inf"
    assert refusal(sets=["training.phases.0.lr=.inf"]) == (
        f"--set training.phases.0.lr=.inf: training.phases.0.lr: {said}"
    )


def test_case_and_dashes_do_not_hide_what_was_meant(base: str) -> None:
    assert refusal(sets=["evaluation.metrics=[FG-ARI]"]) == (
        "--set evaluation.metrics=[FG-ARI]: evaluation.metrics.0: no metric is called 'FG-ARI'; "
        f"did you mean 'fg_ari'? (available: {METRICS})"
    )


def test_unknown_components_everywhere(base: str) -> None:
    assert refusal(sets=["model.encoder=cnnn"]) == (
        "--set model.encoder=cnnn: model.encoder: no encoder is called 'cnnn'; did you mean 'cnn'? "
        f"(available: {ENCODERS})"
    )
    assert refusal(sets=["model.decoder.position=liner_grid"]) == (
        "--set model.decoder.position=liner_grid: model.decoder.position: "
        "no position is called 'liner_grid'; did you mean 'linear_grid'? (available: centered_grid, linear_grid, none)"
    )
    assert refusal(sets=["evaluation.metrics=[ari, {k: 1}]"]) == (
        "--set evaluation.metrics=[ari, {k: 1}]: evaluation.metrics.1: "
        f"expected the name of a metric, or a block with its 'name' (names: {METRICS})"
    )


def test_a_run_whose_package_is_not_installed_names_it(base: str, write: Write) -> None:
    components = [
        {"kind": "encoder", "name": "blobs", "version": 1, "source": "slotlab-blobs 0.1.0"},
        {"kind": "encoder", "name": "bits", "version": 1, "source": "bits.py@29c634b1"},
    ]
    write("provenance.json", json.dumps({"components": components}))
    for name, more in (("blobs", True), ("bits", False)):
        found = refusal(sets=[f"model.encoder={name}"])
        told = "; the run was trained with that of slotlab-blobs 0.1.0, a package which is not installed here"
        assert found.endswith(told) == more
        assert f"no encoder is called '{name}'" in found
    for damaged in ("", "[]", '{"components": [1]}', '{"components": null}'):
        write("provenance.json", damaged)
        assert refusal(sets=["model.encoder=blobs"]).endswith(f"(available: {ENCODERS})")


def test_unknown_keys_are_located_at_the_set(base: str) -> None:
    assert refusal(sets=["model.encoder.chanels=[1]"]) == (
        f"--set model.encoder.chanels=[1]: model.encoder.chanels: unknown key; did you mean 'channels'? (keys here: {KEYS})"
    )
    assert refusal(sets=["model.initializer={zzz: 1}"]) == (
        "--set model.initializer={zzz: 1}: model.initializer.zzz: unknown key (keys here: name, mean_init, log_sigma_init)"
    )


def test_mistakes_in_a_parent_name_the_parent(base: str, write: Write) -> None:
    write(
        "folder/parent.yaml",
        base.replace("slots: 7", "slots: none").replace("image_size: 16", "image_size: 0"),
    )
    write(
        "spec.yaml",
        "extends: folder/parent.yaml\nname: child\ndata: {protocol: {name: whole, image_size: 16}}\nseed: x\n",
    )
    line = base.splitlines().index("  slots: 7") + 1
    assert refusal() == (
        f"folder/parent.yaml:{line}: model.slots: expected a whole number, got 'none'\n"
        "spec.yaml:4: seed: expected a whole number, got 'x'"
    )


def test_errors_found_later_are_located(base: str) -> None:
    loaded: LoadedSpec = load_spec("spec.yaml", sets=["seed=3"])
    error = loaded.error([PathProblem(("seed",), "b"), PathProblem(("model", "slots", "x"), "a")])
    assert (
        str(error)
        == f"--set seed=3: seed: b\nspec.yaml:{base.splitlines().index('  slots: 7') + 1}: model.slots.x: a"
    )
    assert str(PathProblem(("a", 0), "text")) == "a.0: text"
