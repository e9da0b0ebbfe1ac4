"""The command `studio`."""

from typing import Annotated

import typer

from slotlab.framework.api.consent import consent
from slotlab.framework.api.console import warn
from slotlab.framework.api.trained import assignments
from slotlab.framework.cli.options import CheckpointOption, DeviceOption, RunArgument, SetOption, TrustOption
from slotlab.framework.system.terminal import visible

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
    from slotlab.framework.studio.serve import is_loopback, require_libraries, serve

    require_libraries()
    sets = assignments(set_, checkpoint)
    from slotlab.framework.composition import Composer
    from slotlab.framework.jobs.train import choose_device
    from slotlab.framework.studio.studio import Studio

    sets = [*sets, "training.trackers=[]"]
    composer = Composer.open(run, device=choose_device(device), sets=sets, trust=consent(given=trust))
    page = Studio(composer, library)
    what = (
        f"studio of '{composer.spec.name}' with {page.images} images"  # found now, not by the first request
    )
    if not is_loopback(host):
        text = f"the studio has no password: whoever reaches {host}:{port} can use it and see the data"
        warn([text])

    def tell(address: str) -> None:
        print(visible(f"{what} at {address} (Ctrl-C ends it)"), flush=True)

    serve(page, host=host, port=port, tell=tell)
