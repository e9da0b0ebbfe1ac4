"""slotlab: slot attention and object-centric learning, put together from plugins by typed specs.

    import slotlab

    run = slotlab.train("my_experiment.yaml", {"training.batch_size": 16})
    run = slotlab.open_run("runs/my_experiment-1a2b3c4d", checkpoint="best")
    found = run.segment(images)              # slots, masks, labels and reconstructions of any images
    run.evaluate("clevrtex-official").rows()  # a pandas.DataFrame, one row for each image
    model = slotlab.build_model("slotlab:demo")  # a torch.nn.Module
    slotlab.compare("runs")                  # shows itself in a notebook

docs/tutorials/python.md teaches it. What is listed here and in the modules below is public; everything
else may change:

* `slotlab.contracts`: what components receive and give
* `slotlab.hooks`: what a component of each kind has to be
* `slotlab.metrics`, `slotlab.images`: what plugins of some kinds are made of
* `slotlab.composition`: slots mixed, changed and painted
* `slotlab.data`: datasets inspected, packed and rendered
* `slotlab.results`: the classes of what the functions return, for annotations

Nothing is imported before it is used: `import slotlab` loads neither torch nor NumPy. A function that needs
torch first sets how many threads torch starts, as the command line does (`set_threads`); with torch in memory
it is too late for that, and what the environment says wins.
"""

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slotlab import composition, contracts, data, hooks, images, metrics, results
    from slotlab.framework.api.ablation import ablate
    from slotlab.framework.api.benchmark import bench
    from slotlab.framework.api.checking import check, laws
    from slotlab.framework.api.comparison import compare
    from slotlab.framework.api.components import list_components
    from slotlab.framework.api.diagnosing import diagnose
    from slotlab.framework.api.exporting import export
    from slotlab.framework.api.leaderboard import leaderboard
    from slotlab.framework.api.merging import merge
    from slotlab.framework.api.mixing_page import open_studio
    from slotlab.framework.api.models import build_model
    from slotlab.framework.api.run import open_run
    from slotlab.framework.api.run_lists import list_runs, published, study_status
    from slotlab.framework.api.scaffolding import new
    from slotlab.framework.api.scoring import score
    from slotlab.framework.api.specs import load_spec, schema
    from slotlab.framework.api.training import train
    from slotlab.framework.api.transfer import pull, push
    from slotlab.framework.spec.paths import ProgramPath, SpecPath
    from slotlab.framework.system.cores import set_threads
    from slotlab.registry import (
        Component,
        ComponentConfig,
        ComponentError,
        Kind,
        Ref,
        RefTo,
        SlotlabError,
        hookimpl,
    )

# The front door of a source tree in the current folder comes before an installed slotlab, which has the rest.
__path__ = extend_path(__path__, __name__)

__all__ = [
    "Component",
    "ComponentConfig",
    "ComponentError",
    "Kind",
    "ProgramPath",
    "Ref",
    "RefTo",
    "SlotlabError",
    "SpecPath",
    "ablate",
    "bench",
    "build_model",
    "check",
    "compare",
    "composition",
    "contracts",
    "data",
    "diagnose",
    "export",
    "hookimpl",
    "hooks",
    "images",
    "laws",
    "leaderboard",
    "list_components",
    "list_runs",
    "load_spec",
    "merge",
    "metrics",
    "new",
    "open_run",
    "open_studio",
    "published",
    "pull",
    "push",
    "results",
    "schema",
    "score",
    "set_threads",
    "study_status",
    "train",
]

_JOBS = "framework.api."
"""Where functions are that need torch."""
_HOMES = {
    "ablate": "framework.api.ablation",
    "bench": "framework.api.benchmark",
    "build_model": "framework.api.models",
    "check": "framework.api.checking",
    "compare": "framework.api.comparison",
    "diagnose": "framework.api.diagnosing",
    "export": "framework.api.exporting",
    "laws": "framework.api.checking",
    "leaderboard": "framework.api.leaderboard",
    "list_components": "framework.api.components",
    "list_runs": "framework.api.run_lists",
    "new": "framework.api.scaffolding",
    "load_spec": "framework.api.specs",
    "merge": "framework.api.merging",
    "open_run": "framework.api.run",
    "open_studio": "framework.api.mixing_page",
    "published": "framework.api.run_lists",
    "pull": "framework.api.transfer",
    "push": "framework.api.transfer",
    "schema": "framework.api.specs",
    "score": "framework.api.scoring",
    "set_threads": "framework.system.cores",
    "study_status": "framework.api.run_lists",
    "train": "framework.api.training",
    "ProgramPath": "framework.spec.paths",
    "SpecPath": "framework.spec.paths",
    **dict.fromkeys(
        (
            "Component",
            "ComponentConfig",
            "ComponentError",
            "Kind",
            "Ref",
            "RefTo",
            "SlotlabError",
            "hookimpl",
        ),
        "registry",
    ),
}
"""Where a name is defined; the others in `__all__` are modules of this folder."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is used first."""
    if name == "__version__":
        return import_module("importlib.metadata").version("slotlab")
    if name not in __all__:
        raise AttributeError(f"module 'slotlab' has no attribute {name!r}")
    home = _HOMES.get(name)
    if home is None:
        return import_module(f"slotlab.{name}")
    if home.startswith(_JOBS):
        import_module("slotlab.framework.system.cores").set_threads()
    return getattr(import_module(f"slotlab.{home}"), name)


def __dir__() -> list[str]:
    """Return the public names, for completion."""
    return sorted(__all__)


if __name__ != "slotlab":  # the same file loaded under two names makes two of every class
    raise ImportError(f"this folder is the package slotlab, but it was imported as {__name__!r}")
