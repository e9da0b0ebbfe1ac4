"""Evaluate a model and baselines on a dataset: one row per image (`rows.py`).

Each image has its own random streams, so that the batch size changes nothing. Metrics see what the model
makes of images alone (`Reconstructs`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.nn.functional import one_hot

from slotlab.framework.contracts import (
    Batch,
    FindsSlots,
    Found,
    HasBaselines,
    MaskSource,
    Metric,
    Model,
    Outcome,
    Reconstruction,
    Reconstructs,
    Size,
)
from slotlab.framework.contracts.promises import check_sums, expect_picture
from slotlab.framework.data.loader import Loader
from slotlab.framework.evaluation.baselines import BASELINES
from slotlab.framework.evaluation.code_usage import CodeCounter
from slotlab.framework.evaluation.rows import WORDS, Evaluation, Ledger
from slotlab.framework.model.cues import told
from slotlab.framework.model.masks import labels_of, masks_at, resized_masks
from slotlab.framework.randomness.seeds import frame_numbers, painting, streams
from slotlab.framework.runs.folder import MODEL
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

NOTHING = "the model '{}' neither segments nor reconstructs images: there is nothing to evaluate"
"""For a model that is trained and gives no more than losses."""


def evaluate(
    spec: ExperimentSpec,
    model: Model,
    loader: Loader,
    metrics: Mapping[str, Metric],
    *,
    baselines: Sequence[str] | None = None,
    gather: Callable[[list[Any]], list[Any]] = list,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Measure the masks of the spec's own source, as `evaluate_masks` does, without single objects."""
    source = spec.evaluation.mask_source
    found = evaluate_masks(
        spec,
        model,
        loader,
        metrics,
        (source,),
        baselines=baselines,
        detailed=False,
        gather=gather,
        report=report,
    )
    return found[source]


def evaluate_masks(
    spec: ExperimentSpec,
    model: Model,
    loader: Loader,
    metrics: Mapping[str, Metric],
    sources: Sequence[MaskSource],
    *,
    baselines: Sequence[str] | None = None,
    detailed: bool = True,
    gather: Callable[[list[Any]], list[Any]] = list,
    report: Callable[[int, int], None] = lambda done, total: None,
    keep: Callable[[MaskSource, Sequence[str], Outcome], None] = lambda source, ids, outcome: None,
) -> dict[MaskSource, Evaluation]:
    """Measure the masks of a model from each source, and baselines, on the same images in one pass.

    Args:
        spec: says how many images are measured, with how many slots and which seed.
        model: on the loader's device.
        loader: the evaluation split, in the dataset's own order.
        metrics: by name.
        sources: of the masks that are measured.
        baselines: measured beside the model; None for the spec's, and those of the model.
        detailed: whether to fill `Evaluation.objects`.
        gather: joins the lists of several processes, each of which has its share.
        report: called with (images done, images in all).
        keep: called with each batch of outcomes, in each process.
    """
    compared = spec.evaluation.baselines if baselines is None else baselines
    # Every process has the same methods in the same order, also one without a share of few images.
    own = baselines_of(model) if baselines is None else {}
    ledgers = {source: Ledger(metrics, {name: [] for name in (MODEL, *own)}, detailed) for source in sources}
    trivial = Ledger(metrics, {name: [] for name in compared})
    codes = CodeCounter()
    for positions, batch, made in reconstructions(spec, model, loader, report):
        for source, outcome in outcomes_of(spec, made, batch, sources).items():
            ledgers[source].add(MODEL, positions, batch.ids, outcome, words_for(made))
            keep(source, batch.ids, outcome)
        codes.add(made.tokens)
        for name, other in own.items():
            shown = reconstruct(spec, other, batch, positions)
            for source, outcome in outcomes_of(spec, shown, batch, sources).items():
                ledgers[source].add(name, positions, batch.ids, outcome)
        for name in compared:
            trivial.add(name, positions, batch.ids, baseline_outcome(name, spec, batch))
    beside = trivial.close(gather)
    found = {source: ledger.close(gather) for source, ledger in ledgers.items()}
    usage = codes.close(gather)
    return {
        source: replace(
            one,
            rows={**one.rows, **beside.rows},
            by_frame={**one.by_frame, **beside.by_frame},
            codes=usage,
        )
        for source, one in found.items()
    }


def baselines_of(model: Model) -> Mapping[str, Model]:
    """Return what a model itself is compared with, by name."""
    return model.baselines() if isinstance(model, HasBaselines) else {}


def model_outcome(spec: ExperimentSpec, model: Model, batch: Batch, *, positions: Iterable[int]) -> Outcome:
    """Run the model (see `reconstruct`) and return what metrics see, with masks of the spec's own source."""
    source = spec.evaluation.mask_source
    made = reconstruct(spec, model, batch, positions)
    return outcomes_of(spec, made, batch, (source,))[source]


def reconstructions(
    spec: ExperimentSpec, model: Model, loader: Loader, report: Callable[[int, int], None]
) -> Iterator[tuple[Sequence[int], Batch, Reconstruction]]:
    """Yield this process's share of the images, batch by batch, with their positions in the split."""
    total, done = loader.count(spec.evaluation.max_images), 0
    for positions, batch in loader.share(range(total)):
        yield positions, batch, reconstruct(spec, model, batch, positions)
        done += len(positions)
        report(done, total)


