"""The documentation as a site: `make site` builds it with Sphinx, MyST and furo, and every warning is an error.

The pages are plain Markdown without Sphinx directives, readable without being built. To docs/api.md the docstrings of
the public names are added. The navigation is the lists of
links in docs/index.md; a page that is in none of them is an orphan, which is a warning. The root of the project is the
source folder, so that relative links between pages, to the pages beside the README, and to code are the same as on the
disk.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import headclust
from headclust import __version__, verbs

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
INDEX = "docs/index"
API = "docs/api"
UNTITLED = {"docs/offline/table": "The table in full"}  # benchmarks/table.py writes it without a title

project = "headclust"
author = "The headclust contributors"
project_copyright = author
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# Docstrings are Markdown-like: `code`, Args, Returns, Raises. Types are in the signatures, without links.
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_param = napoleon_use_rtype = napoleon_use_ivar = False
nitpick_ignore_regex = [(r"py:.*", r".*")]
root_doc = INDEX
include_patterns = ["docs/**", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
# Folders are excluded by name, so that Sphinx does not walk through environments, features and runs.
exclude_patterns = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "docs")
myst_heading_anchors = 6  # like GitHub, so that PAGE.md#heading works in both
nitpicky = True

html_theme = "furo"
html_title = f"headclust {release}"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "redirect.html"}  # the folder of the site itself leads to docs/index.html
templates_path = ["site"]
html_copy_source = html_show_sourcelink = html_show_copyright = html_show_sphinx = False

_LISTED = re.compile(r"^- \[([^\]]+)\]\(([^)#:]+)\.md\)", re.MULTILINE)


def navigation(text: str) -> str:
    """A hidden table of contents for each section that lists links to pages, in the same order with the same texts."""
    tables = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, content = section.partition("\n")
        pages = [f"{text} <{page}>" for text, page in _LISTED.findall(content)]
        if pages:
            tables.append("\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```"]))
    return "\n\n".join(tables)


def reference() -> str:
    """Directives for the docstrings of the public names of the package and of its verbs, and nothing that they inherit.

    Each name is documented where it is defined.
    """
    parts = []
    for title, package in (("headclust", headclust), ("headclust.verbs", verbs)):
        parts += [f"## {title}", "", "```{eval-rst}"]
        for name in package.__all__:
            value = getattr(package, name)
            if isinstance(value, str | dict):
                continue
            kind = "class" if isinstance(value, type) else "function"
            parts += [f".. auto{kind}:: {package.__name__}.{name}"]
            parts += ["   :members:", "   :exclude-members: __init__"] if kind == "class" else []
            parts += [""]
        parts += ["```", ""]
    return "\n".join(parts)


def complete(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add the parts that only the site needs to a page when it is read."""
    if page == INDEX:
        source[0] += f"\n\n{navigation(source[0])}\n"
    elif page == API:
        source[0] += f"\n{reference()}\n"
    elif page in UNTITLED:
        source[0] = f"# {UNTITLED[page]}\n\n{source[0]}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register `complete` with Sphinx."""
    app.connect("source-read", complete)
    return {"parallel_read_safe": True}
