"""Runs that an ablation trains before its arms, which all of them share: a codec, an encoder, a teacher.

An arm can be read only when what it names is there, since the weights are part of its identity. So these runs
are trained first, in their order, and then the ablation is read.
"""

from dataclasses import dataclass
from pathlib import Path

from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.tree import dump
from slotlab.framework.study.ablation import FirstSpec
from slotlab.framework.study.folder import StudyFolder
from slotlab.framework.study.plan import wanted_of
from slotlab.framework.study.run_status import WantedEvaluation, glance
from slotlab.framework.system.atomic import write_atomically
from slotlab.registry import SlotlabError


@dataclass(frozen=True)
class FirstRun:
    """A run that is trained before the arms."""

    name: str
    """The name that is shown to users."""
    run_id: str
    folder: Path
    spec: ExperimentSpec
    wanted: WantedEvaluation

    @property
    def is_there(self) -> bool:
        """Whether it is trained and evaluated.

        Raises:
            SlotlabError: if its folder holds another run.
        """
        state = glance(self.folder, self.wanted).state
        if state == "waiting":
            return False
        found = RunFolder(self.folder).read_provenance().get("run_id")
        if found is not None and found != self.run_id:
            text = f"{self.folder} holds another run than that of {self.name}"
            raise SlotlabError(f"{text} ({found}, not {self.run_id}); move it away, or name another folder")
        return state == "done"


def first_run(one: FirstSpec, spec: ExperimentSpec, study: StudyFolder) -> FirstRun:
    """Return a run that is trained before the arms, and write its spec into a folder like a study's."""
    found = FirstRun(one.spec, run_id(spec), one.run.absolute(), spec, wanted_of(spec))
    path = study.spec(found.run_id)
    for folder in (path.parent, study.log(found.run_id).parent):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, dump(spec.model_dump(mode="json")).encode())
    return found
