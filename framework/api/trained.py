"""What functions that open a trained run share: the settings it still takes, and its checkpoint."""

from collections.abc import Sequence

from slotlab.framework.spec.merge import Option
from slotlab.registry.errors import SlotlabError

_INSTEAD = {
    "model.slots": "evaluation.slots",
    "training.batch_size": "evaluation.batch_size",
    "seed": "data.seed for other generated pictures",
}
"""Settings of a training, and what is meant by them after it."""


def assignments(sets: Sequence[str], checkpoint: str | None) -> list[str]:
    """Return the assignments over a trained run's spec, that of `--checkpoint` among them.

    Raises:
        SlotlabError: for settings that can change a training only, and for what is no checkpoint.
    """
    for assignment in sets:
        path = assignment.partition("=")[0].strip()
        if not path.startswith(("evaluation.", "data.")):
            hint = "a trained run takes new settings under evaluation and data only"
            instead = f"; write {_INSTEAD[path]}" if path in _INSTEAD else ""
            written = assignment.written if isinstance(assignment, Option) else f"--set {assignment}"
            raise SlotlabError(f"{written}: {hint}{instead}")
    if checkpoint is None:
        return list(sets)
    if checkpoint not in ("best", "last") and not (checkpoint.isdecimal() and int(checkpoint[:18]) > 0):
        raise SlotlabError(f"--checkpoint {checkpoint}: write best, last or the step of a checkpoint")
    return [*sets, Option(f"evaluation.checkpoint={checkpoint}", f"--checkpoint {checkpoint}")]
