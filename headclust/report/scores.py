"""The clusters held against labels. Labels only score: nothing else in a report depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from headclust.scoring.metrics import confusion

_CONFUSED = 20  # pairs listed


@dataclass(frozen=True)
class ClassScore:
    """How a class fared: its size, the cluster matched to it (None for no cluster), and the share of it in there."""

    name: str
    size: int
    cluster: int | None
    accuracy: float


@dataclass(frozen=True)
class Scores:
    """Clusters against classes.

    Attributes:
        class_names: Of the classes seen, ascending by label.
        clusters: Those with a labelled sample: the ones matched to a class first, in the order of the classes.
        matched: How many of them are matched.
        table: Counts, a row a cluster of `clusters`, a column a class.
        classes: How each class fared.
        confused: (class, the class whose cluster it was put in, how many), the most first.
        n_labelled: Samples that have a label.
    """

    class_names: tuple[str, ...]
    clusters: tuple[int, ...]
    matched: int
    table: NDArray[np.int64]
    classes: tuple[ClassScore, ...]
    confused: tuple[tuple[str, str, int], ...]
    n_labelled: int

    def majority(self, cluster: int) -> tuple[str, float] | None:
        """A cluster's most frequent class and its share of the cluster's labelled samples; None without any."""
        if cluster not in self.clusters:
            return None
        row = self.table[self.clusters.index(cluster)]
        return self.class_names[int(row.argmax())], float(row.max() / row.sum())


def compare(clusters: NDArray[np.int64], labels: NDArray[np.int64], names: Sequence[str]) -> Scores:
    """Clusters against classes, under the one-to-one matching that `metrics.accuracy` counts by (Hungarian).

    Args:
        clusters: Shape (n_samples,).
        labels: The same; -1 is unknown and left out.
        names: Names of the labels 0, 1, ...; a label without one is called by its number.
    """
    known = labels >= 0
    table = confusion(clusters, labels)
    seen, classes = np.unique(clusters[known]), np.unique(labels[known])
    rows, columns = linear_sum_assignment(table, maximize=True)
    by_class = np.argsort(columns)
    order = [*rows[by_class], *np.setdiff1d(np.arange(len(seen)), rows)]
    called = tuple(names[label] if label < len(names) else str(label) for label in classes.tolist())
    cluster_of = {int(column): int(row) for row, column in zip(rows, columns, strict=True)}
    sizes = table.sum(0)
    fared = tuple(
        ClassScore(
            called[column],
            int(sizes[column]),
            int(seen[cluster_of[column]]) if column in cluster_of else None,
            float(table[cluster_of[column], column] / sizes[column]) if column in cluster_of else 0.0,
        )
        for column in range(len(classes))
    )
    off = [
        (called[column], called[own], int(table[row, column]))
        for own, row in cluster_of.items()
        for column in range(len(classes))
        if column != own and table[row, column]
    ]
    confused = tuple(sorted(off, key=lambda pair: -pair[2])[:_CONFUSED])
    return Scores(called, tuple(seen[order].tolist()), len(rows), table[order], fared, confused, int(known.sum()))
