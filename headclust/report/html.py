"""The HTML text: the template, filled, with its style sheet, its script and a policy that allows no other."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from headclust.progress import printable
from headclust.report.palette import theme_css

_TEMPLATES = ("page.html", "macros.html", "map.html", "clusters.html", "labels.html", "making.html", "dialogs.html")
_STYLES = ("page.css", "images.css")
_SCRIPTS = ("samples.js", "levels.js", "large.js", "group.js", "find.js", "map.js", "page.js")


def fill(
    context: Mapping[str, Any],
    *,
    templates: Sequence[str] = _TEMPLATES,
    styles: Sequence[str] = _STYLES,
    scripts: Sequence[str] = _SCRIPTS,
) -> str:
    """The page with these values: all text is escaped, and nothing is loaded but image files of this computer.

    Args:
        context: The values.
        templates: Files in `template/`: the page, and those that it includes.
        styles: Its style sheets, joined.
        scripts: Its scripts, joined.
    """
    folder = files("headclust.report") / "template"
    css, script, *texts = (
        "\n".join((folder / name).read_text(encoding="utf-8") for name in names)
        for names in (styles, scripts, *((name,) for name in templates))
    )
    css, script = f"\n{theme_css()}\n{css}", f'\n"use strict";\n(() => {{\n{script}}})();\n'
    policy = {
        "default-src": "'none'",
        "img-src": "data: file:",
        "style-src": content_hash(css),
        "script-src": content_hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        keep_trailing_newline=True,
        loader=DictLoader(dict(zip(templates, texts, strict=True))),
    )
    return (
        environment.get_template(templates[0])
        .render(
            **context,
            policy="; ".join(f"{name} {value}" for name, value in policy.items()),
            css=Markup(css),  # noqa: S704  # our own files, as is the script
            script=Markup(script),  # noqa: S704
        )
        .lstrip()
    )


def content_hash(text: str) -> str:
    """The source expression by which a policy allows one style sheet or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _plain(value: Any) -> Any:
    """Text with control characters and lone surrogates escaped, as file names may hold any."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def as_json(value: Any) -> Markup:
    """`value` as JSON in which no text can end the script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  # no character of it can be markup
