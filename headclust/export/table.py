"""The table that is exported: one row per sample, and the names of the groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError, FileFormatError
from headclust.progress import printable
from headclust.runs.names import MAX_LENGTH, is_name
from headclust.textfiles import table_rows

_HEADER = ["cluster", "name"]


@dataclass(frozen=True)
class Table:
    """One row per sample, in the order of the assignments.

    Attributes:
        sample_ids: As in the assignments; bytes that are not UTF-8 are surrogates, as from `os.fsdecode`.
        paths: The absolute path of each image file; None if the image is missing or not a separate file.
        clusters: Cluster of each sample, from 0.
        groups: Name of each cluster, by its id; clusters with the same name are one group.
        confidence: Confidence of each sample, from 0 to 1.
        novelty: Novelty of each sample, from 0 to 1; None if unknown.
        labels: Class name of each sample, None where unknown; None without labels.
        source: The image source, for messages and metadata; None if unknown.
        more: Further columns by name, in tables only: numbers (n,), or in Parquet vectors (n, dim).
    """

    sample_ids: Sequence[str]
    paths: Sequence[str | None]
    clusters: Sequence[int]
    groups: Mapping[int, str]
    confidence: Sequence[float]
    novelty: Sequence[float] | None = None
    labels: Sequence[str | None] | None = None
    source: str | None = None
    more: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict)

    @property
    def group_of(self) -> list[str]:
        """The group of each sample."""
        return [self.groups[cluster] for cluster in self.clusters]

    @property
    def classes(self) -> list[str]:
        """The groups, each once, in the order of their first clusters."""
        return list(dict.fromkeys(self.groups.values()))

    def __len__(self) -> int:
        return len(self.sample_ids)


def read_names(path: Path, n_clusters: int) -> dict[int, str]:
    """Names of clusters from a CSV file with the columns cluster,name; several clusters may have the same name.

    Raises:
        DataError: The file does not exist, a cluster does not exist or occurs twice, a name is empty or too long.
        FileFormatError: The file has another header, or is not text.
    """
    names: dict[int, str] = {}
    file = printable(str(path))
    rows = table_rows(path)
    header = [name.strip().lower() for name in next(rows, (0, []))[1]]
    if header != _HEADER:
        start = printable(",".join(header))[:100]
        raise FileFormatError(f"{file} starts with {start!r}: expected the header {','.join(_HEADER)}.")
    for line, row in rows:
        try:
            _add(names, row, n_clusters)
        except ValueError as error:
            raise DataError(f"{file}, line {line}: {error}.") from None
    return names


def _add(names: dict[int, str], row: Sequence[str], n_clusters: int) -> None:
    if len(row) != len(_HEADER):
        raise ValueError(f"{len(row)} columns, expected {len(_HEADER)}")
    number, name = (text.strip() for text in row)
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) < n_clusters):
        raise ValueError(f"cluster {printable(number)[:50]!r}, expected 0 to {n_clusters - 1}")
    if int(number) in names:
        raise ValueError(f"cluster {number} occurs twice, expected one name")
    if not is_name(name):
        raise ValueError(f"name {printable(name)[:50]!r}, expected 1 to {MAX_LENGTH} printable characters")
    names[int(number)] = name
