"""The documentation as a site: `make site` builds it with Sphinx, MyST and furo, and every warning is an error.

The pages are plain Markdown that reads well without being built. So nothing in them is Sphinx's own: the navigation is
the lists of links in docs/index.md, and a page that is in none of them is an orphan, which is a warning. The root of
the project is the source folder, so that relative links between pages, to the pages beside the README, and to files of
the code lead to the same places as they do on the disk.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from headclust import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
INDEX = "docs/index"
UNTITLED = {"docs/offline/table": "The table in full"}  # benchmarks/table.py writes it from its second level on

project = "headclust"
author = "The headclust contributors"
project_copyright = author
release = __version__

extensions = ["myst_parser"]
root_doc = INDEX
include_patterns = ["docs/**", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
# Folders are excluded by name, so that Sphinx does not walk through environments, features and runs.
exclude_patterns = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "docs")
myst_heading_anchors = 6  # as code hosts make them, so that PAGE.md#heading works in both
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
    """A hidden table of contents for each section that lists links to pages, in their order and by their texts."""
    found = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, content = section.partition("\n")
        pages = [f"{text} <{page}>" for text, page in _LISTED.findall(content)]
        if pages:
            found.append("\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```"]))
    return "\n\n".join(found)


def complete(_app: Sphinx, page: str, source: list[str]) -> None:
    """Adds to pages, as they are read, what only the site needs."""
    if page == INDEX:
        source[0] += f"\n\n{navigation(source[0])}\n"
    elif page in UNTITLED:
        source[0] = f"# {UNTITLED[page]}\n\n{source[0]}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers what this file adds to Sphinx."""
    app.connect("source-read", complete)
    return {"parallel_read_safe": True}
