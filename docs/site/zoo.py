"""The model zoo: the shipped specs, as their headers describe them, with what was measured."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from page import Page, block, code, escaped, led_to_pages, table

from slotlab.framework.spec.merge import read_tree

INTRODUCTION = """---
hide: [toc]
---

# Model zoo

The experiments that come with slotlab. Each is a spec: `slotlab train slotlab:NAME` trains it, `extends:
slotlab:NAME` begins another one with it, `slotlab show slotlab:NAME` prints all its settings, and `slotlab
estimate slotlab:NAME` says how long it would take on the machine at hand. What is
*expected* was published or measured by those whom it names; what was *measured* was trained with slotlab,
and the page of its results says how. No weights are offered for download.
"""
PARTS = ("Question", "Source", "Expected", "Cost", "Traps")
COMMANDS = "commands"
MAIN = ("encoder", "grouping", "decoder")
"""Parts of a model that the table names."""
GENERATED = ("scenes", "moving_scenes", "bench")
"""Datasets that need no files."""
NAMED = re.compile(r"experiments/((?:ablations/)?\w+)\.yaml")
"""A shipped spec, as it is named in a checkout."""
PART = re.compile(rf"({'|'.join(PARTS)}): ")


PAPERS = {
    "Object-Centric Learning with Slot Attention": "2006.15055",
    "Invariant Slot Attention": "2302.04973",
    "Bridging the Gap to Real-World Object-Centric Learning": "2209.14860",
    "SlotDiffusion: Object-Centric Generative Modeling with Diffusion Models": "2305.11281",
    "SlotDiffusion": "2305.11281",
    "Object-Centric Slot Diffusion": "2303.10834",
    "Adaptive Slot Attention: Object Discovery with Dynamic Slot Number": "2406.09196",
    "Object-Centric Learning for Real-World Videos by Predicting Temporal Feature Similarities": "2306.04829",
    "Conditional Object-Centric Learning from Video": "2111.12594",
    "SAVi++: Towards End-to-End Object-Centric Learning from Real-World Videos": "2206.07764",
    "Simple Unsupervised Object-Centric Learning for Complex and Naturalistic Videos": "2205.14065",
    "Illiterate DALL-E Learns to Compose": "2110.11405",
    "SlotFormer": "2210.05861",
    "Improving Object-centric Learning with Query Optimization": "2210.08990",
    "SPOT: Self-Training with Patch-Order Permutation": "2312.00648",
    "Temporally Consistent Object-Centric Learning by Contrasting Slots": "2412.14295",
    "On the Transfer of Object-Centric Representation Learning": "2408.09162",
}
"""Numbers at arXiv of papers that specs name by their titles, in quotation marks."""
ALONE = {"SAVi (Kipf et al. 2022)": "2111.12594", "SlotFormer (Wu et al. 2023)": "2210.05861"}
"""The same of papers that specs name by their models and authors."""


@dataclass
class Piece:
    """A part of the comment that a shipped spec begins with: a paragraph, or commands."""

    name: str
    """Question, Source, Expected, Cost or Traps; empty for what else it says, `commands` for commands."""
    lines: list[str]

    @property
    def text(self) -> str:
        """The paragraph on one line, or the commands on one each."""
        return ("\n" if self.name == COMMANDS else " ").join(self.lines)


def header_of(text: str) -> list[Piece]:
    """Read the comment at the beginning of a spec, in its order: what follows a command stays behind it."""
    found: list[Piece] = []
    fresh = True
    for raw in text.splitlines():
        if not raw.startswith("#"):
            break
        words = raw[1:].removeprefix(" ")
        part = PART.match(words)
        name = COMMANDS if words.startswith("  ") else part[1] if part else ""
        if words.startswith("yaml-language-server"):
            continue
        if not words.strip():
            fresh = True
            continue
        if fresh or part or (name == COMMANDS) != (found[-1].name == COMMANDS):
            found.append(Piece(name, []))
        found[-1].lines.append((words[part.end() :] if part else words).strip())
        fresh = False
    return found


def pages(root: Path) -> Iterator[Page]:
    """Yield the page of the zoo."""
    specs = sorted((root / "experiments").glob("*.yaml"))
    ablations = sorted((root / "experiments" / "ablations").glob("*.yaml"))
    small = [path for path in specs if path.stem == "demo" or path.stem.endswith("_demo")]
    large = [path for path in specs if path not in small]
    measured = tables(root / "docs" / "results")
    groups = (
        ("Small, on generated scenes", small),
        ("At their authors' sizes", large),
        ("Ablations", ablations),
    )
    rows = [row(path) for _, group in groups for path in group]
    head = ("spec", "model", "data", "needs beforehand", "cost", "expected")
    parts = [INTRODUCTION, f'<div class="zoo" markdown>\n\n{table(head, rows)}\n</div>\n']
    for title, group in groups:
        parts.append(f"## {title}\n")
        for path in group:
            parts += entry(path, root, measured)
    yield Page("zoo.md", "\n".join(parts))


def entry(path: Path, root: Path, measured: dict[str, list[tuple[str, list[str]]]]) -> Iterator[str]:
    """Yield the parts of a spec's section."""
    place = path.relative_to(root).as_posix()
    yield f"### {path.stem}\n"
    yield f"[{code(place)}](files/{place}.md)\n"
    for piece in header_of(path.read_text()):
        if piece.name == COMMANDS:
            yield block(NAMED.sub(r"slotlab:\1", piece.text), "text")
        else:
            yield f"{f'**{piece.name}:** ' if piece.name else ''}{linked(piece.text)}\n"
    for page, rows in measured.get(path.stem, []):
        yield f"**Measured** ([how](results/{page}.md)):\n"
        yield "\n".join(rows) + "\n"


