"""HTML of a page: templates with every text escaped, and all that they need inside the one file."""

import base64
import hashlib
import json
import math
from importlib import resources
from typing import Any

from markupsafe import Markup

from slotlab.framework.report.page import Page, Span

MINUS = "\N{MINUS SIGN}"
SCRIPTS = ("charts.js", "report.js")


def render(page: Page) -> str:
    """Return the page as one HTML document that asks for no other file."""
    from plotly.offline import get_plotlyjs

    environment = templates()
    scripts = [get_plotlyjs(), *(asset(name) for name in SCRIPTS)]
    return environment.get_template("report.html").render(
        page=page,
        style=Markup(asset("report.css")),
        scripts=[Markup(script) for script in scripts],
        policy=policy(scripts),
        data=embedded(page.chart_data()),
    )


def templates() -> Any:
    """Return the template environment; every value is escaped unless it is marked as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("slotlab.framework.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, signed=signed, interval=interval, probability=probability, cost=cost_text
    )
    return environment


def asset(name: str) -> str:
    """Return a style or script of the page."""
    return resources.files("slotlab.framework.report").joinpath("assets", name).read_text("utf-8")


def policy(scripts: list[str]) -> str:
    """Return a content policy under which these scripts run, no other does, and nothing is loaded."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(data: Any) -> Markup:
    """Return JSON that may stand in a script element: nothing in it ends the element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def number(value: float | None, digits: int = 3) -> str:
    """Return a value with so many decimals, fewer if it is large, an exponent if it is tiny."""
    if value is None:
        return "\N{EM DASH}"
    size = abs(value)
    if size >= 1e6 or (0 < size < 0.5 * 10**-digits):
        text = f"{value:.2e}"
    else:
        text = f"{value:.{max(0, digits - max(0, math.floor(math.log10(size)) if size >= 1 else 0))}f}"
    return text.replace("-", MINUS)


def signed(value: float | None) -> str:
    """Return a difference with its sign."""
    return number(value) if value is None or value < 0 else f"+{number(value)}"


def interval(span: Span, *, sign: bool = False) -> str:
    """Return the bounds in brackets; a dash where there are none."""
    show = signed if sign else number
    if span.low is None or span.high is None:
        return "\N{EM DASH}"
    return f"[{show(span.low)}, {show(span.high)}]"


def probability(value: float | None) -> str:
    """Return a p-value."""
    if value is None:
        return "\N{EM DASH}"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def cost_text(value: float | None) -> str:
    """Return a cost with three digits."""
    if value is None:
        return "\N{EM DASH}"
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return f"{float(f'{value:.3g}'):,g}"
