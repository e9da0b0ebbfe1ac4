"""The studio: a local page on which the slots of a run are mixed by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path

from slotlab.framework.api.consent import consent
from slotlab.framework.api.console import warn
from slotlab.framework.api.settings import Settings, assignments
from slotlab.framework.api.trained import assignments as over_a_run
from slotlab.framework.api.transfer import local_run
from slotlab.framework.system.terminal import visible


def open_studio(
    run: str | Path,
    *,
    port: int = 8765,
    host: str = "127.0.0.1",
    library: int = 512,
    checkpoint: str | int | None = None,
    settings: Settings | None = None,
    trust: bool = False,
    device: str = "auto",
) -> None:
    """Serve the page until Ctrl-C, as `slotlab studio` does.

    >>> import slotlab
    >>> slotlab.open_studio("runs/demo", port=0)  # doctest: +SKIP
    studio of 'demo' with 200 images at http://127.0.0.1:43251 (Ctrl-C ends it)

    Args:
        run: the run's folder or address.
        port: of the page; 0 takes a free one.
        host: the address to listen at. All but loopback addresses open the page to other machines.
        library: how many images' slots are clustered.
        checkpoint: `last`, `best` or a step.
        settings: other settings by dotted path.
        trust: run code that came with another user's run (docs/explanation/trust.md).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        SlotlabError: if it is no run, has no weights, or a library of the extra `studio` is missing.
    """
    chosen = None if checkpoint is None else str(checkpoint)
    serve_studio(
        local_run(run),
        port=port,
        host=host,
        library=library,
        sets=over_a_run(assignments(settings), chosen),
        trust=trust,
        device=device,
    )


def serve_studio(
    run: Path,
    *,
    port: int,
    host: str,
    library: int,
    sets: Sequence[str],
    trust: bool,
    device: str,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> None:
    """Open the run and serve its page; `say` is told the address."""
    from slotlab.framework.studio.serve import is_loopback, require_libraries, serve

    require_libraries()
    from slotlab.framework.composition import Composer
    from slotlab.framework.jobs.train import choose_device
    from slotlab.framework.studio.studio import Studio

    sets = [*sets, "training.trackers=[]"]
    composer = Composer.open(run, device=choose_device(device), sets=sets, trust=consent(given=trust))
    page = Studio(composer, library)
    clips = page.clips.count  # found now, not by the first request
    things = f"{clips} {'videos' if composer.spec.evaluation.clip_frames is None else 'clips'}"
    what = f"studio of '{composer.spec.name}' with {things if clips else f'{page.images} images'}"
    if not is_loopback(host):
        text = f"the studio has no password: whoever reaches {host}:{port} can use it and see the data"
        warn([text])

    def tell(address: str) -> None:
        say(visible(f"{what} at {address} (Ctrl-C ends it)"))

    serve(page, host=host, port=port, tell=tell)
