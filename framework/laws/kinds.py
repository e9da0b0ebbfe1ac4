"""The laws of each kind."""

from slotlab.framework.laws.decoder import DECODER
from slotlab.framework.laws.dynamics import DYNAMICS
from slotlab.framework.laws.general import GENERAL
from slotlab.framework.laws.losses import AUXILIARY, CODEC
from slotlab.framework.laws.metric import METRIC
from slotlab.framework.laws.modules import MODULES
from slotlab.framework.laws.objective import OBJECTIVE
from slotlab.framework.laws.others import DATASET, SET_METRIC
from slotlab.framework.laws.predictor import PREDICTOR
from slotlab.framework.laws.slots import GROUPING, INITIALIZER, POSITION
from slotlab.framework.laws.training import OPTIMIZER, SCHEDULE
from slotlab.framework.laws.verdict import Law

LAWS: dict[str, tuple[Law, ...]] = {
    "encoder": MODULES,
    "position": (*MODULES, *POSITION),
    "initializer": (*MODULES, *INITIALIZER),
    "grouping": (*MODULES, *GROUPING),
    "predictor": (*MODULES, *PREDICTOR),
    "dynamics": (*MODULES, *DYNAMICS),
    "decoder": (*MODULES, *DECODER),
    "objective": OBJECTIVE,
    "metric": METRIC,
    "codec": (*MODULES, *CODEC),
    "auxiliary": AUXILIARY,
    "dataset": DATASET,
    "set_metric": SET_METRIC,
    "optimizer": OPTIMIZER,
    "schedule": SCHEDULE,
}
"""By kind, besides those of every kind."""


def laws_of(kind: str) -> tuple[Law, ...]:
    """Return the laws of a kind, in the order in which they are checked."""
    return (*GENERAL, *LAWS.get(kind, ()))
