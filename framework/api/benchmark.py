"""Trains models on the recipes of the benchmark `bench`: a study for each recipe, as `ablate` runs it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slotlab.framework.api.ablation import Study, ablate_file, forecast_file
from slotlab.framework.api.consent import consent
from slotlab.framework.api.console import say
from slotlab.framework.api.given import Names, Paths, names_of, paths_of
from slotlab.framework.api.settings import Settings, assignments
from slotlab.framework.scenes.bench import BENCH, BENCH_NAMES
from slotlab.framework.spec.merge import SHIPPED, Option, shipped_specs
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest

ABLATION = "slotlab:ablations/bench"
"""What is trained, and how it is measured."""
VARIANT = "plain-1"
SEEDS = 5
MODELS = ("slot_attention_demo", "boqsa_demo", "demo")
"""The shipped specs that are trained without a choice: each begins a family, and trains from nothing."""
LEFT_OUT: Mapping[str, str] = {
    "adaslot_demo": "starts from the weights of another run, of slots7_demo",
    "dinosaur_demo": "reads the features of another run, of slot_attention_demo",
    "ft_dinosaur_demo": "reads the features of another run, of slot_attention_demo",
    "savi_demo": "is trained on videos, and the benchmark has single pictures",
    "slotdiffusion_demo": "reads two other runs, and its masks are those of attention",
    "slotformer_demo": "is trained on videos, and the benchmark has single pictures",
    "slots7_demo": "is slot_attention_demo with more slots than there are things to see",
    "spot_demo": "finds no objects at this size (docs/results/families.md)",
    "vqvae_demo": "is a codec, without slots",
}
"""The other small specs, and why they are not trained without being named."""


def bench(
    models: Names = (),
    settings: Settings | None = None,
    *,
    variants: Names = (VARIANT,),
    seeds: int = SEEDS,
    dry_run: bool = False,
    launcher: str | None = None,
    studies: str | Path = "studies",
    runs: str | Path = "runs",
    plugins: Paths = (),
    strict_plugins: bool = False,
    trust: bool = False,
    device: str = "auto",
) -> tuple[Study, ...]:
    """Train and measure models on recipes of the benchmark, as `slotlab bench run` does.

    A recipe is a study, `studies/bench-RECIPE`, which `slotlab.ablate` would run: the same call goes on with
    what was stopped, and `slotlab.leaderboard` reads it.

    >>> import slotlab
    >>> (study,) = slotlab.bench("demo", seeds=2, dry_run=True)
    >>> study.path.name, [run["arm"] for run in study.runs]
    ('bench-plain-1', ['model=demo', 'model=demo'])

    Args:
        models: shipped specs (`demo`) and files; those that train from nothing without any.
        settings: other settings of the ablation, by dotted path, such as `settings.training.batch_size`.
        variants: the recipes (docs/reference/data.md).
        seeds: how many seeds, from 0.
        dry_run: check everything, and start nothing.
        launcher: `local`, `ray`, `slurm`, ...
        studies: where studies lie.
        runs: where runs lie, each once for all studies.
        plugins: single-file plugins to load.
        strict_plugins: fail if an installed plugin cannot be loaded.
        trust: run code that came with another user's run (docs/explanation/trust.md).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        One study for each recipe, in their order.

    Raises:
        SpecError: with every mistake of a model's spec.
        SlotlabError: for a recipe or a model that is not there.
    """
    result = bench_files(
        names_of(models),
        variants=names_of(variants),
        seeds=seeds,
        timed=False if dry_run else None,
        sets=assignments(settings),
        plugins=paths_of(plugins, "a plugin"),
        strict_plugins=strict_plugins,
        trust=consent(given=trust),
        launcher=launcher,
        studies=Path(studies),
        runs=Path(runs),
        device=device,
    )
    return tuple(
        Study(Path(one["study"]), tuple(one["runs"]), tuple(one.get("failed", ()))) for one in result
    )


def bench_files(
    models: Sequence[str],
    *,
    variants: Sequence[str],
    seeds: int,
    timed: bool | None,
    sets: Sequence[str],
    **options: Any,
) -> list[dict[str, Any]]:
    """Run what is missing, and return for each recipe what `ablate_file` does.

    Args:
        models: shipped specs and files; empty for `MODELS`.
        variants: the recipes.
        seeds: how many seeds, from 0.
        timed: start nothing, and time the trainings (True) or not (False); None to run them.
        sets: assignments over the ablation, after those that the other arguments make.
        options: the other arguments of `ablate_file`.
    """
    chosen = specs_of(models)
    every = [bench_sets(variant, chosen, seeds) for variant in variants]  # a mistake ends it before any run
    if not models:
        say("left out: " + "; ".join(f"{name} {reason}" for name, reason in LEFT_OUT.items()))
    found = []
    for own in every:
        if timed is None:
            found.append(ablate_file(ABLATION, sets=[*own, *sets], **options))
        else:
            found.append(forecast_file(ABLATION, sets=[*own, *sets], **options, timed=timed, images=None))
    return found


def specs_of(models: Sequence[str]) -> list[str]:
    """Return models as an ablation names specs: shipped ones by their names, files as they are.

    Raises:
        SlotlabError: for what is neither.
    """
    shipped = shipped_specs()
    found = []
    for name in models or MODELS:
        plain = name.removeprefix(SHIPPED)
        if plain in shipped and (name != plain or not Path(name).is_file()):
            found.append(f"{SHIPPED}{plain}")
        elif Path(name).is_file() and not name.startswith(SHIPPED):
            found.append(name)
        else:
            hint = f"{suggest(plain, shipped)} (shipped: {', '.join(shipped)})"
            raise SlotlabError(
                f"--model {name}: there is no such file, nor a shipped spec of this name{hint}"
            )
    return found


def bench_sets(variant: str, specs: Sequence[str], seeds: int) -> list[Option]:
    """Return the assignments that make the ablation one of a recipe, of some specs and seeds.

    Raises:
        SlotlabError: for a recipe that is not there.
    """
    recipe = next((one for name, one in BENCH.items() if name == variant), None)
    if recipe is None:
        hint = f"{suggest(variant, BENCH_NAMES)} (recipes: {', '.join(BENCH_NAMES)})"
        raise SlotlabError(f"--variant {variant}: the benchmark has no such recipe{hint}")
    of, named = f"--variant {variant}", " ".join(f"--model {one}" for one in specs)
    axis = {"name": "model", "path": "extends", "values": list(specs)}
    return [
        Option(f"name=bench-{variant}", of),
        Option(f"settings.data.dataset.variant={variant}", of),
        Option(f"settings.model.slots={recipe.most_objects + 1}", of),
        Option(f"axes={json.dumps([axis])}", named),
        Option(f"seeds={json.dumps(list(range(seeds)))}", f"--seeds {seeds}"),
    ]
