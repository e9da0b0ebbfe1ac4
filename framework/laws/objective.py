"""Laws of objectives."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import Decoded, Losses
from slotlab.framework.contracts.promises import expect_classes, expect_finite, expect_losses, expect_picture
from slotlab.framework.laws.blame import global_streams, line_that_changes
from slotlab.framework.laws.compare import apart, expect_close, same
from slotlab.framework.laws.devices import MOVED, check_registered, hidden
from slotlab.framework.laws.general import BUILT
from slotlab.framework.laws.inputs import given_for
from slotlab.framework.laws.modules import DRAWN, PROMISED, input_name, sizes_may_differ
from slotlab.framework.laws.subject import Subject
from slotlab.framework.laws.trained_target import TRAINED_TARGET
from slotlab.framework.laws.verdict import Broken, Law, Skip
from slotlab.framework.model.prepared import trains_with_target

ROUNDED = 1e-6
"""The most that a perfect prediction of shares may lose: its logits are rounded."""
LOSS, LEAST = "the loss is a number", "the target has the least loss"


def target_is_promised(subject: Subject) -> None:
    """It has the methods of an objective, and a target of the shape that it says."""
    objective = subject.build()
    (target,) = subject.call(objective)
    if objective.target_shape.classes is not None:
        expect_classes(target, "the target")
    else:
        expect_finite(target, "the target")
        if target.requires_grad:
            repair = "compute the target under torch.no_grad(), or detach it"
            raise Broken(
                "the target has a gradient: the model could move it", repair, place=subject.place("target")
            )


def predictions(objective: Any, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return a perfect prediction of a target, and a wrong one."""
    classes = objective.target_shape.classes
    if objective.target_shape.soft:
        return target.log().clamp(min=-1e4), target + 0.5
    if classes is None:
        return target.clone(), target + 0.5
    one_hot = 1000 * F.one_hot(target[:, 0], classes).movedim(-1, 1).float()
    return one_hot, one_hot.roll(1, dims=1)


def loss_of(objective: Any, prediction: Tensor, target: Tensor) -> Losses:
    """Return the losses of a prediction."""
    found: Losses = objective.loss(Decoded(prediction), target)
    expect_losses(found)
    return found


def loss_is_a_number(subject: Subject) -> None:
    """The loss and its terms are finite scalars."""
    objective = subject.build()
    (target,) = subject.call(objective)
    for prediction in predictions(objective, target):
        losses = loss_of(objective, prediction, target)
        for what, found in (("the loss", losses.total), *losses.terms.items()):
            if not found.isfinite():
                raise Broken(f"{what} is {float(found):g}", place=subject.place("loss"))


def least_for_the_target(subject: Subject) -> None:
    """The loss is zero for the target, and more for anything else."""
    objective = subject.build()
    (target,) = subject.call(objective)
    perfect, wrong = (float(loss_of(objective, one, target).total) for one in predictions(objective, target))
    if abs(perfect) > (ROUNDED if objective.target_shape.soft else 0):
        raise Broken(f"a perfect prediction has a loss of {perfect:.4g}, not 0", place=subject.place("loss"))
    if not wrong > 0:
        raise Broken(f"a wrong prediction has a loss of {wrong:.4g}", place=subject.place("loss"))


def mean_over_images(subject: Subject) -> None:
    """The loss of a batch is the mean of the losses of its images."""
    objective = subject.build()
    (target,) = subject.call(objective, subject.inputs(3))
    shift = torch.tensor([0.25, 0.5, 1.0])[:, None, None, None]
    classes = objective.target_shape.classes
    prediction = target + shift if classes is None else predictions(objective, target)[1] * shift / 1000
    whole = loss_of(objective, prediction, target).total
    each = [loss_of(objective, prediction[i : i + 1], target[i : i + 1]).total for i in range(3)]
    mean = torch.stack(each).mean()
    if apart(whole, mean) > 1e-4 * max(1.0, float(mean)):
        text = (
            f"three images have a loss of {float(whole):.4g}, and one by one of {float(mean):.4g} on average"
        )
        raise Broken(text, place=subject.place("loss"))


def prediction_learns(subject: Subject) -> None:
    """A gradient goes from the loss to the prediction."""
    objective = subject.build()
    (target,) = subject.call(objective)
    prediction = predictions(objective, target)[1].requires_grad_()
    total = loss_of(objective, prediction, target).total
    if not total.requires_grad or torch.autograd.grad(total, prediction, allow_unused=True)[0] is None:
        raise Broken("no gradient goes from the loss to the prediction", place=subject.place("loss"))


