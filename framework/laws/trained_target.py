"""Laws of objectives that train what makes their target."""

from typing import Any

import torch
from torch import Tensor, nn

from slotlab.framework.contracts.promises import expect_finite, expect_prepared
from slotlab.framework.laws.blame import global_streams, line_that_changes
from slotlab.framework.laws.compare import apart, expect_close, same
from slotlab.framework.laws.general import BUILT
from slotlab.framework.laws.inputs import stream
from slotlab.framework.laws.modules import PROMISED
from slotlab.framework.laws.subject import Subject
from slotlab.framework.laws.verdict import Broken, Law, Skip
from slotlab.framework.model.prepared import trains_with_target
from slotlab.registry import ComponentError

TRAINED, STREAM = "what makes the target is trained", "it prepares by its generator"


def what_makes_the_target_is_trained(subject: Subject) -> None:
    """Where it trains what makes its target: the target as promised, and losses that reach every weight."""
    objective, (images, *_) = training_one(subject), subject.inputs()
    place, copy = subject.place("prepare"), images.clone()
    prepared = objective.prepare(images, generator=stream())
    try:
        expect_prepared(prepared, len(images), objective.target_shape)
        if objective.target_shape.classes is None:
            expect_finite(prepared.target_BCHW, "the prepared target")
    except ComponentError as error:
        raise Broken(str(error), place=place) from None
    if not same((images,), (copy,)):
        raise Broken("it changes the images", "write x = x + 1, not x += 1", place=place)
    for what, found in (("the loss", prepared.losses.total), *prepared.losses.terms.items()):
        if not found.isfinite():
            raise Broken(f"{what} is {float(found):g}", place=place)
    if not isinstance(objective, nn.Module):
        repair = "derive the class from torch.nn.Module, and make what is trained a child"
        raise Broken("what it trains is in no checkpoint", repair, place=place)
    prepared.losses.total.backward()
    learned = [(name, one) for name, one in objective.named_parameters() if one.requires_grad]
    dead = [name for name, one in learned if one.grad is None]
    if dead or not learned:
        text = f"no gradient reaches {', '.join(dead)}" if dead else "it has no weights that are trained"
        raise Broken(text, place=place)


def prepares_by_its_generator(subject: Subject) -> None:
    """What it prepares follows from the images and the generator alone."""
    objective, (images, *_) = training_one(subject), subject.inputs()

    def run() -> tuple[Tensor, Tensor]:
        prepared = objective.prepare(images, generator=stream())
        return prepared.target_BCHW, prepared.losses.total

    before = global_streams()
    first, again = run(), run()
    if global_streams() != before:
        place = line_that_changes(global_streams, run, subject.files)
        raise Broken("it draws from a random stream of torch's own", place=place)
    if not same(first, again):
        text = "the same images and stream have two targets or losses"
        raise Broken(text, place=subject.place("prepare"))


def prepares_each_image_alone(subject: Subject) -> None:
    """Where it draws nothing: an image has the target that it has alone, the loss is a mean over images."""
    objective, (images, *_) = training_one(subject), subject.inputs(3)
    generator = stream()
    whole = objective.prepare(images, generator=generator)
    if not torch.equal(generator.get_state(), stream().get_state()):
        raise Skip("it draws, other numbers for an image alone")
    each = [objective.prepare(images[i : i + 1], generator=stream()) for i in range(3)]
    alone, place = torch.cat([one.target_BCHW for one in each]), subject.place("prepare")
    reason = "the prepared target of an image changes with the other images of its batch"
    expect_close([whole.target_BCHW], [alone], reason, place, 1e-3)
    total, mean = whole.losses.total, torch.stack([one.losses.total for one in each]).mean()
    if apart(total, mean) > 1e-4 * max(1.0, float(mean)):
        text = f"what makes the target has a loss of {float(total):.4g} for three images, and of"
        raise Broken(f"{text} {float(mean):.4g} on average for one by one", place=place)


def training_one(subject: Subject) -> Any:
    """Return the objective, if it trains what makes its target.

    Raises:
        Skip: if it does not.
    """
    objective = subject.build()
    if not trains_with_target(objective):
        raise Skip("it trains nothing but what predicts its target")
    return objective


TRAINED_TARGET = (
    Law(
        TRAINED,
        what_makes_the_target_is_trained,
        "return Prepared(target, losses), the target without a gradient, the losses with one",
        (BUILT, PROMISED),
    ),
    Law(STREAM, prepares_by_its_generator, "draw with generator=generator", (BUILT, PROMISED, TRAINED)),
    Law(
        "it prepares each image alone",
        prepares_each_image_alone,
        "use nothing of the batch, such as BatchNorm or a mean over images, and average losses over images",
        (BUILT, PROMISED, TRAINED, STREAM),
    ),
)
