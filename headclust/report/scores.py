"""Scores of the clusters against labels. Nothing else in a report depends on labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headclust.scoring.metrics import confusion, match_clusters

_MAX_CONFUSED = 20  # pairs of classes listed


@dataclass(frozen=True)
class ClassScore:
    """Score of a class: its size, the cluster matched to it (or None), and the share of its images in that cluster."""

    name: str
    size: int
    cluster: int | None
    accuracy: float


@dataclass(frozen=True)
class Scores:
    """Clusters against classes.

    Attributes:
        class_names: Names of the classes that occur, ascending by label.
        clusters: Clusters with a labeled sample: those matched to a class first, in the order of the classes.
        n_matched: Number of matched clusters.
        table: Counts, one row per cluster of `clusters`, one column per class.
        classes: Score of each class.
        confused: (class, class whose cluster it was put in, number of samples), the most first.
        n_labeled: Number of samples that have a label.
    """

    class_names: tuple[str, ...]
    clusters: tuple[int, ...]
    n_matched: int
    table: NDArray[np.int64]
    classes: tuple[ClassScore, ...]
    confused: tuple[tuple[str, str, int], ...]
    n_labeled: int

    def majority(self, cluster: int) -> tuple[str, float] | None:
        """The most frequent class of a cluster and its share of the labeled samples there; None if none is labeled."""
        if cluster not in self.clusters:
            return None
        row = self.table[self.clusters.index(cluster)]
        return self.class_names[int(row.argmax())], float(row.max() / row.sum())


def compare(clusters: NDArray[np.int64], labels: NDArray[np.int64], names: Sequence[str]) -> Scores:
    """Scores of clusters against classes, under the one-to-one matching that `metrics.accuracy` uses.

    Args:
        clusters: Shape (n_samples,).
        labels: Shape (n_samples,); samples of label -1 (unknown) are left out.
        names: Names of the labels 0, 1, ...; a label without a name is shown as its number.
    """
    is_labeled = labels >= 0
    table = confusion(clusters, labels)
    cluster_ids, class_ids = np.unique(clusters[is_labeled]), np.unique(labels[is_labeled])
    rows, columns = match_clusters(table)
    by_class = np.argsort(columns)
    order = [*rows[by_class], *np.setdiff1d(np.arange(len(cluster_ids)), rows)]
    class_names = tuple(names[label] if label < len(names) else str(label) for label in class_ids.tolist())
    row_of = {int(column): int(row) for row, column in zip(rows, columns, strict=True)}
    sizes = table.sum(0)
    classes = tuple(
        ClassScore(
            class_names[column],
            int(sizes[column]),
            int(cluster_ids[row_of[column]]) if column in row_of else None,
            float(table[row_of[column], column] / sizes[column]) if column in row_of else 0.0,
        )
        for column in range(len(class_ids))
    )
    errors = [
        (class_names[column], class_names[matched], int(table[row, column]))
        for matched, row in row_of.items()
        for column in range(len(class_ids))
        if column != matched and table[row, column]
    ]
    confused = tuple(sorted(errors, key=lambda pair: -pair[2])[:_MAX_CONFUSED])
    return Scores(
        class_names,
        tuple(cluster_ids[order].tolist()),
        len(rows),
        table[order],
        classes,
        confused,
        int(is_labeled.sum()),
    )
