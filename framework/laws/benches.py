"""What components of each kind are tried on."""

from slotlab.framework.laws.bench import (
    Bench,
    EncoderBench,
    GroupingBench,
    InitializerBench,
    PositionBench,
)
from slotlab.framework.laws.bench_others import AuxiliaryBench, MetricBench, OptimizerBench, ScheduleBench
from slotlab.framework.laws.bench_pictures import CodecBench, DecoderBench, ObjectiveBench

BENCHES: dict[str, Bench] = {
    "encoder": EncoderBench(),
    "position": PositionBench(),
    "initializer": InitializerBench(),
    "grouping": GroupingBench(),
    "decoder": DecoderBench(),
    "objective": ObjectiveBench(),
    "codec": CodecBench(),
    "metric": MetricBench(),
    "auxiliary": AuxiliaryBench(),
    "optimizer": OptimizerBench(),
    "schedule": ScheduleBench(),
}
"""By kind; the others have laws of their settings and texts alone."""
