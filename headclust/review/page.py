"""The page: one HTML text without data, with the report's colors and style, and a policy that allows nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from headclust.report.html import content_hash
from headclust.report.palette import theme_css

_STYLES = (("headclust.report", "page.css"), ("headclust.report", "images.css"), ("headclust.review", "review.css"))
_SCRIPTS = (
    *("server.js", "state.js", "tiles.js", "grid.js", "dialogs.js", "actions.js", "large.js", "groups.js", "group.js"),
    *("lists.js", "questions.js", "changes.js", "keys.js", "start.js"),
)


@dataclass(frozen=True)
class Page:
    """The HTML of the page, and its Content-Security-Policy."""

    html: str
    policy: str


def make_page() -> Page:
    """The page. All that it shows of a run it asks the server for, and shows as text."""
    css = "\n".join(_read(*name) for name in _STYLES)
    script = "\n".join(_read("headclust.review", name) for name in _SCRIPTS)
    css, script = f"\n{theme_css()}\n{css}", f'\n"use strict";\n(() => {{\n{script}}})();\n'
    policy = {
        "default-src": "'none'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "style-src": content_hash(css),
        "script-src": content_hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    html = _read("headclust.review", "review.html").replace("{{ css }}", css).replace("{{ script }}", script)
    return Page(html, "; ".join(f"{name} {value}" for name, value in policy.items()))


def _read(package: str, name: str) -> str:
    return (files(package) / "template" / name).read_text(encoding="utf-8")
