"""Notes on further tests that take one error for several arms: what is pooled, and what that assumes."""

from collections.abc import Iterator

from slotlab.framework.compare.results import Comparison
from slotlab.framework.compare.text_table import NONE, decimals, number


def on_pooling(comparison: Comparison) -> Iterator[str]:
    """Say of every table of further tests with a pooled error what it is made of and what it assumes."""
    found = comparison.further
    if found is not None and (one := found.effects) is not None:
        df = one.terms[0].df[1]
        std = number(one.std, decimals(comparison, comparison.primary))
        spread = "" if std == NONE else f" (standard deviation {std})"
        yield (
            f"effects of axes: intervals, F and p take one error{spread} that is pooled over all "
            f"{len(comparison.arms)} arms, what is left once arms and seeds are taken out (df {df}); this "
            "assumes that all arms scatter alike and that a seed shifts all arms alike: where one arm "
            "scatters much more, read the differences to the baseline, which pool nothing"
        )
    if found is not None and (found.all_pairs or found.dunnett):
        tests = [name for name, one in (("Tukey", found.all_pairs), ("Dunnett", found.dunnett)) if one]
        yield (
            f"tests of all arms at once ({', '.join(tests)}): the variance over seeds is pooled over all "
            "arms, which assumes that all scatter alike"
        )
