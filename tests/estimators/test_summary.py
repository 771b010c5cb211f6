from html.parser import HTMLParser

import numpy as np

from headclust.estimators.summary import ROWS, summary
from headclust.model import ensemble


class Cells(HTMLParser):
    """The text of a table's cells, a row at a time."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.inside = True
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside &= tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def shown(labels, confidence, n_clusters) -> tuple[str, list[list[str]]]:
    by_head = np.stack([labels, labels])
    page = summary(labels, confidence, ensemble.summarize(by_head, labels, n_clusters, seconds=0))
    return page, Cells(page).rows


def test_a_row_a_cluster_the_largest_first():
    labels = np.array([2, 2, 2, 0, 2, 0])
    page, rows = shown(labels, np.array([0.5, 0.7, 0.9, 1, 0.5, 0.25], np.float32), 4)
    assert rows == [
        ["cluster", "size", "share", "mean confidence"],
        ["2", "4", "66.7 %", "65.0 %"],
        ["0", "2", "33.3 %", "62.5 %"],
        ["1", "0", "0.0 %", "-"],
        ["3", "0", "0.0 %", "-"],
    ]
    assert "6 samples in 2 of 4 clusters, agreement of heads 100.0 %" in page


def test_many_clusters_stay_a_short_table():
    labels = np.arange(3_000) % 1_000
    page, rows = shown(labels, np.ones(3_000, np.float32), 1_000)
    assert len(rows) == ROWS + 2
    assert rows[-1] == ["950 more", "2,850", "", ""]
    assert len(page) < 10_000
