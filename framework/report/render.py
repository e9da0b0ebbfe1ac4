"""Render a page as HTML: templates with all text escaped, and scripts and styles in the same file."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from slotlab.framework.compare.binding import threshold_origin
from slotlab.framework.compare.differing_settings import setting_text
from slotlab.framework.report import number_format
from slotlab.framework.report.chart_data import chart_data
from slotlab.framework.report.page import Page

if TYPE_CHECKING:
    from jinja2 import Environment

SCRIPTS = ("charts.js", "report.js", "films.js")
HERE = "slotlab.framework.report"


def render(page: Page) -> str:
    """Return the page as one HTML document that loads no other file."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    scripts = [get_plotlyjs(), *(asset(name) for name in SCRIPTS)]
    return (
        templates()
        .get_template("report.html")
        .render(
            page=page,
            comparison=page.comparison,
            arms=list(zip(page.comparison.arms, page.marks, strict=True)),
            style=Markup(asset("report.css")),
            scripts=[Markup(script) for script in scripts],
            policy=policy(scripts),
            data=Markup(embedded(chart_data(page))),
        )
    )


def templates() -> "Environment":
    """Return the templates, in which every value is escaped unless it is marked as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(HERE, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for filter_ in (
        *(number_format.number, number_format.signed, number_format.interval, number_format.probability),
        *(number_format.three_digits, number_format.plural, number_format.limit, setting_text),
        threshold_origin,
    ):
        environment.filters[filter_.__name__] = filter_
    return environment


def asset(name: str) -> str:
    """Return a style or script of the page."""
    return resources.files(HERE).joinpath("assets", name).read_text("utf-8")


def policy(scripts: Sequence[str]) -> str:
    """Return a content security policy that allows these scripts only, and loads nothing."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(data: Any) -> str:
    """Return JSON for a script element, with everything escaped that could end the element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
