"""The model card of a pushed run: README.md, with the head that the Hugging Face Hub reads."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slotlab.framework.arithmetic.t_interval import ANY, t_bounds
from slotlab.framework.runs.folder import MODEL
from slotlab.framework.runs.measurement import is_own
from slotlab.framework.spec.plain_settings import leaves
from slotlab.framework.spec.tree import dump
from slotlab.framework.system.privacy import GONE
from slotlab.framework.transfer.contents import Contents, summaries_of
from slotlab.framework.transfer.needs import needs

TAGS = ("slotlab", "object-centric-learning", "slot-attention", "image-segmentation")
TASK = "image-segmentation"
PICTURES = ("panels", "slots", "mixes", "loss")
"""Figures in the card, by the beginnings of their names; the first evaluation's."""
SECTIONS = ("model.", "objective.", "training.", "data.protocol.", "data.dataset.", "auxiliary")
"""Settings in the card's table, by the beginnings of their paths."""
SHORTENED = 60
"""Characters of a value in the table of settings."""


def card(contents: Contents, address: str, license_: str | None) -> str:
    """Return the card as Markdown.

    Args:
        contents: what is sent, clean.
        address: where the run will be found, as far as others may know it.
        license_: the license of the weights, by the Hub's name, such as `apache-2.0`; None says nothing.
    """
    spec = contents.records["spec.yaml"]
    found = sorted(summaries_of(contents), key=lambda one: not is_own(one[1], spec))
    parts = [
        f"---\n{dump(head(contents, license_))}---\n",
        f"# {contents.name}\n",
        f"{_opening(spec, contents)}\n",
        *_results(found),
        *_pictures(contents, [name for name, _ in found]),
        *needs(contents.records.get("provenance.json", {})),
        *_use(spec, address),
        *_settings(spec, contents),
    ]
    return "\n".join(parts)


def head(contents: Contents, license_: str | None) -> dict[str, Any]:
    """Return the card's front matter: library, tags, license, and the results as the Hub lists them."""
    results = [
        {
            "task": {"type": TASK, "name": "object discovery"},
            "dataset": {
                "name": _data_of(summary),
                "type": str(summary.get("dataset")),
                "split": str(summary.get("split")),
            },
            "metrics": [
                {"type": name, "value": one["mean"], "name": f"{name}, masks: {summary.get('mask_source')}"}
                for name, one in summary["methods"].get(MODEL, {}).items()
                if one["mean"] is not None
            ],
        }
        for _, summary in summaries_of(contents)
    ]
    results = [one for one in results if one["metrics"]]
    index = [{"name": contents.name, "results": results}] if results else []
    return {
        **({"license": license_} if license_ else {}),
        "library_name": "slotlab",
        "pipeline_tag": TASK,
        "tags": list(TAGS),
        **({"model-index": index} if index else {}),
    }


def _data_of(summary: Mapping[str, Any]) -> str:
    variant = summary.get("variant")
    named = [str(summary.get("dataset")), *([str(variant)] if variant not in (None, "full") else [])]
    return f"{' '.join(named)}, protocol {summary.get('protocol')}"


def _name(value: Any) -> str:
    return str(value.get("name")) if isinstance(value, Mapping) else str(value)


def _opening(spec: Mapping[str, Any], contents: Contents) -> str:
    model, data = spec.get("model", {}), spec.get("data", {})
    kind = model.get("name", "slot_autoencoder")
    parts = [
        f"{part} `{_name(model[part])}`"
        for part in ("encoder", "initializer", "grouping", "decoder")
        if model.get(part)
    ]
    slots = f", {model['slots']} slots" if model.get("slots") else ""
    where = f"trained on `{_name(data.get('dataset'))}` under the protocol `{_name(data.get('protocol'))}`"
    steps = ", ".join(str(step) for step in sorted(set(contents.steps.values())))
    state = contents.records.get("status.json", {}).get("state", "of unknown state")
    return (
        f"A `{kind}` of slotlab"
        f"{': ' if parts else ''}{', '.join(parts)}{slots}; {where}, seed {spec.get('seed', 0)}. "
        f"The training is {state}; the weights are those of step {steps}."
    )


