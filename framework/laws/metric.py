"""Laws of metrics."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import Outcome, PooledMetric
from slotlab.framework.contracts.metric_promises import BOUND_TOLERANCE, check_metric, measure
from slotlab.framework.laws.blame import global_streams, line_that_changes
from slotlab.framework.laws.compare import expect_close, same
from slotlab.framework.laws.general import BUILT
from slotlab.framework.laws.modules import DRAWN, PROMISED
from slotlab.framework.laws.outcomes import (
    degenerate,
    doubled,
    dropped,
    one_of,
    only_needed,
    outcome,
    perfect,
    renamed,
    turned,
    voids,
)
from slotlab.framework.laws.subject import Subject
from slotlab.framework.laws.verdict import Broken, Law, Skip
from slotlab.registry import SlotlabError

DECLARED, BOUNDED = "says what it is", "stays within its bounds"
STAYS, NAMELESS = "inputs stay as they are", "segments have no names"
SEGMENTS = frozenset({"predicted_BHW", "masks_BKHW"})


def says_what_it_is(subject: Subject) -> None:
    """It has `needs`, `bounds` and `higher_is_better`, and can be called."""
    metric = subject.build()
    for name, what in (
        ("needs", "frozenset({'true_BHW', 'predicted_BHW'}), say"),
        ("bounds", "(least, greatest), with math.inf where there is none"),
        ("higher_is_better", "True or False"),
    ):
        if not hasattr(metric, name):
            raise Broken(f"a metric says its '{name}'", f"write {name} = {what}", place=subject.place())
    if not isinstance(metric.higher_is_better, bool):
        raise Broken("'higher_is_better' should be True or False", place=subject.place("higher_is_better"))
    if isinstance(metric.needs, str):
        repair = f"write needs = frozenset({{{metric.needs!r}}})"
        raise Broken("'needs' is a text, and should be a set of names", repair, place=subject.place("needs"))
    try:
        check_metric(metric)
    except SlotlabError as error:
        place = subject.place("needs" if "'needs'" in str(error) else "bounds")
        raise Broken(str(error), place=place) from None


@dataclass(frozen=True)
class OfPictures:
    """A metric of clips, measured on pictures: each is a clip of two frames that are alike."""

    metric: Any

    def __getattr__(self, name: str) -> Any:
        """Pass on what the metric says of itself."""
        return getattr(self.metric, name)

    def __call__(self, found: Outcome) -> Any:
        """Return one value for each picture."""
        return self.metric(doubled(found))


def built(subject: Subject) -> Any:
    """Return the metric, as one of pictures."""
    metric = subject.build()
    return OfPictures(metric) if getattr(metric, "of_clips", False) else metric


def is_one_number_an_image(subject: Subject) -> None:
    """It gives one float64 an image, for batches of any size."""
    metric = built(subject)
    every = outcome()
    for batch in (every, one_of(every, 1)):
        found = metric(batch)
        number = len(batch.images_BCHW)
        given = f"a {type(found).__name__}"
        if isinstance(found, Tensor):
            if tuple(found.shape) == (number,) and found.dtype == torch.float64:
                continue
            given = f"{found.dtype} of shape {tuple(found.shape)}"
        images = "one image" if number == 1 else f"{number} images"
        text = f"for {images} it should give float64 of shape ({number},), not {given}"
        raise Broken(text, place=subject.place())


def stays_within_its_bounds(subject: Subject) -> None:
    """Values lie between its bounds, for masks of one segment and of a pixel a segment, too."""
    metric = built(subject)
    low, high = (
        bound + sign * BOUND_TOLERANCE * max(1.0, abs(bound))
        for bound, sign in zip(metric.bounds, (-1, 1), strict=True)
    )
    for what, found in (("", outcome()), (" for masks of one segment", degenerate())):
        values = metric(found)
        defined = values[~values.isnan()]
        if not len(defined):
            raise Broken(
                f"it is defined for no image{what}",
                "give NaN only where nothing can be said",
                place=subject.place(),
            )
        for value in defined.tolist():
            if not low <= value <= high:
                bounds = "{:g} to {:g}".format(*metric.bounds)
                text = f"it gives {value:.4g}{what}, outside its bounds {bounds}"
                raise Broken(text, place=subject.place())
        if metric.needs & SEGMENTS and not defined.isfinite().all():
            raise Broken(f"it gives an infinite value{what}", place=subject.place())


def images_do_not_mix(subject: Subject) -> None:
    """No bit of a value depends on the other images of the batch."""
    metric, found = built(subject), outcome()
    values = metric(found)
    for i in range(len(values)):
        if not same([metric(one_of(found, i))], [values[i : i + 1]]):
            alone = float(metric(one_of(found, i))[0])
            text = f"an image has {float(values[i]):.6g} in a batch, and {alone:.6g} alone"
            raise Broken(text, place=subject.place())
    if not same([metric(turned(found))], [values.flip(0)]):
        raise Broken("values change with the order of the images", place=subject.place())


def reads_what_it_needs(subject: Subject) -> None:
    """It reads the fields of `needs` alone: the others may be None."""
    metric, found = built(subject), outcome()
    values = metric(found)
    try:
        alone = metric(only_needed(metric, found))
    except Exception as error:
        missing = sorted(
            {one.name for one in fields(found)} - set(metric.needs) - {"images_BCHW", "attributes", "frames"}
        )
        text = f"it fails without {', '.join(missing)}: {type(error).__name__}: {error}"
        raise Broken(text, "name in 'needs' all that it reads", place=subject.place("needs")) from None
    expect_close([alone], [values], "it reads more than its 'needs' name", subject.place("needs"), 1e-9)


def segments_have_no_names(subject: Subject) -> None:
    """The numbers of segments and the order of slots mean nothing."""
    metric, found = built(subject), outcome()
    reason = "the numbers of the segments (the order of slots) change the value"
    expect_close([metric(renamed(found))], [metric(found)], reason, subject.place())


def void_does_not_count(subject: Subject) -> None:
    """What is predicted where the truth is void changes nothing."""
    metric = built(subject)
    if not metric.needs & (SEGMENTS | {"true_BHW"}):
        raise Skip("it measures no masks")
    before, after = voids()
    reason = "what is predicted at void pixels (label -1) changes the value"
    expect_close([metric(after)], [metric(before)], reason, subject.place(), 1e-9)


def dropped_slots_do_not_count(subject: Subject) -> None:
    """A slot that was dropped is as if it had never been."""
    metric, (with_them, without) = subject.build(), dropped()
    reason = "slots that were dropped (keep_BK) change the value"
    expect_close([metric(with_them)], [metric(without)], reason, subject.place(), 1e-8)


def truth_is_the_best(subject: Subject) -> None:
    """For a perfect prediction it gives the better of its bounds."""
    metric = built(subject)
    best = metric.bounds[1 if metric.higher_is_better else 0]
    for value in metric(perfect(outcome()))[1:].tolist():
        if value != best and abs(value - best) > 1e-9:
            best_is = f"{best:g} is the best by 'bounds' and 'higher_is_better'"
            text = f"a perfect prediction has {value:.4g}, and {best_is}"
            raise Broken(text, place=subject.place("higher_is_better"))


def any_integers(subject: Subject) -> None:
    """Masks may be of any integer type, images of any memory format."""
    metric, found = built(subject), outcome()
    assert found.true_BHW is not None
    assert found.predicted_BHW is not None
    other = replace(
        found,
        images_BCHW=found.images_BCHW.contiguous(memory_format=torch.channels_last),
        true_BHW=found.true_BHW.to(torch.uint8),
        predicted_BHW=found.predicted_BHW.to(torch.int32),
    )
    reason = "masks of another integer type have another value"
    expect_close([metric(other)], [metric(found)], reason, subject.place(), 1e-9)


def weights_count_objects(subject: Subject) -> None:
    """Weights of a metric over objects are counts, and zero just where the value is undefined."""
    metric, found = built(subject), outcome()
    if not isinstance(metric, PooledMetric):
        raise Skip("it is a mean over images: it has no 'weights'")
    try:
        measured = measure(subject.name, metric, found)
    except SlotlabError as error:
        raise Broken(str(error).partition(": ")[2], place=subject.place("weights")) from None
    for value, weight in zip(measured.values, measured.weights or (), strict=True):
        if (weight == 0) != (value != value):
            text = f"an image with the value {value:.4g} has the weight {weight:g}"
            raise Broken(
                text, "give NaN and weight 0 where there is no object", place=subject.place("weights")
            )


def draws_nothing(subject: Subject) -> None:
    """It draws from no stream."""
    metric, found = built(subject), outcome()
    before = global_streams()
    metric(found)
    if global_streams() != before:
        place = line_that_changes(global_streams, lambda: metric(outcome()), subject.files)
        raise Broken("it draws from a random stream", place=place)


def outcome_stays(subject: Subject) -> None:
    """It changes nothing of the outcome, which other metrics read after it."""
    metric, found, twin, again = built(subject), outcome(), outcome(), outcome()
    metric(found)
    names = [one.name for one in fields(found) if isinstance(getattr(found, one.name), Tensor)]
    changed = [name for name in names if not torch.equal(getattr(found, name), getattr(twin, name))]
    if changed:
        given = [getattr(again, name) for name in names]
        place = line_that_changes(
            lambda: [one._version for one in given], lambda: metric(again), subject.files
        )
        text = f"it changes {', '.join(changed)}, which other metrics read after it"
        raise Broken(text, place=place or subject.place())


GIVEN = (BUILT, DECLARED, PROMISED, DRAWN)
TRIED = (*GIVEN, STAYS)
METRIC = (
    Law(DECLARED, says_what_it_is, "see slotlab.contracts.Metric", (BUILT,)),
    Law(
        PROMISED,
        is_one_number_an_image,
        "return one value an image: x.flatten(1).mean(1).double()",
        (BUILT, DECLARED),
    ),
    Law(DRAWN, draws_nothing, "measure all pixels, or choose them without chance", GIVEN[:3]),
    Law(STAYS, outcome_stays, "clone before you change", GIVEN),
    Law(BOUNDED, stays_within_its_bounds, "write other bounds, or clamp what rounding adds", TRIED),
    Law("images do not mix", images_do_not_mix, "take no mean, norm or maximum over the first axis", TRIED),
    Law("reads what it needs", reads_what_it_needs, "name in 'needs' all that it reads", TRIED),
    Law(NAMELESS, segments_have_no_names, "match segments; never compare labels with numbers", TRIED),
    Law("void does not count", void_does_not_count, "use outcome.counts_BTP, or outcome.scored_BHW", TRIED),
    Law(
        "dropped slots do not count",
        dropped_slots_do_not_count,
        "leave out slots whose keep_BK is 0",
        (*TRIED, NAMELESS),
    ),
    Law(
        "the truth is the best",
        truth_is_the_best,
        "turn 'higher_is_better', write the bounds that it can reach, or declare an exception",
        (*TRIED, BOUNDED),
    ),
    Law("any integers will do", any_integers, "convert labels with .long()", TRIED),
    Law("weights count objects", weights_count_objects, "see slotlab.contracts.PooledMetric", TRIED),
)
