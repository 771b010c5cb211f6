"""Several clusterings of the same samples: choice of one, common cluster names, agreement. No labels are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.scoring import metrics

_ROUNDS = 20  # most rounds of voting; a few are enough until the majority no longer changes


def choose(losses: Sequence[float]) -> int:
    """Index of the clustering with the lowest training loss; ties: the first."""
    return int(np.argmin(np.asarray(losses)))


def alignment(
    assignments: NDArray[np.integer[Any]], reference: NDArray[np.int64], n_clusters: int
) -> NDArray[np.int64]:
    """New names (n_clusters,) of the clusters: the one-to-one renaming with the largest overlap with `reference`.

    Args:
        assignments: Shape (n_samples,), values in [0, n_clusters).
        reference: Shape (n_samples,), values in [0, n_clusters).
        n_clusters: Number of clusters of both.
    """
    # Contingency table (n_clusters, n_clusters): samples in cluster row of one and column of the other. The pair
    # (row, column) is counted as the number row * n_clusters + column.
    cells = np.bincount(assignments * n_clusters + reference, minlength=n_clusters**2)
    # Hungarian algorithm: the one-to-one matching of rows to columns with the largest sum.
    _, names = metrics.match_clusters(cells.reshape(n_clusters, n_clusters))
    return np.asarray(names, dtype=np.int64)


def align(assignments: NDArray[np.integer[Any]], reference: NDArray[np.int64], n_clusters: int) -> NDArray[np.int64]:
    """`assignments` with clusters renamed by `alignment` to `reference`."""
    aligned: NDArray[np.int64] = alignment(assignments, reference, n_clusters)[assignments]
    return aligned


def neighbor_information(assignments: NDArray[np.integer[Any]], neighbors: NDArray[np.int32], n_clusters: int) -> float:
    """Mutual information in nats between the cluster of a sample and the cluster of one of its neighbors.

    From 0 to log(n_clusters); largest if neighbors share their cluster and clusters are many and even. It needs
    no labels, and can compare clusterings of different methods.

    Args:
        assignments: Shape (n_samples,), values in [0, n_clusters).
        neighbors: Row numbers of neighbors, (n_samples, k).
        n_clusters: Number of clusters.
    """
    from scipy import sparse

    # Own cluster and neighbor's cluster of each pair, (n_samples * k,).
    own, other = np.repeat(assignments, neighbors.shape[1]), assignments[neighbors].ravel()
    counts = sparse.coo_array((np.ones(len(own)), (own, other)), shape=(n_clusters, n_clusters)).tocsr()
    # Joint distribution P(c, d) over all pairs, (n_clusters, n_clusters), symmetrized: pairs have no order. It is
    # sparse, as most pairs of thousands of clusters do not occur.
    joint = ((counts + counts.T) / (2 * len(own))).tocoo()
    # Its marginal P(c), (n_clusters,), the same for rows and columns.
    shares = joint.sum(axis=1)
    # I = sum over cells of P(c, d) log(P(c, d) / (P(c) P(d))); empty cells contribute 0.
    return float((joint.data * np.log(joint.data / (shares[joint.row] * shares[joint.col]))).sum())


def common_names(assignments: NDArray[np.integer[Any]], n_clusters: int, *, start: int) -> NDArray[np.int64]:
    """New names (heads, n_clusters) of the clusters of several clusterings, under which the clusterings agree.

    Every clustering is aligned one-to-one to a reference; the majority vote of the aligned clusterings is the next
    reference, until it no longer changes. The method of Dudoit and Fridlyand, "Bagging to improve the accuracy of a
    clustering procedure", Bioinformatics 2003 (https://doi.org/10.1093/bioinformatics/btg038), iterated.

    Args:
        assignments: Shape (heads, n_samples), values in [0, n_clusters).
        n_clusters: Number of clusters of all of them.
        start: The head that is the first reference.
    """
    reference = assignments[start]
    for _ in range(_ROUNDS):
        # Names of each head's clusters by the reference, (heads, n_clusters).
        names = np.stack([alignment(clusters, reference, n_clusters) for clusters in assignments])
        majority = _majority(np.take_along_axis(names, assignments, axis=1))
        if np.array_equal(majority, reference):
            break
        reference = majority
    return names


def _majority(clusters: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The cluster that most heads give a sample, (n_samples,), of clusters (heads, n_samples); ties: the smallest."""
    # In order, a cluster that h heads give is h times in a row: the row of each head's run so far is its votes.
    ordered = np.sort(clusters, axis=0)
    votes = np.ones(ordered.shape, dtype=np.int32)
    for head in range(1, len(ordered)):
        votes[head] += votes[head - 1] * (ordered[head] == ordered[head - 1])
    # The first of the longest runs belongs to the smallest cluster.
    return np.asarray(np.take_along_axis(ordered, votes.argmax(0)[None], axis=0)[0])


def agreement(assignments: NDArray[np.integer[Any]], final: NDArray[np.int64], n_clusters: int) -> float | None:
    """Mean share of samples to which a clustering, aligned to `final`, gives the final cluster; None for a single one.

    Args:
        assignments: Shape (heads, n_samples).
        final: Shape (n_samples,).
        n_clusters: Number of clusters of all of them.
    """
    if len(assignments) < 2:
        return None
    return float(np.mean([np.mean(align(clusters, final, n_clusters) == final) for clusters in assignments]))


def summarize(
    by_head: NDArray[np.integer[Any]],
    final: NDArray[np.int64],
    n_clusters: int,
    *,
    seconds: float,
    labels: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Content of metrics.json for a clustering.

    Args:
        by_head: Clusters by each head, (heads, n_samples).
        final: The assigned clusters, (n_samples,).
        n_clusters: Number of clusters.
        seconds: Duration of the fit.
        labels: int64 (n_samples,), -1 = unknown; scores are added if any is known.

    Returns:
        `n_samples n_clusters clusters_used largest_share entropy agreement seconds`, and with labels
        `accuracy nmi ami ari`.
    """
    report: dict[str, Any] = dict(metrics.describe(final, n_clusters))
    report["agreement"] = agreement(by_head, final, n_clusters)
    report["seconds"] = round(seconds, 3)
    if labels is not None and (labels >= 0).any():
        report.update(metrics.score(final, labels))
    return report