def decoder_chooses_the_target(subject: Subject) -> None:
    """Where a decoder gives a target of its own, the loss compares with that one."""
    objective = subject.build()
    (target,) = subject.call(objective)
    if objective.target_shape.classes is not None or objective.target_shape.soft:
        raise Skip("its target is of classes, or of shares")
    own = Decoded(target + 0.5, target_BCHW=target + 0.5)
    found = float(objective.loss(own, target).total)
    if found != 0:
        text = "a decoder's own target (Decoded.target_BCHW) is ignored"
        repair = "target = target_BCHW if decoded.target_BCHW is None else decoded.target_BCHW"
        raise Broken(text, repair, place=subject.place("loss"))


def pictures_are_in_range(subject: Subject) -> None:
    """`to_image` gives None, or images of the spec's size and range of values."""
    contexts = [("images in (-1, 1)", subject.context)]
    contexts += [one for one in subject.bench.others(subject.context) if one[1].value_range[0] == 0]
    for name, context in contexts:
        objective, inputs = subject.build(context), subject.inputs(context=context)
        target = objective.target(*inputs, **given_for(objective, inputs[0]))
        shown = objective.to_image(target)
        expect_picture(shown, 2, context.image_size)
        if shown is None:
            raise Skip("it makes no pictures of predictions")
        if trains_with_target(objective):
            raise Skip("what makes its pictures is not trained yet")
        low, high = context.value_range
        least, most = float(shown.min()), float(shown.max())
        if least < low - 0.05 or most > high + 0.05:
            text = f"of {name} to_image makes values from {least:.3g} to {most:.3g}"
            raise Broken(text, f"return images in {context.value_range}", place=subject.place("to_image"))
        if target.shape == inputs[0].shape and apart(target, inputs[0]) < 1e-6:
            expect_close([shown], [inputs[0]], f"of {name} to_image makes others", subject.place("to_image"))


def draws_nothing(subject: Subject) -> None:
    """Target and loss draw from no stream, and are the same each time."""
    objective = subject.build()

    def run() -> tuple[Tensor, ...]:
        (target,) = subject.call(objective)
        return target, loss_of(objective, predictions(objective, target)[1], target).total

    before = global_streams()
    first, again = run(), run()
    if global_streams() != before:
        place = line_that_changes(global_streams, run, subject.files)
        raise Broken("it draws from a random stream", place=place)
    if not same(first, again):
        raise Broken("the same images have two targets or losses", place=subject.place("target"))


def moves(subject: Subject) -> None:
    """What it holds is registered, so that it moves with the model."""
    objective = subject.build()
    if isinstance(objective, nn.Module):
        check_registered(subject, objective)
        return
    for name, value in vars(objective).items() if hasattr(objective, "__dict__") else ():
        for what in hidden(value):
            repair = "derive the class from torch.nn.Module, and register tensors as buffers"
            raise Broken(f"'{name}' holds {what}, which stays on the CPU", repair, place=subject.place(name))


def images_stay(subject: Subject) -> None:
    """Neither target nor loss changes what it is given."""
    objective, inputs = subject.build(), subject.inputs()
    copies = [one.clone() for one in inputs]
    (target,) = subject.call(objective, inputs)
    if not same(inputs, copies):
        raise Broken(f"it changes the {input_name(subject, inputs, copies)}", place=subject.place("target"))
    prediction = predictions(objective, target)[1]
    given = prediction.clone(), target.clone()
    objective.loss(Decoded(prediction), target)
    if not same(given, (prediction, target)):
        raise Broken("the loss changes the prediction or the target", place=subject.place("loss"))


TRIED = (BUILT, PROMISED, LOSS, DRAWN)
OBJECTIVE = (
    Law(PROMISED, target_is_promised, "return what `python -m pydoc slotlab.hooks` says", (BUILT,)),
    Law(
        "sizes may differ",
        sizes_may_differ,
        "compute rows and columns apart, from the context",
        (BUILT, PROMISED),
    ),
    Law(LOSS, loss_is_a_number, "return Losses of finite scalars", (BUILT, PROMISED)),
    Law(
        DRAWN,
        draws_nothing,
        "an objective draws nothing: decoders are given a generator",
        (BUILT, PROMISED, LOSS),
    ),
    Law("inputs stay as they are", images_stay, "write x = x + 1, not x += 1", TRIED),
    Law(MOVED, moves, "register it", (BUILT,)),
    Law(
        "the target has the least loss", least_for_the_target, "compare the prediction with the target", TRIED
    ),
    Law("the loss is a mean over images", mean_over_images, "take the mean over images, not the sum", TRIED),
    Law("the prediction learns", prediction_learns, "compute the loss from decoded.prediction_BCHW", TRIED),
    Law(
        "a decoder may choose the target",
        decoder_chooses_the_target,
        "look at decoded.target_BCHW",
        (*TRIED, LEAST),
    ),
    *TRAINED_TARGET,
    Law("pictures are in range", pictures_are_in_range, "bring predictions to context.value_range", TRIED),
)
