"""The option of commands that open a trained run: which checkpoint."""

from typing import Annotated

import typer

CheckpointOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="best|last|STEP",
        help="Whose weights; the spec's evaluation.checkpoint without it.",
    ),
]
