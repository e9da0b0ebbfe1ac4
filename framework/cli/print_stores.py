"""How the results of `data pack`, `data verify` and `extract` are printed."""

from typing import Any

from slotlab.framework.cli.output import console


def print_packed(result: dict[str, Any]) -> None:
    """Print the content and the path of each store of images, or of a field of them."""
    from slotlab.framework.data.store.pack import in_words  # needs torch

    out = console()
    for store in result["stores"]:
        size = "x".join(str(side) for side in reversed(store["size"]))
        name, images = f"{store['dataset']} {store['split']}", f"{store['images']} images of {size} pixels"
        if "kind" in store:
            text = f"{name}: {store['kind']} of {images}"
        else:
            text = f"{name}: {images}, {'with masks' if store['masks'] else 'without masks'}"
        out.print(f"{text}, {in_words(store['bytes'])}", style="bold", soft_wrap=True)
        for problem in store["skipped"]:
            out.print(f"left out: {problem}", soft_wrap=True)
        out.print(f"protocol {result['protocol']}; checksum {store['checksum']}", soft_wrap=True)
        out.print(f"store: {store['path']}", soft_wrap=True)


def print_packed_features(result: dict[str, Any]) -> None:
    """Print the content and the path of each store of features or targets."""
    from slotlab.framework.data.store.pack import in_words  # needs torch

    out = console()
    for store in result["stores"]:
        rows, columns = store["grid"]
        text = f"{store['dataset']} {store['split']}: {store['kind']} of {store['images']} images"
        mirrored = ", mirrored too" if store["mirrored"] else ""
        classes = store["type"].startswith("int")
        values = f"classes ({store['type']})" if classes else f"{store['channels']} channels"
        shape = f"{values} at {rows}x{columns} positions{mirrored}"
        out.print(f"{text}, {shape}, {in_words(store['bytes'])}", style="bold", soft_wrap=True)
        for problem in store["skipped"]:
            out.print(f"left out: {problem}", soft_wrap=True)
        out.print(f"protocol {result['protocol']}; checksum {store['checksum']}", soft_wrap=True)
        out.print(f"store: {store['path']}", soft_wrap=True)


def print_extracted(store: dict[str, Any]) -> None:
    """Print the content and the path of a store of slots."""
    from slotlab.framework.data.store.pack import in_words  # needs torch

    out = console()
    shape = f"{store['slots']} slots of width {store['slot_dim']} in each of {store['frames']} frames"
    drawn = ", drawn once" if store["drawn_once"] else ""
    text = f"{store['dataset']} {store['split']}: {store['clips']} clips, {shape}{drawn}"
    out.print(f"{text}, {in_words(store['bytes'])}", style="bold", soft_wrap=True)
    out.print(f"run {store['run']}; checksum {store['checksum']}", soft_wrap=True)
    out.print(f"store: {store['path']}", soft_wrap=True)


def print_verified(result: dict[str, Any]) -> None:
    """Print whether each store is intact."""
    out = console()
    for store in result["stores"]:
        for problem in store["problems"]:
            out.print(problem, soft_wrap=True)
        if store["problems"]:
            verdict = f"damaged in {len(store['problems'])} places; delete it and pack it again"
        else:
            verdict = f"intact, {store['images']} images, checksum {store['checksum']}"
        out.print(f"{store['path']}: {verdict}", soft_wrap=True)
