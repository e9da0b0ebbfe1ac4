"""Laws of devices: what is built on the CPU moves, and shapes are known without values."""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from slotlab.framework.laws.blame import line_of_attribute, raised_at, source_line
from slotlab.framework.laws.subject import Subject
from slotlab.framework.laws.verdict import Broken, Skip
from slotlab.registry import SlotlabError
from slotlab.registry.errors import describe

MOVED = "moves with its model"
MIXING = ("aten::index", "aten::copy_", "aten::_to_copy", "aten::_index_put", "aten::lift_fresh")
"""Operations that may take tensors of several devices."""


class TwoDevicesError(RuntimeError):
    """An operation was given tensors of two devices."""


class OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations on tensors of two devices, as a GPU does; the meta device alone lets some pass."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the devices, and go on."""
        kwargs = kwargs or {}
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        devices = {one.device.type for one in tensors if one.dim()}
        if len(devices) > 1 and not func.name().startswith(MIXING):
            raise TwoDevicesError(
                f"{func.name().partition('::')[2].partition('.')[0]} of tensors on two devices"
            )
        return func(*args, **kwargs)


def unregistered(module: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Yield tensors and modules that a module holds and torch does not know of: owner, attribute, what."""
    for owner in module.modules():
        if type(owner)._apply is not nn.Module._apply:
            continue  # it moves what it holds by itself
        for name, value in vars(owner).items():
            if name in ("_parameters", "_buffers", "_modules"):
                continue
            for what in hidden(value):
                yield owner, name, what


def hidden(value: Any, depth: int = 3) -> Iterator[str]:
    """Yield what of tensors and modules lies in an attribute."""
    if isinstance(value, nn.Module):
        yield "a module"
    elif isinstance(value, Tensor):
        yield "a tensor"
    elif depth and isinstance(value, list | tuple | set):
        for one in value:
            yield from hidden(one, depth - 1)
    elif depth and isinstance(value, dict):
        yield from hidden(list(value.values()), depth - 1)


def check_registered(subject: Subject, part: Any) -> None:
    """Refuse tensors and modules that do not move with a part.

    Raises:
        Broken: naming the first.
    """
    for owner, name, what in unregistered(part):
        repair = f"write self.register_buffer('{name}', ..., persistent=False), or make it an nn.Parameter"
        if what == "a module":
            repair = "hold modules in nn.ModuleList, nn.ModuleDict or nn.Sequential"
        place = line_of_attribute(type(owner), name)
        where = place if place is not None and str(place.file) in subject.files else subject.place("__init__")
        text = f"'{name}' of {type(owner).__name__} holds {what} that is not registered: it stays on the CPU"
        raise Broken(f"{text} and is never trained or saved", repair, place=where)


def moves_with_its_model(subject: Subject) -> None:
    """Built on the CPU and then moved, it computes where its inputs are."""
    part = subject.build().eval()
    check_registered(subject, part)
    subject.call(part)  # what it keeps from its first call must move, too
    moved = part.to("meta")
    try:
        with OneDevice():  # type: ignore[no-untyped-call]
            subject.call(moved, tuple(one.to("meta") for one in subject.inputs()))
    except TwoDevicesError as error:
        place = raised_at(error, subject.files) or subject.place()
        text = f"after it was moved to another device: {error}: {source_line(place)!r}"
        repair = "make tensors where the inputs are: torch.zeros(..., device=x.device); or register a buffer"
        raise Broken(text, repair, place=place) from None
    except SlotlabError:
        raise
    except Exception as error:
        raise Skip(f"it needs values, which the device without values has not: {describe(error)}") from None


def works_without_values(subject: Subject) -> None:
    """Built and called with shapes alone, as `validate` does, it gives the same shapes."""
    expected = [tuple(one.shape) for one in subject.call(subject.build())]
    try:
        with torch.device("meta"):
            part = subject.build()
            inputs = tuple(torch.empty_like(one, device="meta") for one in subject.inputs())
            found = [tuple(one.shape) for one in subject.call(part, inputs)]
    except SlotlabError:
        raise
    except Exception as error:
        place = raised_at(error, subject.files) or subject.place()
        raise Broken(explained(error, source_line(place)), place=place) from None
    for name, one in part.state_dict().items():
        if one.device.type != "meta":
            raise Broken(
                f"'{name}' has values although it was built without any", place=subject.place("__init__")
            )
    if found != expected:
        raise Broken(
            f"its shapes are {found} without values, and {expected} with them", place=subject.place()
        )


NEEDS_VALUES = (
    (r"\.item\(\)", ".item()"),
    (r"\.tolist\(\)", ".tolist()"),
    (r"\.numpy\(\)|np\.", ".numpy()"),
    (r"\bfloat\(", "float()"),
    (r"\bint\(", "int()"),
    (r"\b(?:if|while|assert|and|or|not)\b", "a decision on a tensor"),
    (r"\brange\(", "range() of a tensor"),
    (r"nonzero|unique|masked_select|\[.*[<>=]=?.*\]", "a choice of elements by their values"),
)
"""What in a line of code needs the values of a tensor."""


def explained(error: BaseException, line: str) -> str:
    """Say in words what a message of the device without values means."""
    text = describe(error)
    if "meta" not in text and "data-dependent" not in text:
        return f"without values, as `validate` builds it, it fails: {text}"
    words = next((name for pattern, name in NEEDS_VALUES if re.search(pattern, line)), "this line")
    return f"{words} needs values, and `validate` has shapes alone: {line!r} ({text})"
