"""What components of each kind are tried on."""

from slotlab.framework.laws.bench import (
    Bench,
    DynamicsBench,
    EncoderBench,
    GroupingBench,
    InitializerBench,
    PositionBench,
    PredictorBench,
)
from slotlab.framework.laws.bench_others import (
    AuxiliaryBench,
    DatasetBench,
    MetricBench,
    OptimizerBench,
    ScheduleBench,
    SetMetricBench,
)
from slotlab.framework.laws.bench_pictures import CodecBench, DecoderBench, ObjectiveBench

BENCHES: dict[str, Bench] = {
    "encoder": EncoderBench(),
    "position": PositionBench(),
    "initializer": InitializerBench(),
    "grouping": GroupingBench(),
    "predictor": PredictorBench(),
    "dynamics": DynamicsBench(),
    "decoder": DecoderBench(),
    "objective": ObjectiveBench(),
    "codec": CodecBench(),
    "metric": MetricBench(),
    "auxiliary": AuxiliaryBench(),
    "dataset": DatasetBench(),
    "set_metric": SetMetricBench(),
    "optimizer": OptimizerBench(),
    "schedule": ScheduleBench(),
}
"""By kind; the others have laws of their settings and texts alone."""
