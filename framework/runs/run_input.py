"""A trained run as an input of another one: its weights are named by their content, not by their place."""

from os.path import lexists
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import PositiveInt, model_validator

from slotlab.framework.runs.checkpoints import Checkpoint
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.merge import SHIPPED, shipped_specs
from slotlab.framework.spec.messages import MISSING_RUN
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import ClosedModel, SlotlabError
from slotlab.registry.component import custom_error


def how_to_make(run: Path) -> str:
    """Return the command that makes a run, by the spec that comes with slotlab under the folder's name."""
    shipped = run.name in shipped_specs()
    return f"train it first: slotlab train {f'{SHIPPED}{run.name}' if shipped else 'SPEC'} --run {run}"


class RunInput(ClosedModel):
    """The weights of a run, as settings of a component: `teacher: {run: ../runs/teacher}`.

    `digest` is filled in when the spec is read, and is what counts in a run's identity: the same weights
    elsewhere give the same identity, other weights in the same place another one. A spec that has it, as
    that of a trained run does, can be read without them; where they are used, others are refused.
    """

    without_effect: ClassVar = frozenset({"run", "checkpoint"})
    """Settings that are not part of a run's identity: where the weights lie, and how they are found."""
    run: SpecPath
    """The run's folder, relative to the spec."""
    checkpoint: Literal["last", "best"] | PositiveInt = "last"
    """Whose weights: the last checkpoint's, the best one's, or those of a step."""
    digest: str = ""
    """Hash of the checkpoint's content; found by itself."""

    @model_validator(mode="after")
    def _identified(self) -> "RunInput":
        if self.digest == "":
            try:
                object.__setattr__(self, "digest", self.find().checksum)
            except SlotlabError as error:
                if lexists(self.run):
                    raise custom_error("run_input", str(error)) from None
                raise custom_error(MISSING_RUN, f"{error}; {how_to_make(self.run)}") from None
        return self

    def find(self) -> Checkpoint:
        """Return the checkpoint, by the names of files alone.

        Raises:
            SlotlabError: if there is no such run, no such checkpoint, or one with other weights.
        """
        found = self._named()
        if self.digest not in ("", found.checksum):
            text = f"the weights in {self.run} are others by now: {found.checksum}, and were {self.digest}"
            raise SlotlabError(f"{text}; name the right run and checkpoint, or leave 'digest' out")
        return found

    def _named(self) -> Checkpoint:
        checkpoints = RunFolder.open(self.run).checkpoints
        if isinstance(self.checkpoint, int):
            return checkpoints.of_step(self.checkpoint)
        every = checkpoints.all()
        found = checkpoints.best() if self.checkpoint == "best" else next(iter(every), None)
        if found is None:
            raise SlotlabError(f"{self.run} has no {self.checkpoint} checkpoint; train it first")
        return found