def row(path: Path) -> tuple[str, ...]:
    """Return a spec's row of the table: what it trains on what, what it needs, costs and should give."""
    pieces = header_of(path.read_text())
    said = {piece.name: piece.text for piece in pieces}
    tree = read_tree(path).plain()
    if "base" in tree:
        shipped = path.parents[1] / f"{tree['base'].removeprefix('slotlab:')}.yaml"
        base = shipped if ":" in tree["base"] else path.parent / tree["base"]
        tree = read_tree(base).plain()
    model, dataset = tree.get("model", {}), tree.get("data", {}).get("dataset", {})
    parts = [model.get("name", "slot_autoencoder"), *(called(model.get(part)) for part in MAIN)]
    cost, expected = (linked(first_sentence(said.get(name, ""))) for name in ("Cost", "Expected"))
    return (
        f"[{path.stem.replace('_', '_<wbr>')}](#{path.stem})",
        "<br>".join(code(part) for part in parts if part),
        code(called(dataset)),
        ";<br>".join(needs(tree, pieces)) or "nothing",
        cost or "`slotlab estimate`",
        expected or "no number",
    )


def called(block_: object) -> str:
    """Return the name of a component's block, which may be its name alone."""
    return str(block_.get("name", "")) if isinstance(block_, dict) else str(block_ or "")


def needs(tree: object, pieces: Sequence[Piece]) -> Iterator[str]:
    """Yield what must be there before a spec can be trained: data, weights, other runs."""
    commands = "\n".join(piece.text for piece in pieces if piece.name == COMMANDS)
    assert isinstance(tree, dict)
    if called(tree.get("data", {}).get("dataset")) not in GENERATED:
        yield "the data"
    weights = {*re.findall(r"--set ([\w.]+)=(?:FILE|VAE)", commands), *weights_of(tree)}
    yield from (f"weights: `{path}`" for path in sorted(weights) if not path.startswith("data."))
    yield from (f"the run of [{name}](#{name})" for name in sorted(runs_of(tree)))


def weights_of(tree: object, path: str = "") -> Iterator[str]:
    """Yield the settings that name a file of weights."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        if key == "weights" and isinstance(value, str):
            yield f"{path}weights"
        yield from weights_of(value, f"{path}{key}.")


def runs_of(tree: object) -> set[str]:
    """Return the names of the runs that a spec takes a model from."""
    found = {Path(tree["run"]).name} if isinstance(tree, dict) and isinstance(tree.get("run"), str) else set()
    below = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return found.union(*(runs_of(one) for one in below))


def first_sentence(text: str) -> str:
    """Return a text up to its first full stop or semicolon outside of parentheses."""
    for end in re.finditer(r"(?<! al)\.(?= |$)|;", text):
        before = text[: end.start()]
        if before.count("(") == before.count(")"):
            return before
    return text


def linked(text: str) -> str:
    """Return a text in which pages of the documentation and papers of arXiv are links."""
    pages = led_to_pages(escaped(text))
    for title, number in PAPERS.items():
        pages = pages.replace(f'"{title}"', f'"[{title}](https://arxiv.org/abs/{number})"')
    for name, number in ALONE.items():
        pages = pages.replace(name, f"[{name}](https://arxiv.org/abs/{number})")
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", pages)


def tables(folder: Path) -> dict[str, list[tuple[str, list[str]]]]:
    """Return, by spec, the rows of the pages of results that begin with its name, under their headers."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for page in sorted(folder.glob("*.md")):
        for found_table in re.findall(r"(?:^ *\|.*\n)+", page.read_text(), re.MULTILINE):
            header, rule, *rows = [row.strip() for row in found_table.splitlines()]
            by_spec: dict[str, list[str]] = {}
            for row in rows:
                named = re.match(r"\| *\**`(\w+)`", row)
                if named:
                    by_spec.setdefault(named[1], []).append(row)
            for name, own in by_spec.items():
                found.setdefault(name, []).append((page.stem, [header, rule, *own]))
    return found
