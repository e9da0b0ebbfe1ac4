"""Compose pictures of slots: find the slots of images, mix or edit them or draw them from a library, decode.

A walk through it, with B images, K slots, D slot width, C channels, H rows, W columns:

    composer = Composer.open(Path("runs/demo-1a2b3c4d"), device=torch.device("cpu"))
    seen = composer.look("val", [3, 8])          # two images of the split, and their slots
    a, b = at(seen.slots, [0]), at(seen.slots, [1])
    mixed = mix(a, [0, 2], b, [1])               # slots 0 and 2 of A beside slot 1 of B
    picture = composer.decode(mixed)             # images_BCHW uint8; masks and parts if it has them
    clusters = Clusters.fit(build_library(composer, "val"), count=4, seed=0)
    for pictures in generate(composer, clusters, count=100, seed=0):
        ...                                      # each picture from one slot of every cluster

Seeds determine everything, and no picture depends on the others in its batch.
"""

from slotlab.framework.composition.clusters import Clusters, generate
from slotlab.framework.composition.composer import Composed, Composer, Seen
from slotlab.framework.composition.edits import at, duplicate, interpolate, join, mix, remove, stack
from slotlab.framework.composition.library import Library, build_library

__all__ = [
    "Clusters",
    "Composed",
    "Composer",
    "Library",
    "Seen",
    "at",
    "build_library",
    "duplicate",
    "generate",
    "interpolate",
    "join",
    "mix",
    "remove",
    "stack",
]