def find_slots(spec: ExperimentSpec, model: Model, images_BCHW: Tensor, positions: Iterable[int]) -> Found:
    """Find the slots that `reconstruct` finds, without decoding them.

    Raises:
        SlotlabError: for a model without slots, and if a component raises.
    """
    if not isinstance(model, FindsSlots):
        raise SlotlabError(f"the model '{spec.model.name}' has no slots")
    model.eval()
    noise = streams(spec.seed, list(positions), images_BCHW.device)
    return model.find_slots(images_BCHW, num_slots=spec.evaluation.slots, generator=noise)


def reconstruct(spec: ExperimentSpec, model: Model, batch: Batch, positions: Iterable[int]) -> Reconstruction:
    """Run the model in evaluation mode on images, or clips, of a split, with their features if stored.

    Image i, at `positions[i]` of the split, draws from random streams of the spec's seed and its position; so
    does clip i, for a model of clips. One of images has a stream for each frame. True masks are read for
    a model that is told of the first frame alone.

    Raises:
        SlotlabError: if a component raises or breaks its promise, with its name; for a model that neither
            segments nor reconstructs images.
    """
    if not isinstance(model, Reconstructs):
        raise SlotlabError(NOTHING.format(spec.model.name))
    model.eval()
    device, features_BCHW = batch.images_BCHW.device, batch.features_BCHW
    places = list(positions) if model.clips else frame_numbers(positions, batch.frames)
    made = model.reconstruct(
        batch.images_BCHW,
        num_slots=spec.evaluation.slots,
        generator=streams(spec.seed, places, device),
        painting=painting(spec.seed, places, device),
        **({} if features_BCHW is None else {"features_BCHW": features_BCHW}),
        **told(model, batch),
    )
    check_reconstruction(spec, model, made, len(batch.images_BCHW))
    return made


def check_reconstruction(spec: ExperimentSpec, model: Model, made: Reconstruction, images: int) -> None:
    """Refuse masks or attention that do not sum to one, and pictures of a wrong shape or range.

    Raises:
        SlotlabError: with the name of the component.
    """
    if made.attention_BKHW is not None:
        with model.promising("grouping"):
            check_sums(made.attention_BKHW, "attention")
    if made.decoded is not None and made.decoded.masks_BKHW is not None:
        with model.promising("decoder"):
            dropped = made.found is not None and made.found.slots.keep_BK is not None
            check_sums(made.decoded.masks_BKHW, "masks", dropped=dropped)
    with model.promising("objective"):
        expect_picture(made.images_BCHW, images, spec.data.size)


def words_for(made: Reconstruction) -> Mapping[str, str]:
    """Return why a metric is left out, by the missing field of `Outcome`."""
    return WORDS if made.images_BCHW is not None else {**WORDS, "reconstructions_BCHW": made.lacking}


def outcomes_of(
    spec: ExperimentSpec, made: Reconstruction, batch: Batch, sources: Sequence[MaskSource]
) -> dict[MaskSource, Outcome]:
    """Return what metrics see, with masks from each source, at the size of the true masks.

    Of clips these are the frames from the spec's `evaluation.from_frame` on.
    """
    size = scored_size(batch)
    outcomes: dict[MaskSource, Outcome] = {}
    for source in sources:
        masks_BKHW = masks_at(made, source, size)
        whole = Outcome(
            images_BCHW=batch.images_BCHW,
            true_BHW=batch.masks_BHW,
            predicted_BHW=None if masks_BKHW is None else labels_of(masks_BKHW, made),
            reconstructions_BCHW=made.images_BCHW,
            masks_BKHW=masks_BKHW,
            keep_BK=None if masks_BKHW is None or made.found is None else made.found.slots.keep_BK,
            attributes=batch.attributes,
            frames=batch.frames,
        )
        outcomes[source] = whole.after(spec.evaluation.from_frame)
    return outcomes


def scored_size(batch: Batch) -> Size:
    """Return (rows, columns) at which a batch's masks are scored: those of the true ones, if it has any."""
    at_BHW = batch.images_BCHW[:, 0] if batch.masks_BHW is None else batch.masks_BHW
    return at_BHW.shape[1], at_BHW.shape[2]


def resized_labels(labels_BHW: Tensor, segments: int, size: Size) -> Tensor:
    """Return labels below `segments`, (B, H, W), at another size, resized as masks like those of a model."""
    masks_BKHW = one_hot(labels_BHW, segments).movedim(3, 1)
    return resized_masks(masks_BKHW, size).argmax(dim=1)


def baseline_outcome(name: str, spec: ExperimentSpec, batch: Batch) -> Outcome:
    """Segment the batch by a baseline, with as many segments as the model has slots."""
    segments = spec.evaluated_slots
    assert segments is not None  # `check_capabilities`
    found_BHW, size = BASELINES[name](batch.images_BCHW, segments, batch.frames), scored_size(batch)
    predicted_BHW = found_BHW if found_BHW.shape[1:] == size else resized_labels(found_BHW, segments, size)
    outcome = Outcome(
        images_BCHW=batch.images_BCHW,
        true_BHW=batch.masks_BHW,
        predicted_BHW=predicted_BHW,
        attributes=batch.attributes,
        frames=batch.frames,
    )
    return outcome.after(spec.evaluation.from_frame)
