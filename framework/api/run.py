"""Trained runs as objects: what `slotlab.open_run` returns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from slotlab.framework.api import settings as given_settings
from slotlab.framework.api.composing import Composition, Request, compose_run
from slotlab.framework.api.consent import consent
from slotlab.framework.api.diagnosing import IMAGES, Diagnosis, diagnose_opened
from slotlab.framework.api.evaluating import (
    Evaluations,
    check_conditions,
    evaluate_folder,
    open_folder,
    wanted_of,
)
from slotlab.framework.api.frames import as_frame
from slotlab.framework.api.given import Names, Paths, names_of, paths_of
from slotlab.framework.api.pictures import GivenImages
from slotlab.framework.api.probing import ProbeOfRun, probe_folder
from slotlab.framework.api.segmenting import Images, Segmentation, images_of, segment
from slotlab.framework.api.settings import Settings
from slotlab.framework.api.specs import Spec, prepared_spec
from slotlab.framework.api.trained import assignments
from slotlab.framework.api.transfer import local_run
from slotlab.framework.composition.composer import Composer
from slotlab.framework.contracts import MaskSource, Model
from slotlab.framework.evaluation.conditions import MaskChoice
from slotlab.framework.evaluation.trained_run import Subject
from slotlab.framework.jobs.train import Prepared, choose_device
from slotlab.framework.runs.folder import RunFolder

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, repr=False, eq=False)
class Run:
    """A run folder, opened: its log and results, and the model with its weights."""

    folder: RunFolder
    """The files, for the framework's own functions."""
    prepared: Prepared
    device: torch.device
    options: Mapping[str, Any]
    """How the run's spec was loaded: `sets`, `plugins` and `trust`."""

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @cached_property
    def spec(self) -> Spec:
        """The resolved spec, with the settings that the run was opened with."""
        return prepared_spec(str(self.folder.spec), **self.options, trained=True, of_run=True)

    @property
    def state(self) -> str:
        """`done`, `running`, `stopped`, `failed`, `interrupted` or `of unknown state`."""
        return self.folder.read_state() or "of unknown state"

    @cached_property
    def subject(self) -> Subject:
        """The weights, read once."""
        return Subject.open(self.folder, self.prepared.loaded, self.device)

    @property
    def step(self) -> int:
        """The training step that the weights are of.

        Raises:
            SlotlabError: if the run has no weights.
        """
        return self.subject.weights.step

    @property
    def model(self) -> Model:
        """The model with its weights on the run's device, in evaluation mode: a plain `torch.nn.Module`.

        Raises:
            SlotlabError: if the run has no weights, or they do not fit its spec.
        """
        model: Model = self.subject.model(self.prepared.loaded.spec).eval()
        return model

    def log(self) -> "DataFrame":
        """Return what was logged, one row for each line: `kind`, `step`, losses, metrics, speed.

        Raises:
            SlotlabError: if the log is damaged, or pandas is not installed.
        """
        return as_frame(self.folder.read_log())

    def pictures(self) -> list[Path]:
        """Return the pictures of masks from during the training, by step (`training.watch`)."""
        return self.folder.watched()

    def summaries(self) -> dict[str, dict[str, Any]]:
        """Return the summary of each evaluation that was made of the run, by the name of its folder.

        Raises:
            SlotlabError: if one is damaged.
        """
        return self.folder.read_summaries()

    def images(self, split: str | None = None, positions: Iterable[int] = range(8)) -> Images:
        """Return images of the run's data, as its model sees them, with their true masks.

        Args:
            split: the evaluated split without it.
            positions: which images of the split.

        Raises:
            SlotlabError: if the data is not there, or there is no such split or position.
        """
        return images_of(self.composer, split or self.prepared.loaded.spec.evaluation.split, positions)

    def segment(
        self,
        images: GivenImages | Images,
        *,
        positions: Iterable[int] | None = None,
        prepared: bool = False,
        masks: MaskSource | None = None,
    ) -> Segmentation:
        """Find the slots, masks and reconstructions of images, as evaluation does.

        Images are cropped and resized as the run's protocol says, brought to its value range, and passed
        through the model in evaluation mode, a batch of `evaluation.batch_size` at a time.

        Args:
            images: one image, a batch of one size, or a list of images of any sizes: NumPy arrays
                (H, W, C) or (B, H, W, C), tensors (C, H, W) or (B, C, H, W), PIL images, paths of files, or
                what `images` returned. Values are uint8, or floats from 0 to 1, which are rounded to 8
                bits. Gray becomes RGB, and alpha is dropped.
            positions: which random stream each image's initial slots are drawn from; 0, 1, ... without it.
                With its position in the split an image gets the slots that evaluation found.
            prepared: whether the images are of the model's size already, cropped and resized.
            masks: `decoder` or `attention`; what the spec names without it.

        Raises:
            SlotlabError: for what is no image, masks that the model does not have, and a run without weights.
            DataError: for images that are too small for the protocol's crop.
        """
        model = self.model
        return segment(
            self.prepared.loaded.spec,
            model,
            self.subject.engine,
            images,
            positions=positions,
            prepared=prepared,
            masks=masks,
        )

    def evaluate(
        self,
        protocol: Names = (),
        *,
        variant: Names = (),
        split: str | None = None,
        masks: MaskChoice | None = None,
        settings: Settings | None = None,
        figures: bool = True,
        save_masks: bool = False,
    ) -> Evaluations:
        """Evaluate the weights, as `slotlab evaluate` does, and write the results into the run's folder.

        Args:
            protocol: one or several, by name; the spec's own without any.
            variant: one or several variants of the data.
            split: the protocol's or the spec's without it.
            masks: `decoder`, `attention` or `both`; the protocol's or the spec's without it.
            settings: other settings under `evaluation` and `data`, as `open_run` takes them.
            figures: whether to draw figures and samples.
            save_masks: whether to write true and predicted masks as PNGs of labels.

        Raises:
            SlotlabError: if there are no weights, data is not there, or what is wanted cannot be.
        """
        wanted = wanted_of(names_of(protocol), names_of(variant), split, masks)
        prepared = self.prepared
        if settings:
            sets = [*self.options["sets"], *assignments(given_settings.assignments(settings), None)]
            _, prepared = open_folder(self.path, **{**self.options, "sets": sets})
        found = evaluate_folder(
            self.folder,
            prepared.loaded,
            check_conditions(prepared, wanted),
            str(self.device),
            figures=figures,
            masks=save_masks,
            noted=True,
        )
        return Evaluations(self.folder, tuple(found))

    def compose(
        self,
        mode: str = "sample",
        *,
        images: Sequence[int] = (),
        slots: Sequence[int] = (),
        slots_b: Sequence[int] = (),
        split: str | None = None,
        count: int | None = None,
        seed: int | None = None,
        steps: int | None = None,
        library: str | None = None,
        clusters: int | None = None,
        metrics: Names = (),
        out: str | Path | None = None,
    ) -> Composition:
        """Compose pictures from the slots of images, as `slotlab compose` does, and write them.

        Args:
            mode: `sample` (new pictures from a library of slots), `slots`, `mix`, `interpolate`, `remove` or
                `duplicate`.
            images: positions of image A, then B; random without them.
            slots: of image A.
            slots_b: of image B.
            split: where images are from; the evaluated split without it.
            count: pictures to sample, or rows.
            seed: of all that is random.
            steps: pictures of an interpolation.
            library: the split whose slots are sampled.
            clusters: groups of slots, one slot drawn from each.
            metrics: set metrics that measure samples, such as `fid`.
            out: the folder; `RUN/compositions/NAME` without it.

        Raises:
            SlotlabError: for arguments that do not go together, and for all that cannot be composed.
        """
        request = Request(
            mode=mode,
            split=split,
            images=images,
            slots=slots,
            slots_b=slots_b,
            steps=steps,
            count=count,
            seed=seed,
            library=library,
            clusters=clusters,
            metrics=names_of(metrics),
            checkpoint=None,
            out=None if out is None else Path(out),
            sets=self.options["sets"],
            trust=self.options["trust"],
            device=str(self.device),
        )
        return Composition.of(compose_run(self.path, request))

    def probe(self, **options: Any) -> ProbeOfRun:
        """Fit heads on frozen slots, as `slotlab probe` does, and write the results into the run's folder.

        Args:
            options: `protocol`, `split`, `fit_split`, `masks`, and settings such as `heads=["linear"]`
                (docs/how_to/probing.md).

        Raises:
            SlotlabError: if the model has no slots, the data no attributes, or an option cannot be.
        """
        summary = probe_folder(self.folder, self.prepared, options, device=str(self.device))
        return ProbeOfRun(Path(summary["folder"]), summary)

    def diagnose(
        self, *, masks: str | None = None, split: str | None = None, images: int = IMAGES
    ) -> Diagnosis:
        """Say how the run's slots fail, or that they bind, as `slotlab diagnose` does; draw a figure.

        Args:
            masks: `decoder` or `attention`; what the spec names without it.
            split: the images; the spec's evaluated split without it.
            images: how many are looked at, at most.

        Raises:
            SlotlabError: if the run has no weights, or its model no masks.
        """
        options = {"masks": masks, "split": split, "images": images}
        return diagnose_opened([(self.folder, self.prepared)], options, device=str(self.device))

    @cached_property
    def composer(self) -> Composer:
        """What finds slots and paints them, for `slotlab.composition`."""
        loaded = self.prepared.loaded
        return Composer.of(loaded, self.model, device=self.device, step=self.step, run=self.folder)

    def __repr__(self) -> str:
        return f"<Run {self.path}, {self.state}>"


