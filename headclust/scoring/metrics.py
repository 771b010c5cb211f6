"""Scores of a clustering against labels, and statistics of its cluster sizes.

Labels of -1 are unknown and left out. Every metric is invariant to renaming clusters and lies in [0, 1], ARI and AMI
in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError
from headclust.progress import percent

Ints = NDArray[np.int64]
LARGE = 3  # a cluster of more than this multiple of an even share has probably merged with others


def confusion(assignments: Ints, labels: Ints) -> Ints:
    """Number of samples per (cluster, class), shape (n_clusters_used, n_classes_used), ids ascending.

    Raises:
        DataError: The arrays differ in length or hold no known label.
    """
    if assignments.shape != labels.shape or assignments.ndim != 1:
        raise DataError(
            f"assignments have shape {assignments.shape}, labels {labels.shape}: expected two vectors of one length."
        )
    labeled = labels >= 0
    if not labeled.any():
        raise DataError("no label is known: clusterings can only be scored against labels.")
    clusters, rows = np.unique(assignments[labeled], return_inverse=True)
    classes, columns = np.unique(labels[labeled], return_inverse=True)
    # The pair (row, column) is counted as the number row * n_classes + column.
    cells = np.bincount(rows * len(classes) + columns, minlength=len(clusters) * len(classes))
    return cells.reshape(len(clusters), len(classes)).astype(np.int64)


def match_clusters(table: Ints) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The one-to-one matching of clusters and classes with the largest sum of entries (Hungarian).

    Args:
        table: Counts of (cluster, class), shape (n_clusters, n_classes), as `confusion` returns them.

    Returns:
        Rows and columns of the matched entries, each of shape (min(n_clusters, n_classes),), the rows ascending.
    """
    from scipy.optimize import linear_sum_assignment

    cluster_rows, class_columns = linear_sum_assignment(table, maximize=True)
    return cluster_rows, class_columns


def accuracy(assignments: Ints, labels: Ints) -> float:
    """Share of samples whose cluster is matched to their class, under the best one-to-one matching (Hungarian).

    With more clusters than classes, samples of clusters left over count as wrong; see `accuracy_majority`.
    """
    table = confusion(assignments, labels)
    return float(table[match_clusters(table)].sum() / table.sum())


def accuracy_majority(assignments: Ints, labels: Ints) -> float:
    """Hungarian accuracy in which each unmatched cluster counts as its majority class.

    The overclustering score of the TEMI code (https://github.com/HHU-MMBS/TEMI-official-BMVC2023). Equal to
    `accuracy` if there are no more clusters than classes. Ties between matchings: the one whose unmatched clusters
    have the larger majorities, so that the score does not depend on cluster ids.
    """
    table = confusion(assignments, labels)
    majority, n_samples = table.max(axis=1), table.sum()
    # Maximize the matched samples; among equal matchings, minimize the majorities of the matched clusters.
    rows, columns = match_clusters(table * (n_samples + 1) - majority[:, None])
    leftover = np.setdiff1d(np.arange(len(table)), rows)
    return float((table[rows, columns].sum() + majority[leftover].sum()) / n_samples)


def _on_known(score: str) -> Callable[[Ints, Ints], float]:
    """A score of scikit-learn by name, over the samples whose label is known."""

    def metric(assignments: Ints, labels: Ints) -> float:
        from sklearn import metrics

        confusion(assignments, labels)  # the same checks as accuracy
        labeled = labels >= 0
        return float(getattr(metrics, score)(labels[labeled], assignments[labeled]))

    return metric


METRICS: dict[str, Callable[[Ints, Ints], float]] = {
    "accuracy": accuracy,
    "nmi": _on_known("normalized_mutual_info_score"),  # arithmetic mean, the default of scikit-learn and of the field
    "ami": _on_known("adjusted_mutual_info_score"),
    "ari": _on_known("adjusted_rand_score"),
}


def score(assignments: Ints, labels: Ints) -> dict[str, float]:
    """Every metric by name, and `accuracy_majority` if there are more clusters than classes."""
    scores = {name: metric(assignments, labels) for name, metric in METRICS.items()}
    clusters, classes = confusion(assignments, labels).shape
    if clusters > classes:
        scores["accuracy_majority"] = accuracy_majority(assignments, labels)
    return scores


def describe(assignments: Ints, n_clusters: int) -> dict[str, float | int]:
    """Statistics of the cluster sizes, which need no labels.

    Returns:
        `n_samples`, `n_clusters`, `clusters_used`, `largest_share` (0 to 1) and `entropy` (of the shares, divided by
        log(n_clusters): 1 is balanced, 0 is one cluster; 1 if n_clusters is 1).
    """
    shares = np.bincount(assignments, minlength=n_clusters) / len(assignments)
    used = shares[shares > 0]
    # -sum_c s_c log s_c / log n_clusters, written with log(1 / s) so that one cluster gives 0 and not -0.
    entropy = float((used * np.log(1 / used)).sum() / np.log(n_clusters)) if n_clusters > 1 else 1.0
    return {
        "n_samples": len(assignments),
        "n_clusters": n_clusters,
        "clusters_used": len(used),
        "largest_share": float(shares.max()),
        "entropy": entropy,
    }


def warnings_of(described: Mapping[str, float]) -> list[str]:
    """Signs of a collapsed fit in the statistics of `describe`, one sentence each; empty if there are none."""
    used, n_clusters, largest = (described[name] for name in ("clusters_used", "n_clusters", "largest_share"))
    sentences = [f"only {used} of {n_clusters} clusters are used."] if used < n_clusters else []
    if largest > LARGE / n_clusters:
        sentences.append(
            f"one cluster holds {percent(largest)} of the samples, more than {LARGE} times its even share."
        )
    return sentences
