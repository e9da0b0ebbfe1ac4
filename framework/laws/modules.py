"""Laws of all modules: what is trained and called for images."""

import copy

import torch
from torch import Tensor, nn

from slotlab.framework.contracts.promises import expect_finite
from slotlab.framework.laws.blame import (
    global_streams,
    line_that_changes,
    raised_at,
)
from slotlab.framework.laws.compare import all_close, expect_close, greatest, same
from slotlab.framework.laws.devices import MOVED, moves_with_its_model, works_without_values
from slotlab.framework.laws.general import BUILT
from slotlab.framework.laws.saving import (
    assigned,
    is_saved_whole,
    schedulable_can_be_set,
    seed_decides_the_weights,
)
from slotlab.framework.laws.subject import Subject, evaluated
from slotlab.framework.laws.verdict import Broken, Law, Skip
from slotlab.registry import ComponentError, SlotlabError

PROMISED, FINITE, DRAWN = "keeps its contract", "values are finite", "draws from its generator alone"
SIZES = "sizes may differ"
KEEPING = (BUILT, PROMISED, FINITE, DRAWN)
"""What must hold before outputs are compared."""


def keeps_its_contract(subject: Subject) -> None:
    """It returns what its kind promises, in training and in evaluation.

    What is built is in training mode, unless it is frozen: nothing in it is trained.
    """
    part = subject.build()
    if not isinstance(part, nn.Module):
        text = f"what it builds is a {type(part).__name__}, and should be a torch.nn.Module"
        raise Broken(text, "derive the class from torch.nn.Module", place=subject.place())
    if not part.training and not is_frozen(part):
        raise Broken(
            "it is built in evaluation mode", "do not call eval() on itself", place=subject.place("__init__")
        )
    subject.call(part)
    subject.call(part.eval())


def is_frozen(part: nn.Module) -> bool:
    """Return whether a part has parameters of which none is learned, as the codec of a trained run."""
    wanted = [one.requires_grad for one in part.parameters()]
    return bool(wanted) and not any(wanted)


def sizes_may_differ(subject: Subject) -> None:
    """It fits images that are no squares, other widths, and batches of one and three; or refuses them."""
    for batch in (1, 3):
        try:
            subject.call(evaluated(subject.build()), subject.inputs(batch))
        except Exception as error:
            raise wrong_at(subject, error, f"a batch of {batch}") from error
    refusals = []
    for name, context in subject.bench.others(subject.context):
        try:
            part = subject.build(context)
        except ComponentError as error:
            refusals.append(f"{name}: {error}")
            continue
        try:
            subject.call(evaluated(part), context=context)
        except Exception as error:
            raise wrong_at(subject, error, name) from error
    if refusals:
        raise Skip(f"it refuses {'; '.join(refusals)}")


def wrong_at(subject: Subject, error: Exception, what: str) -> Broken:
    """Return that something fails for some sizes."""
    from slotlab.registry.errors import describe

    text = str(error) if isinstance(error, SlotlabError) else describe(error)
    place = raised_at(error, subject.files) or subject.place()
    return Broken(f"with {what}: {text}", place=place)


def values_are_finite(subject: Subject) -> None:
    """No value is infinite or NaN, also for images of one color and slots that are all alike."""
    part = subject.build()
    plain = subject.inputs()
    for what, inputs in (("noise", plain), ("inputs that are all zero", tuple(0 * one for one in plain))):
        for mode in (True, False):
            for found in subject.call(part.train(mode), inputs):
                try:
                    expect_finite(found, f"what it makes of {what}")
                except ComponentError as error:
                    raise Broken(str(error), place=subject.place()) from None


def draws_from_its_generator(subject: Subject) -> None:
    """It draws nothing from torch's, NumPy's and Python's streams; equal generators give equal results."""
    for training in (False, True):
        check_draws(subject, subject.build(), training)


def check_draws(subject: Subject, part: nn.Module, training: bool) -> None:
    """Look at what a part draws in training or in evaluation."""

    def run() -> tuple[Tensor, ...]:
        return subject.call(copy.deepcopy(part).train(training))

    before = global_streams()
    first = run()
    after = global_streams()
    spared = 1 if training and not subject.bench.draws else 0  # nn.Dropout of a part without a generator
    if after[spared:] != before[spared:]:
        place = line_that_changes(global_streams, run, subject.files)
        whose = "torch's own" if after[1:] == before[1:] else "NumPy's or Python's"
        when = "in training" if training else "in evaluation"
        raise Broken(f"{when} it draws from {whose} random stream", repair_of_draws(subject), place=place)
    if not spared and not same(first, run()):
        raise Broken("the same inputs and the same generator give two results", place=subject.place())


def repair_of_draws(subject: Subject) -> str:
    """Say where numbers should be drawn from."""
    if subject.bench.draws:
        return "pass generator=generator to what draws, such as torch.randn(..., generator=generator)"
    article = "an" if subject.kind[0] in "aeiou" else "a"
    return f"{article} {subject.kind} draws nothing outside of training: guard it with 'if self.training:'"


def inputs_stay(subject: Subject) -> None:
    """It changes none of the tensors that it is given."""
    for training in (True, False):
        check_inputs(subject, subject.build().train(training))


