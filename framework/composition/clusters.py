"""k-means over a library of slots, and new pictures from one random slot per cluster.

Source: the concept library of Singh et al. 2022 (SLATE); H. Goyal's report (2024) measures FID on these.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from slotlab.framework.composition.composer import Composed, Composer
from slotlab.framework.composition.edits import each
from slotlab.framework.composition.library import Library
from slotlab.framework.contracts import Slots
from slotlab.framework.randomness.seeds import mix, streams
from slotlab.registry import SlotlabError

DRAW = 1
"""Number of the random stream that draws slots; the slots' noise has another."""
STARTS, ITERATIONS = 4, 1000


@dataclass(frozen=True, eq=False)
class Clusters:
    """A library's slots, grouped by k-means."""

    library: Library
    labels_M: Tensor
    """int64: the cluster of each slot, in the library's order."""
    centers_CD: Tensor
    inertia: float
    """Sum over slots of the squared distance to their center."""

    @classmethod
    def fit(cls, library: Library, *, count: int, seed: int) -> "Clusters":
        """Run scikit-learn's k-means: the best of four k-means++ starts, with up to 1,000 iterations each.

        Raises:
            SlotlabError: if there are fewer distinct slots than clusters.
        """
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits

        vectors_MD = library.vectors_MD.numpy()
        if len(vectors_MD) < count:
            number = len(vectors_MD)
            raise SlotlabError(
                f"{number} slots cannot make {count} clusters; take more images or fewer clusters"
            )
        means = KMeans(count, n_init=STARTS, max_iter=ITERATIONS, random_state=seed % 2**32)
        # One thread, since several would add up in varying order. Too few clusters are refused below.
        with threadpool_limits(1, "openmp"), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            labels_M = torch.from_numpy(means.fit_predict(vectors_MD)).to(torch.int64)
        found = len(set(labels_M.tolist()))
        if found < count:
            text = f"the {len(labels_M)} slots fall into {found} clusters and not {count}: many are equal"
            raise SlotlabError(f"{text}; ask for at most {found}")
        return cls(library, labels_M, torch.from_numpy(means.cluster_centers_), float(means.inertia_))

    @property
    def sizes(self) -> list[int]:
        """The number of slots in each cluster."""
        counts: list[int] = torch.bincount(self.labels_M, minlength=len(self.centers_CD)).tolist()
        return counts

    def draw(self, numbers: range, *, seed: int) -> Slots:
        """Return the slots of new pictures, on the CPU: one slot per cluster, in the clusters' order.

        Picture `numbers[i]` has its own random stream, so that it does not depend on the others.
        """
        members = [torch.nonzero(self.labels_M == c).flatten() for c in range(len(self.centers_CD))]

        def pick(stream: Generator) -> Tensor:
            picks = [int(torch.randint(len(some), (), generator=stream)) for some in members]
            return torch.stack([some[place] for some, place in zip(members, picks, strict=True)])

        cpu = torch.device("cpu")
        return self.library.take(torch.stack([pick(one) for one in streams(mix(seed, DRAW), numbers, cpu)]))


def generate(composer: Composer, clusters: Clusters, *, count: int, seed: int) -> Iterator[Composed]:
    """Yield `count` new pictures in batches of the spec's `evaluation.batch_size`."""
    size, device = composer.spec.evaluation.batch_size, composer.engine.device
    for start in range(0, count, size):
        numbers = range(start, min(start + size, count))
        slots = each(lambda tensor: tensor.to(device), clusters.draw(numbers, seed=seed))
        yield composer.decode(slots, seed=seed, positions=numbers)
