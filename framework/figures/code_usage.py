"""How the codes of a codec are used: their shares, the most frequent first."""

from pathlib import Path

from slotlab.framework.evaluation.code_usage import CodeUsage
from slotlab.framework.figures.style import FAINT, TRAIN, new_curve, save, styled


def draw_code_usage(usage: CodeUsage, stem: Path, *, title: str) -> None:
    """Draw each code's share of all tokens on a logarithmic axis, as `stem`.png and .pdf.

    Codes that never occur are beyond the end of the curve; the dotted line is an equal share.
    """
    facts = usage.facts
    shares = [count / facts["tokens"] for count in sorted(usage.counts, reverse=True) if count]
    with styled():
        figure, axis = new_curve("codes, the most frequent first", "share of all tokens")
        axis.plot(range(1, len(shares) + 1), shares, color=TRAIN, marker="" if len(shares) > 1 else "o")
        axis.axhline(1 / facts["codes"], color=FAINT, linewidth=0.8, linestyle=":")
        axis.set_yscale("log")
        axis.set_xlim(0, facts["codes"] + 1)
        words = f"{facts['used']} of {facts['codes']} codes occur, perplexity {facts['perplexity']:.1f}"
        axis.set_title(f"{title}\n{words}")
        save(figure, stem)
