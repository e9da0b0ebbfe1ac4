"""The command `studio`."""

from typing import Annotated

import typer

from slotlab.framework.api.mixing_page import serve_studio
from slotlab.framework.api.trained import assignments
from slotlab.framework.api.transfer import local_run
from slotlab.framework.cli.options import CheckpointOption, DeviceOption, RunArgument, SetOption, TrustOption

PortOption = Annotated[int, typer.Option(min=0, max=65535, help="The port of the page; 0 takes a free one.")]
HostOption = Annotated[
    str,
    typer.Option(
        help="The address to listen at. All but loopback addresses open the page to other machines."
    ),
]
LibraryOption = Annotated[
    int, typer.Option(min=1, metavar="N", help="The number of images whose slots are clustered.")
]


def studio(
    run: RunArgument,
    port: PortOption = 8765,
    host: HostOption = "127.0.0.1",
    library: LibraryOption = 512,
    checkpoint: CheckpointOption = None,
    set_: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
    trust: TrustOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Serve a local page that mixes slots of two images.

    Chosen slots are decoded at once; the page also samples new images from clusters of slots.
    """
    serve_studio(
        local_run(run),
        port=port,
        host=host,
        library=library,
        sets=assignments(set_, checkpoint),
        trust=trust,
        device=device,
    )
