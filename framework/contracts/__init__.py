"""What components are told when they are built (`*Context`), and what they give. Import it all from here.

Axes, in every file: B images, C channels, H rows, W columns, N tokens (positions of a
feature map, row by row), K slots, D slot width. All outputs are frozen dataclasses.
`docs/architecture.md` shows how video, generative decoders and other targets fit in.
"""

from slotlab.framework.arithmetic.void import VOID
from slotlab.framework.contracts.data import (
    Batch,
    BatchedDataset,
    Counting,
    Crop,
    DataError,
    DataProblem,
    Dataset,
    DatasetContext,
    RawBatch,
    Resize,
    Sample,
    Size,
)
from slotlab.framework.contracts.evaluation import (
    MaskSource,
    Metric,
    MetricContext,
    Outcome,
    PooledMetric,
    SetMetric,
    SetMetricContext,
    SetResult,
    missing,
)
from slotlab.framework.contracts.model import (
    Decoded,
    DecoderContext,
    EncoderContext,
    Grouped,
    GroupingContext,
    InitializerContext,
    Losses,
    ModelOutput,
    Objective,
    ObjectiveContext,
    PositionContext,
    Sampler,
    Slots,
    TargetShape,
)
from slotlab.framework.contracts.training import OptimizerContext, ScheduleContext, Tracker, TrackerContext

__all__ = [
    "VOID",
    "Batch",
    "BatchedDataset",
    "Counting",
    "Crop",
    "DataError",
    "DataProblem",
    "Dataset",
    "DatasetContext",
    "Decoded",
    "DecoderContext",
    "EncoderContext",
    "Grouped",
    "GroupingContext",
    "InitializerContext",
    "Losses",
    "MaskSource",
    "Metric",
    "MetricContext",
    "ModelOutput",
    "Objective",
    "ObjectiveContext",
    "OptimizerContext",
    "Outcome",
    "PooledMetric",
    "PositionContext",
    "RawBatch",
    "Resize",
    "Sample",
    "Sampler",
    "ScheduleContext",
    "SetMetric",
    "SetMetricContext",
    "SetResult",
    "Size",
    "Slots",
    "TargetShape",
    "Tracker",
    "TrackerContext",
    "missing",
]
