"""Laws of datasets and set metrics."""

from typing import Any

import torch

from slotlab.framework.contracts import Sample
from slotlab.framework.contracts.metric_promises import check_distance, check_features
from slotlab.framework.data.sample_checks import BrokenPromise, check_sample, check_size
from slotlab.framework.laws.blame import global_streams, line_that_changes
from slotlab.framework.laws.compare import same
from slotlab.framework.laws.general import BUILT
from slotlab.framework.laws.modules import PROMISED
from slotlab.framework.laws.subject import Subject
from slotlab.framework.laws.verdict import Broken, Law, Skip
from slotlab.registry import SlotlabError

LOOKED_AT = 4
"""How many samples are read."""


def samples_are_promised(subject: Subject) -> None:
    """Samples are what the contract says, masks as large as images; past the end is an IndexError."""
    dataset = subject.build()
    size = len(dataset)
    if not size:
        raise Broken("it has no samples", "look at the folder that it reads", place=subject.place("__len__"))
    samples = [dataset[index] for index in range(min(size, LOOKED_AT))]
    try:
        for sample in samples:
            check_sample(sample)
            check_size(sample)
    except BrokenPromise as error:
        raise Broken(str(error), place=subject.place("__getitem__")) from None
    if len({sample.id for sample in samples}) < len(samples):
        raise Broken(
            "two samples have one id", "name each by its file or number", place=subject.place("__getitem__")
        )
    try:
        dataset[size]
    except IndexError:
        return
    except SlotlabError:
        pass
    text = f"asked for sample {size} of {size} it raises no IndexError, so that `for` never ends"
    raise Broken(text, "raise IndexError past the end", place=subject.place("__getitem__"))


def samples_stay_the_same(subject: Subject) -> None:
    """Item i is always the same, in whatever order items are read, and draws from no stream."""
    first, again = subject.build(), subject.build()
    indices = range(min(len(first), LOOKED_AT))
    before = global_streams()
    pairs = [(first[index], again[index]) for index in reversed(indices)]
    if global_streams() != before:
        place = line_that_changes(global_streams, lambda: [again[index] for index in indices], subject.files)
        raise Broken("a sample draws from a random stream", "seed a generator by the index", place=place)
    for one, other in pairs:
        if one.id != other.id or not same(tensors(one), tensors(other)):
            text = f"sample '{one.id}' is another one when it is read again"
            raise Broken(text, "seed a generator by the index", place=subject.place("__getitem__"))


def tensors(sample: Sample) -> list[torch.Tensor]:
    """Return image and mask."""
    return [one.double() for one in (sample.image_CHW, sample.mask_HW) if one is not None]


def images(number: int, seed: int) -> torch.Tensor:
    """Return uint8 images (B, 3, H, W)."""
    stream = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, 3, 32, 32), generator=stream, dtype=torch.uint8)


def ready(subject: Subject) -> Any:
    """Return a set metric that lacks nothing."""
    metric = subject.build()
    for name in ("higher_is_better", "extractor", "lacking", "identity", "features", "distance"):
        if not hasattr(metric, name):
            raise Broken(f"a set metric has '{name}', and this one does not", place=subject.place())
    lacking = metric.lacking()
    if lacking is not None:
        raise Skip(f"it lacks {lacking}")
    return metric


def features_are_promised(subject: Subject) -> None:
    """Features are float32 on the CPU, each of its own image alone."""
    metric, pictures = ready(subject), images(4, 0)
    found = check_features(subject.name, metric.features(pictures), 4)
    alone = check_features(subject.name, metric.features(pictures[1:2]), 1)
    if not torch.allclose(alone, found[1:2], rtol=1e-3, atol=1e-4):
        raise Broken("the features of an image change with its batch", place=subject.place("features"))


def distance_knows_itself(subject: Subject) -> None:
    """A set of images is nearer to itself than to others."""
    metric = ready(subject)
    real = check_features(subject.name, metric.features(images(12, 0)), 12)
    other = check_features(subject.name, metric.features(images(12, 1) // 4), 12)
    own, far = (check_distance(subject.name, metric.distance(one, real)).value for one in (real, other))
    if own == far or (own > far) != metric.higher_is_better:
        text = f"the set itself has {own:.4g}, and other images {far:.4g}"
        raise Broken(text, "turn 'higher_is_better', or the distance", place=subject.place("distance"))


DATASET = (
    Law(PROMISED, samples_are_promised, "see Dataset in `python -m pydoc slotlab.contracts`", (BUILT,)),
    Law("samples stay the same", samples_stay_the_same, "seed a generator by the index", (BUILT, PROMISED)),
)
SET_METRIC = (
    Law(PROMISED, features_are_promised, "see SetMetric in `python -m pydoc slotlab.contracts`", (BUILT,)),
    Law("a set is nearest to itself", distance_knows_itself, "compare the features", (BUILT, PROMISED)),
)