def open_run(
    path: str | Path,
    *,
    checkpoint: str | int | None = None,
    settings: Settings | None = None,
    plugins: Paths = (),
    trust: bool = False,
    device: str = "auto",
) -> Run:
    """Open a trained run. Its weights are read when they are needed first.

    >>> import slotlab, torch
    >>> run = slotlab.open_run("runs/demo")
    >>> found = run.segment(torch.rand(2, 3, 48, 64))  # any size: prepared as in training
    >>> tuple(found.masks_BKHW.shape), tuple(found.labels_BHW.shape)
    ((2, 4, 32, 32), (2, 32, 32))

    Args:
        path: the run's folder, or the address of one that was pushed, such as `hf://OWNER/NAME`.
        checkpoint: whose weights: `best`, `last` or a step; the spec's `evaluation.checkpoint` without it.
        settings: other settings under `evaluation` and `data`, by dotted path.
        plugins: single-file plugins that take the place of the run's own with the same names.
        trust: run code that came with another user's run (docs/explanation/trust.md).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        SlotlabError: if it is no run folder, is damaged, or settings cannot be.
    """
    which = None if checkpoint is None else str(checkpoint)
    options: dict[str, Any] = {
        "sets": assignments(given_settings.assignments(settings), which),
        "plugins": paths_of(plugins, "a plugin"),
        "trust": consent(given=trust),
    }
    folder, prepared = open_folder(local_run(path), **options)
    return Run(folder, prepared, choose_device(device), options)
