"""The option that lets code of another user's run be run; `framework/api/consent.py` asks."""

from typing import Annotated

import typer

TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust", help="Run the code that came with another user's run; remembered for this content."
    ),
]
