"""The model of a run as files for other programs: `slotlab.export`."""

from pathlib import Path
from typing import Any, Literal

from slotlab.framework.api.given import Paths
from slotlab.framework.api.run import Run, open_run
from slotlab.registry import SlotlabError


def export(
    run: str | Path | Run,
    folder: str | Path | None = None,
    *,
    format: Literal["onnx", "pt2"] = "onnx",  # noqa: A002 - the file's
    decoder: bool = True,
    checkpoint: str | int | None = None,
    plugins: Paths = (),
    trust: bool = False,
) -> dict[str, Any]:
    """Write a run's model as ONNX, or as torch's .pt2: images to slots, and slots to pictures.

    Each file is run and compared with the model before it counts.

    >>> import slotlab
    >>> found = slotlab.export("runs/demo", "exported", format="pt2")
    >>> found["parts"]["decoder"]["outputs"]["masks"]
    ['batch', 4, 32, 32]

    Args:
        run: a run's folder or address, or what `train` or `open_run` returned.
        folder: where the files go; `RUN/export` without it.
        format: `onnx`, or `pt2`, which `torch.export.load` reads.
        decoder: whether the decoder is written besides the encoder.
        checkpoint: whose weights: `best`, `last` or a step; the spec's `evaluation.checkpoint` without it.
        plugins: single-file plugins that take the place of the run's own with the same names.
        trust: run code that came with another user's run (docs/explanation/trust.md).

    Returns:
        What export.json holds, and `folder`.

    Raises:
        SlotlabError: for a model without these parts, or one that cannot be exported.
    """
    from slotlab.framework.export.write import export_model

    if isinstance(run, Run) and (checkpoint is not None or plugins):
        raise SlotlabError(
            "an opened run has its checkpoint and plugins already; name them where it is opened"
        )
    opened = (
        run
        if isinstance(run, Run)
        else open_run(run, checkpoint=checkpoint, plugins=plugins, trust=trust, device="cpu")
    )
    place = Path(folder) if folder is not None else opened.path / "export"
    spec = opened.prepared.loaded.spec
    done = export_model(opened.model, spec, place, format, step=opened.step, decoder=decoder)
    return {**done.record, "folder": str(done.folder)}