def _results(found: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Yield the tables of results, one for each evaluation, baselines beside the model."""
    if not found:
        return
    yield "## Results\n"
    yield (
        "Means, and the 95% t interval of a mean over images, which ends where the metric's values end. This "
        "is one training: the spread over seeds, by which methods are compared, cannot be seen from it.\n"
    )
    for evaluation, summary in found:
        metrics = list(summary["methods"].get(MODEL, {}))
        facts = f"{_data_of(summary)}, split {summary.get('split')}, {summary.get('images')} images"
        masks = f"masks from the {summary.get('mask_source')}, checkpoint of step {summary.get('step')}"
        yield f"`{evaluation}`: {facts}; {masks}\n"
        yield f"| method | {' | '.join(metrics)} |\n|---|{'---|' * len(metrics)}"
        facts_of = summary.get("metrics", {})
        for method, means in summary["methods"].items():
            cells = [mean_text(means.get(name), facts_of.get(name, {})) for name in metrics]
            yield f"| {method} | {' | '.join(cells)} |"
        for metric, one in (summary.get("set_metrics") or {}).items():
            value = one.get("value")
            yield f"\n{metric} of composed pictures: {'undefined' if value is None else f'{value:.4g}'}"
        yield ""


def mean_text(one: Mapping[str, Any] | None, metric: Mapping[str, Any]) -> str:
    """Return a mean with its interval, which is that of a mean over images; others have none.

    Args:
        one: the statistics of the metric.
        metric: how its values are read: `aggregation` and `bounds`.
    """
    if one is None or one.get("mean") is None:
        return ""
    mean, low, high, std, count = (one.get(key) for key in ("mean", "low", "high", "std", "count"))
    over, (least, greatest) = metric.get("aggregation", "images"), metric.get("bounds") or ANY
    if low is None and over == "images" and std is not None and count is not None and count > 1:
        low, high = t_bounds(float(one["mean"]), std / math.sqrt(count), count - 1, (least, greatest))
    return f"{mean:.3f}" if low is None or high is None else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _pictures(contents: Contents, evaluations: Sequence[str]) -> Iterator[str]:
    names = [name for name in sorted(contents.items) if name.startswith("figures/") and name.endswith(".png")]
    shown = [next((name for name in names if name.startswith(f"figures/{kind}")), None) for kind in PICTURES]
    if any(shown):
        yield "## Pictures\n"
    for name in filter(None, shown):
        kind, _, of = name.removeprefix("figures/").removesuffix(".png").partition("-")
        yield f"![{kind}{f' of {of}' if of else ''}]({name})\n"


def gone(spec: Mapping[str, Any]) -> list[str]:
    """Return the settings of a pushed spec whose places of files are not told."""
    return [path for path, value in leaves(spec) if isinstance(value, str) and value.startswith(GONE)]


def given_data(spec: Mapping[str, Any]) -> str:
    """Return the options that name one's own data in a command on a pushed run; empty if it needs none."""
    return "".join(f" --set {path}=FOLDER" for path in gone(spec) if path.startswith("data."))


def _use(spec: Mapping[str, Any], address: str) -> Iterator[str]:
    places, data = gone(spec), given_data(spec)
    yield "## How to use it\n"
    yield f"```console\n$ slotlab evaluate {address}{data}\n$ slotlab studio {address}{data}\n```\n"
    yield (
        f'```python\nimport slotlab\n\nrun = slotlab.open_run("{address}")\n'
        "found = run.segment(images)  # found.slots_BKD, masks_BKHW, labels_BHW, reconstruction_BCHW\n```\n"
    )
    if places:
        listed = ", ".join(f"`{path}`" for path in places)
        yield f"Places of files are not told (`{GONE}`): name your own for {listed}, where they are needed.\n"
    if spec.get("plugins"):
        files = ", ".join(f"`{name}`" for name in spec["plugins"])
        yield f"It brings code of its own: {files}. slotlab asks before it runs it; read it first.\n"


def _settings(spec: Mapping[str, Any], contents: Contents) -> Iterator[str]:
    provenance = contents.records.get("provenance.json", {})
    facts = [f"{key} {provenance[key]}" for key in ("slotlab", "python", "device") if provenance.get(key)]
    yield "## Settings\n"
    made = f", made with {', '.join(facts)}" if facts else ""
    yield f"Run `{contents.run_id or 'unknown'}`{made}. All settings: `spec.yaml`.\n"
    yield "| setting | value |\n|---|---|"
    for path, value in leaves(spec):
        if path.startswith(SECTIONS) and value is not None and value != []:
            text = str(value).replace("|", "\\|")
            yield f"| `{path}` | {text if len(text) <= SHORTENED else text[:SHORTENED] + '…'} |"
    yield ""
