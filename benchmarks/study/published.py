"""Numbers that others published, with where they were seen and how far each can be trusted. None of them is ours.

The numbers are in published.csv beside this file, in percent, as printed. What is known only from memory is not there:
a number nobody can look up is no citation.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

TRUST: dict[str, str] = {
    "R": "printed in the authors' own repository: README, log or issue tracker",
    "abstract": "read in the paper's abstract",
    "A": "seen on a page that collects results and quotes the paper; the paper's own table was not seen",
    "2": "second-hand: another paper, or a translation",
}
SCORES = ("accuracy", "nmi", "ami", "ari")
_FILE = Path(__file__).with_name("published.csv")


class Published(NamedTuple):
    """One published result; numbers are in percent, only those that were printed."""

    method: str  # name in METHODS of the method it is nearest to
    dataset: str  # our name for it
    backbone: str  # name in our catalog of the frozen network; empty for any other or unknown network
    network: str  # in words, as the source has it
    scores: Mapping[str, float]  # by metric
    spreads: Mapping[str, float]  # standard deviations by metric
    note: str
    source: str
    trust: str  # key of TRUST


def published() -> list[Published]:
    """All published results, in the file's order."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        return [_read(row) for row in csv.DictReader(file)]


def published_for(pairs: Iterable[tuple[str, str]]) -> list[Published]:
    """The published results of these (method, data set) pairs, in the file's order."""
    chosen = set(pairs)
    return [result for result in published() if (result.method, result.dataset) in chosen]


def _read(row: Mapping[str, str]) -> Published:
    texts = {name: row[name] for name in Published._fields if name in row}
    scores = {name: float(row[name]) for name in SCORES if row[name]}
    spreads = {name: float(row[f"{name}_sd"]) for name in SCORES if row.get(f"{name}_sd")}
    return Published(scores=scores, spreads=spreads, **texts)
