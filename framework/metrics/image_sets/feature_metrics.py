"""Set metrics over any extractor: Frechet and kernel distance. Plugins choose the extractor and the name."""

from dataclasses import dataclass

from torch import Tensor

from slotlab.framework.contracts import SetResult
from slotlab.framework.metrics.image_sets.distances import Floats, frechet_distance, kernel_distances
from slotlab.framework.metrics.image_sets.extractors import Extractor
from slotlab.registry import SlotlabError


@dataclass
class FeatureMetric:
    """Base of distances between the features of an extractor."""

    extracting: Extractor
    higher_is_better = False

    @property
    def extractor(self) -> str:
        """The name of the extractor."""
        return self.extracting.name

    def lacking(self) -> str | None:
        """Return a message about what is missing; None if nothing is."""
        return self.extracting.lacking()

    def identity(self) -> str:
        """Return a text that identifies the features."""
        return self.extracting.identity()

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Return the features (B, D) of uint8 images (B, 3, H, W)."""
        return self.extracting(images_BCHW)


@dataclass
class FrechetMetric(FeatureMetric):
    """Frechet distance between the features of two sets."""

    def distance(self, features_ND: Tensor, real_MD: Tensor) -> SetResult:
        """Compare two sets; warn if a covariance has no full rank."""
        first_ND, second_MD = both(features_ND, real_MD)
        width = first_ND.shape[1]
        fewest = min(len(first_ND), len(second_MD))
        warnings: tuple[str, ...] = ()
        if fewest < width:
            text = f"{len(first_ND)} images against {len(second_MD)} real ones, with {width} features each"
            rule = f"below {width} images a covariance has no full rank and the value is too high"
            warnings = (f"{text}: {rule}; compare it only at the same numbers of images",)
        value = frechet_distance(first_ND, second_MD)
        return SetResult(
            value=value,
            images=len(first_ND),
            real_images=len(second_MD),
            facts={"features": width},
            warnings=warnings,
        )


@dataclass
class KernelMetric(FeatureMetric):
    """Kernel distance between the features of two sets, which is unbiased also for small sets."""

    subsets: int = 100
    subset_size: int = 1000
    seed: int = 0

    def distance(self, features_ND: Tensor, real_MD: Tensor) -> SetResult:
        """Compare subsets of two sets; their mean is the value."""
        first_ND, second_MD = both(features_ND, real_MD)
        found = kernel_distances(
            first_ND, second_MD, subsets=self.subsets, subset_size=self.subset_size, seed=self.seed
        )
        size = min(len(first_ND), len(second_MD), self.subset_size)
        spread = float(found.std(ddof=1)) if len(found) > 1 else None
        facts = {"subsets": self.subsets, "subset_size": size, "std_of_subsets": spread}
        return SetResult(
            value=float(found.mean()), images=len(first_ND), real_images=len(second_MD), facts=facts
        )


def both(features_ND: Tensor, real_MD: Tensor) -> tuple[Floats, Floats]:
    """Return both sets in float64.

    Raises:
        SlotlabError: if one of them has fewer than two images.
    """
    for name, features in (("measured", features_ND), ("real", real_MD)):
        if len(features) < 2:
            text = "a distance of sets needs two images or more on both sides"
            found = "there is 1" if len(features) == 1 else "there is none"
            raise SlotlabError(f"{text}: {found} of the {name}")
    return features_ND.double().numpy(), real_MD.double().numpy()
