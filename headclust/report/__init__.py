"""The report of a run: one HTML file that needs nothing else, for a person to look at. See docs/report.md."""

from __future__ import annotations

from headclust.report.data import Material, gather
from headclust.report.page import render
from headclust.report.writing import check_place, write_page

__all__ = ["Material", "check_place", "gather", "render", "write_page"]
