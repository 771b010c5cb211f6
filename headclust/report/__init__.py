"""The report of a run: one self-contained HTML file to open in a browser. See docs/report.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headclust.lazy import load_on_first_use

if TYPE_CHECKING:
    from headclust.report.curves import curves_svg
    from headclust.report.data import ReportData, read_data
    from headclust.report.images import MAX_THUMBNAILS
    from headclust.report.page import render
    from headclust.report.suggestion import headline, render_suggestion
    from headclust.report.writing import check_place, write_page

__all__ = [
    "MAX_THUMBNAILS",
    "ReportData",
    "check_place",
    "curves_svg",
    "headline",
    "read_data",
    "render",
    "render_suggestion",
    "write_page",
]

load_on_first_use(
    __name__,
    {
        "MAX_THUMBNAILS": "images",
        "ReportData": "data",
        "check_place": "writing",
        "curves_svg": "curves",
        "headline": "suggestion",
        "read_data": "data",
        "render": "page",
        "render_suggestion": "suggestion",
        "write_page": "writing",
    },
)
