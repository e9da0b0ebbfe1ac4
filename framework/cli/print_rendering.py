"""How the result of `slotlab data render` is printed."""

from typing import Any

from slotlab.framework.cli.output import console

_PUBLISHED = (320, 240)


def print_rendering(result: dict[str, Any]) -> None:
    """Print the number of scenes and the folder, and the command that inspects them."""
    out = console()
    before = result["there_before"]
    out.print(f"{result['written']} scenes written" + (f", {before} existed before" if before else ""))
    out.print(f"folder: {result['folder']}", soft_wrap=True)
    size = tuple(result["size"])
    more = "" if size == _PUBLISHED else f" --set 'data.dataset.picture_size={list(size)}'"
    out.print(f"inspect them: slotlab data inspect {result['folder']}{more}", soft_wrap=True)
