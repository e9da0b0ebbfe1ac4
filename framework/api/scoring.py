"""Scores label masks that any program wrote, or that are in memory."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from slotlab.framework.api.frames import as_frame
from slotlab.framework.api.given import Paths, paths_of
from slotlab.framework.api.pictures import GivenImages
from slotlab.framework.api.score_arrays import Arrays, GivenMasks, in_memory
from slotlab.framework.api.settings import as_written
from slotlab.framework.contracts import Metric, MetricContext
from slotlab.framework.data.formats.mask_pictures import MaskCode, read_setting, same
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.evaluation.choices import chosen_metrics, find_protocol
from slotlab.framework.evaluation.rows import Evaluation
from slotlab.framework.evaluation.score_files import BOUNDS, Reader
from slotlab.framework.evaluation.score_files import score as score_all
from slotlab.framework.evaluation.score_folders import ScoredFolders
from slotlab.framework.jobs.summary import facts_of, results
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.runs.folder import MODEL, SUMMARY_FORMAT
from slotlab.framework.spec.protocol import describe_protocol
from slotlab.registry import ComponentError, Ref, SlotlabError

if TYPE_CHECKING:
    from pandas import DataFrame

ScoreSummary = dict[str, Any]
OF_IMAGES = ("--images", "--recon")


@dataclass(frozen=True, repr=False)
class Scores:
    """What masks were scored as."""

    result: ScoreSummary
    """As `slotlab score --json` writes it: definitions of metrics, statistics, breakdowns."""
    measured: Evaluation

    @property
    def means(self) -> dict[str, float | None]:
        """The mean of each metric; None where it is not defined for any image."""
        return {name: found["mean"] for name, found in self.result["methods"][MODEL].items()}

    @property
    def left_out(self) -> dict[str, str]:
        """Metrics without a value, and why."""
        return dict(self.result["left_out"])

    def rows(self) -> "DataFrame":
        """Return one row for each image: its name, its number of objects and each metric.

        Raises:
            SlotlabError: if pandas is not installed.
        """
        return as_frame(self.measured.rows[MODEL])

    def __repr__(self) -> str:
        numbers = (f"{name} {'-' if mean is None else f'{mean:.3f}'}" for name, mean in self.means.items())
        return f"{self.result['images']} images: {', '.join(numbers)}"


def score(
    true: str | Path | GivenMasks,
    predicted: str | Path | GivenMasks,
    *,
    metrics: str | Sequence[str | Mapping[str, Any]] | None = None,
    protocol: str | None = None,
    images: str | Path | GivenImages | None = None,
    reconstructions: str | Path | GivenImages | None = None,
    prepare: bool = False,
    slots: int | None = None,
    background: int | str = 0,
    void: int | str = "none",
    exif: str | None = None,
    plugins: Paths = (),
) -> Scores:
    """Score label masks that any program made, in memory or in two folders. Needs no spec, no run, no model.

    >>> import slotlab, torch
    >>> true = torch.tensor([[[0, 0, 1], [0, 2, 2]]])  # one image; 0 is the background
    >>> slotlab.score(true, 5 - true, metrics=["ari", "fg_ari"]).means
    {'ari': 1.0, 'fg_ari': 1.0}

    Args:
        true: true labels, as whole numbers: an array or tensor (H, W) or (B, H, W), a list of such (H, W) of
            any sizes, or a folder of PNGs or `.npy` files.
        predicted: predicted labels, likewise; files are matched by name.
        metrics: names, or mappings with settings, such as `{"name": "boundary_f", "tolerance": 0.01}`; the
            protocol's or the usual ones without any.
        protocol: score by this protocol's definitions.
        images: images, to score reconstructions: as `Run.segment` takes them, or a folder. Metrics of images
            are computed in [0, 1]; those of a run in its spec's value range (`mse_unit` is the same in both).
        reconstructions: likewise.
        prepare: first crop and resize true masks and images as the protocol does.
        slots: how many masks the model had, empty ones included.
        background: the label of the background in true masks, a color `#rrggbb`, or `none`.
        void: the label of pixels of true masks that are not scored.
        exif: `apply` or `ignore`: whether files are turned as their EXIF orientation says.
        plugins: single-file plugins to load.

    Raises:
        DataError: with everything that is wrong with the masks.
        SlotlabError: for a metric or protocol that is not there, or if nothing can be scored.
    """
    check_together(images is not None, reconstructions is not None, prepare=prepare, protocol=protocol)
    wanted = [metrics] if isinstance(metrics, str) else metrics
    given = {"--true": true, "--pred": predicted, "--images": images, "--recon": reconstructions}
    return Scores(
        *score_masks(
            as_folders(given) or in_memory(given),
            protocol,
            None if metrics is None else dumps(as_written(wanted, "metrics")),
            prepare=prepare,
            slots=slots,
            background=str(background),
            void=str(void),
            exif=exif,
            plugins=paths_of(plugins, "a plugin"),
        )
    )


def as_folders(given: Mapping[str, Any]) -> ScoredFolders | None:
    """Return the folders that are given; None if all is in memory.

    Raises:
        SlotlabError: for some of both.
    """
    found = {option: one for option, one in given.items() if isinstance(one, str | Path)}
    if not found:
        return None
    if any(one is not None and option not in found for option, one in given.items()):
        raise SlotlabError("some of what is to be scored are folders, and some are not; give all in one way")
    images, recon = (None if given[option] is None else Path(given[option]) for option in OF_IMAGES)
    return ScoredFolders(true=Path(given["--true"]), pred=Path(given["--pred"]), images=images, recon=recon)


def check_together(images: bool, reconstructions: bool, *, prepare: bool, protocol: str | None) -> None:
    """Refuse what does not go together.

    Raises:
        SlotlabError: that says what is missing.
    """
    if images != reconstructions:
        given, lacking = ("--recon", "--images") if reconstructions else ("--images", "--recon")
        raise SlotlabError(f"{given} is given without {lacking}; give both, or none to score masks alone")
    if prepare and protocol is None:
        raise SlotlabError("--prepare needs a protocol that says how; add --protocol NAME")


def score_masks(
    given: ScoredFolders | Arrays,
    protocol: str | None,
    metrics: str | None,
    *,
    prepare: bool,
    slots: int | None,
    background: str,
    void: str,
    exif: str | None,
    plugins: Sequence[Path],
) -> tuple[ScoreSummary, Evaluation]:
    """Return the result, and the rows of the images."""
    registry = load_registry(plugins)
    ref = None if protocol is None else find_protocol(protocol, registry)
    settings: Any = None if ref is None else ref.config
    chosen = chosen_metrics(ref, metrics, registry)
    built = {one.name: build_metric(one, MetricContext(value_range=BOUNDS)) for one in chosen}
    code = mask_code(background, void)
    if exif not in (None, "apply", "ignore"):
        raise SlotlabError(f"--exif {exif}: write apply or ignore")
    turn: Any = exif
    reader = Reader(given, Preparation.of(settings) if prepare else None, slots, code, turn)
    evaluation, sizes = score_all(reader, built)
    found = results(evaluation, built, facts_of(chosen), settings)
    if not found["methods"][MODEL]:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found["left_out"].items())
        raise SlotlabError(f"nothing can be scored: {reasons}")
    result = {
        "format": SUMMARY_FORMAT,
        "folders": {option.removeprefix("--"): str(one) for option, one in given.named().items()},
        "protocol": None if ref is None else describe_protocol(ref.name, settings),
        "prepared": prepare,
        "images": sum(sizes.values()),
        "sizes": sizes,
        "value_range": "unit",
        "slots": slots,
        "background": code.background,
        "void": code.void,
        **found,
    }
    return result, evaluation


def mask_code(background: str, void: str) -> MaskCode:
    """Return what --background and --void say of true masks.

    Raises:
        SlotlabError: if they name no label, or the same one.
    """
    found = []
    for option, text in (("--background", background), ("--void", void)):
        try:
            number = re.fullmatch("-?[0-9]+", text)
            found.append(int(text) if number else read_setting(text))
        except PydanticCustomError as error:
            raise SlotlabError(f"{option} {text}: {error.message()}") from None
    if same(*found):
        raise SlotlabError(
            f"--background {background} and --void {void} are the same label; a pixel is one of them"
        )
    return MaskCode(*found)


def build_metric(ref: Ref, context: MetricContext) -> Metric:
    """Build a metric.

    Raises:
        SlotlabError: if its settings are not enough.
    """
    try:
        metric: Metric = ref.build(context)
    except ComponentError as error:
        hint = f"settings are given as --metrics '[{{name: {ref.name}, ...}}]'"
        raise SlotlabError(f"metric '{ref.name}': {error}; {hint}") from None
    return metric
