"""Pass two images through a model, and compare it with its promises.

On the meta device only shapes are checked; with real images, values are checked too. A model that can pass
them through part by part (`Rehearses`) has each mistake shown at its part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Batch, Field, Model, Reconstruction, Reconstructs, Rehearses, Size
from slotlab.framework.contracts.promises import (
    check_sums,
    expect,
    expect_finite,
    expect_losses,
    expect_picture,
    expect_type,
)
from slotlab.framework.model.cues import told
from slotlab.framework.spec.errors import Path, PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import ComponentError, Ref, SlotlabError
from slotlab.registry.errors import describe

OWN_STREAM = "draws from torch's own random stream; in an evaluation all randomness comes from `generator`"


@dataclass
class Walk:
    """One pass through a model, which remembers the part it is in: a `Trial`."""

    spec: ExperimentSpec
    model: Model
    batch: Batch
    """Two images, on the model's device."""
    path: Path = ("model",)
    """The path in the spec of the part that the pass is in."""
    drawn: list[Tensor] = field(default_factory=list)
    """The state of torch's own random streams when the part was entered."""

    def problem(self) -> PathProblem | None:
        """Pass the images through; return the first mistake, at the part that made it."""
        try:
            if isinstance(self.model, Rehearses):
                self.model.rehearse(self)
            else:
                self.through()
        except SlotlabError as error:
            return PathProblem(self.path, f"{self.name}{error}")
        except (Exception, SystemExit) as error:  # a third party's component may fail in any way
            rows, columns = self.image_size
            text = f"fails on images of {columns}x{rows} pixels: {self.explain(error)}"
            return PathProblem(self.path, f"{self.name}{text}")
        return None

    @property
    def images_BCHW(self) -> Tensor:
        """The images."""
        return self.batch.images_BCHW

    @property
    def frames(self) -> int:
        """How many frames each clip has; 1 for images."""
        return self.batch.frames

    @property
    def fields(self) -> Mapping[Field, Tensor]:
        """The images' fields that the model's losses read."""
        return self.batch.fields

    @property
    def values(self) -> bool:
        """Whether tensors have values, not only shapes."""
        return self.images_BCHW.device.type != "meta"

    @property
    def image_size(self) -> Size:
        """The model's image size."""
        return self.images_BCHW.shape[2], self.images_BCHW.shape[3]

    @property
    def other_num_slots(self) -> int | None:
        """The number of slots at evaluation, if it is another than the trained one."""
        number = self.spec.evaluation.slots
        return None if number == self.spec.slots else number

    @property
    def scores_decoder(self) -> bool:
        """Whether the evaluation scores the decoder's masks."""
        return self.spec.evaluation.mask_source == "decoder"

    @property
    def ref(self) -> Ref | None:
        """The component that the pass is in; None outside of components."""
        value: Any = self.spec
        for part in self.path:
            value = value.config if isinstance(value, Ref) else value
            value = value[part] if isinstance(part, int) else getattr(value, str(part))
        return value if isinstance(value, Ref) else None

    @property
    def name(self) -> str:
        """The component's name, as the beginning of a message."""
        return "" if self.ref is None else f"{self.ref.name}: "

    def explain(self, error: BaseException) -> str:
        """Return the text of an error, with the line of the plugin's file if the part comes from one."""
        file: FilePath | None = None if self.ref is None else self.ref.registered.path
        return describe(error, file)

    def at(self, *path: str | int, part: object = None) -> None:
        """Enter a part, and check that one with weights is a module."""
        self.path, self.drawn = path, own_streams(self.images_BCHW.device)
        if part is not None and not isinstance(part, nn.Module):
            raise ComponentError(f"what it builds should be a torch.nn.Module, not a {type(part).__name__}")

    def stream(self) -> Generator | None:
        """Return a random stream for a part; None on the meta device."""
        return Generator(self.images_BCHW.device).manual_seed(self.spec.seed) if self.values else None

    def look(self, found: Tensor, what: str, *, draws: bool = False) -> None:
        """Refuse values that are not finite, and draws from torch's own stream unless `draws` allows them."""
        if not self.values:
            return
        expect_finite(found, what)
        now = own_streams(self.images_BCHW.device)
        if not draws and any(not torch.equal(a, b) for a, b in zip(self.drawn, now, strict=True)):
            raise ComponentError(OWN_STREAM)
        self.drawn = now

    def through(self) -> None:
        """Check the losses and the reconstruction of the model as a whole."""
        self.at("model")
        losses = self.model.losses(self.batch, generator=self.stream())
        expect_losses(losses)
        self.look(losses.total, "the loss", draws=True)
        if not losses.total.requires_grad:
            raise ComponentError("the loss has no gradient: nothing could be learned from it")
        if isinstance(self.model, Reconstructs):
            number = self.other_num_slots
            stream = self.stream()
            made = self.model.reconstruct(
                self.images_BCHW,
                num_slots=number,
                generator=stream,
                painting=stream,
                **told(self.model, self.batch),
            )
            self.check_made(made, number or self.spec.slots)

    def check_made(self, made: object, slots: int | None) -> None:
        """Check what a model makes of images."""
        expect_type(made, Reconstruction, "reconstruct")
        assert isinstance(made, Reconstruction)
        masks_BKHW = None if made.decoded is None else made.decoded.masks_BKHW
        dropped = made.found is not None and made.found.slots.keep_BK is not None
        for what, found in (("masks", masks_BKHW), ("attention", made.attention_BKHW)):
            if found is None:
                continue
            expect(found, (len(self.images_BCHW), slots or found.shape[1], *found.shape[2:]), what)
            if self.values:
                check_sums(found, what, dropped=dropped)
        expect_picture(made.images_BCHW, len(self.images_BCHW), self.image_size)


def own_streams(device: torch.device) -> list[Tensor]:
    """Return the state of torch's global random streams."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states