def check_inputs(subject: Subject, part: nn.Module) -> None:
    """Look at the inputs after a call."""
    inputs, given = subject.inputs(), subject.inputs()
    copies = [one.clone() for one in inputs]
    subject.call(part, inputs)
    if not same(inputs, copies):
        place = line_that_changes(
            lambda: [one._version for one in given], lambda: subject.call(part, given), subject.files
        )
        text = f"it changes the {input_name(subject, inputs, copies)} that it is given"
        raise Broken(text, place=place or subject.place())


def input_name(subject: Subject, inputs: tuple[Tensor, ...], copies: list[Tensor]) -> str:
    """Name the input that was changed."""
    names = {
        "grouping": ("tokens", "slots"),
        "decoder": ("slots", "target"),
        "objective": ("images", "features"),
        "initializer": ("tokens",),
        "position": ("feature map",),
        "predictor": ("slots of the first frame", "slots of the second frame"),
        "dynamics": ("slots",),
    }.get(subject.kind, ("images",))
    changed = [name for name, a, b in zip(names, inputs, copies, strict=False) if not torch.equal(a, b)]
    return " and ".join(changed)


def images_do_not_mix(subject: Subject) -> None:
    """In evaluation what becomes of an image depends on that image alone."""
    part, inputs = subject.used(), subject.inputs()
    changed = tuple(torch.cat([one[:1], one[1:] + 1]) for one in inputs)
    before, after = subject.call(part, inputs), subject.call(part, changed)
    reason = "what becomes of an image changes with the other images of its batch"
    expect_close([one[:1] for one in after], [one[:1] for one in before], reason, subject.place())
    alone = subject.call(part, tuple(one[:1] for one in inputs))
    if not all_close(alone, [one[:1] for one in before], 1e-3) and not drew(subject, part, inputs):
        text = f"an image alone gives another result than in a batch (by up to {greatest(alone, before):.3g})"
        raise Broken(text, place=subject.place())


def drew(subject: Subject, part: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Return whether results depend on the generator."""
    return not same(subject.call(part, inputs, seed=1), subject.call(part, inputs, seed=2))


def every_weight_is_learned(subject: Subject) -> None:
    """A gradient reaches every parameter that wants one."""
    part = subject.build().train()
    learned = {name: one for name, one in part.named_parameters() if one.requires_grad}
    if not learned:
        raise Skip("it has no parameters that are learned")
    found = [one for one in subject.call(part) if one.requires_grad]
    if subject.kind == "codec":
        from slotlab.framework.laws.bench_pictures import codec_losses
        from slotlab.framework.laws.inputs import stream

        found.append(codec_losses(part, subject.inputs()[0], stream()))
    if not found:
        raise Broken("nothing that it returns has a gradient", place=subject.place())
    torch.stack([one.square().sum() for one in found]).sum().backward()  # type: ignore[no-untyped-call]
    dead = [name for name, one in learned.items() if one.grad is None]
    if dead:
        repair = "use it, remove it, or call requires_grad_(False) on it if it is meant to stay as it is"
        raise Broken(f"no gradient reaches {', '.join(dead)}", repair, place=assigned(subject, dead[0]))


def works_in_bfloat16(subject: Subject) -> None:
    """Its values are finite in mixed precision."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = subject.call(subject.build())
    for one in found:
        if not one.isfinite().all():
            raise Broken("values are not finite in bfloat16", place=subject.place())


MODULES = (
    Law(PROMISED, keeps_its_contract, "return what `python -m pydoc slotlab.hooks` says", (BUILT,)),
    Law(
        SIZES,
        sizes_may_differ,
        "compute rows and columns apart, from the context",
        (BUILT, PROMISED),
    ),
    Law(
        FINITE,
        values_are_finite,
        "add an epsilon where something is divided, rooted or logged",
        (BUILT, PROMISED),
    ),
    Law(
        DRAWN,
        draws_from_its_generator,
        "draw with generator=generator",
        (BUILT, PROMISED),
    ),
    Law("the seed decides its weights", seed_decides_the_weights, "draw weights with torch alone", (BUILT,)),
    Law(
        "inputs stay as they are",
        inputs_stay,
        "write x = x + 1, not x += 1; clone before inplace=True",
        KEEPING,
    ),
    Law(MOVED, moves_with_its_model, "register it", (BUILT, PROMISED)),
    Law(
        "is saved whole",
        is_saved_whole,
        "keep what results depend on in parameters and buffers (register_buffer)",
        (*KEEPING, MOVED),
    ),
    Law(
        "images do not mix",
        images_do_not_mix,
        "take no mean, norm or softmax over the first axis",
        (*KEEPING, SIZES),
    ),
    Law("every weight is learned", every_weight_is_learned, "use it or remove it", (BUILT, PROMISED)),
    Law(
        "works without values",
        works_without_values,
        "compute with tensors, and decide from shapes and settings",
        (BUILT, PROMISED),
    ),
    Law(
        "works in bfloat16",
        works_in_bfloat16,
        "compute what is fine in float32: x.float()",
        (BUILT, PROMISED, FINITE),
    ),
    Law(
        "schedulable values can be set",
        schedulable_can_be_set,
        "see `training.anneal` in docs/reference/specs.md",
        (BUILT,),
    ),
)
"""For encoders, position codes, initializers, groupings, predictors, dynamics, decoders and codecs."""
