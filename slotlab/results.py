"""The classes of what the functions of slotlab return, for annotations."""

from slotlab.framework.api.ablation import Study
from slotlab.framework.api.comparison import RunComparison
from slotlab.framework.api.components import ComponentInfo, SettingInfo
from slotlab.framework.api.composing import Composition
from slotlab.framework.api.diagnosing import Diagnosis
from slotlab.framework.api.evaluating import Evaluations
from slotlab.framework.api.leaderboard import Leaderboard
from slotlab.framework.api.probing import ProbeOfRun
from slotlab.framework.api.records import Records
from slotlab.framework.api.run import Run
from slotlab.framework.api.scoring import Scores
from slotlab.framework.api.segmenting import Images, Segmentation
from slotlab.framework.api.specs import Spec
from slotlab.framework.laws.verdict import Verdict

__all__ = [
    "ComponentInfo",
    "Composition",
    "Diagnosis",
    "Evaluations",
    "Images",
    "Leaderboard",
    "ProbeOfRun",
    "Records",
    "Run",
    "RunComparison",
    "Scores",
    "Segmentation",
    "SettingInfo",
    "Spec",
    "Study",
    "Verdict",
]
