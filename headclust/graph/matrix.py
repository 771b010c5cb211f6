"""The neighbor graph as a matrix, and its leading eigenvectors: what cuts it where it is thinnest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from headclust.errors import SettingError
from headclust.graph.neighbors import NeighborGraph
from headclust.progress import note

Floats = NDArray[np.float64]
_DENSE = 600  # samples up to which all eigenvectors at once are quicker than the sparse solver
_DENSE_AT_MOST = 5_000
_TINY = float(np.finfo(np.float64).tiny)
_ACCURACY, _NOTICED = 1e-8, 1e-5  # of an eigenvalue; all of them lie in [-1, 1]


def affinity(graph: NeighborGraph, *, temperature: float) -> sparse.csr_array:
    """Weights between neighbors, symmetric (n_samples, n_samples), float64, none of a sample with itself.

    Two samples are joined where one of them is a neighbor of the other (the union), with weight
    exp((cosine similarity - 1) / temperature): on unit rows the Gaussian kernel whose variance is the temperature.

    Args:
        graph: Nearest neighbors.
        temperature: Similarity by which a weight falls to 1/e; a large one weighs all neighbors alike.
    """
    n_samples, k = graph.indices.shape
    similarities = graph.similarities.double().clamp(max=1).numpy()
    weights = np.exp((similarities - 1) / temperature)
    starts = np.arange(0, n_samples * k + 1, k)
    directed = sparse.csr_array((weights.ravel(), graph.indices.numpy().ravel(), starts), shape=(n_samples, n_samples))
    return directed.maximum(directed.T).tocsr()


def normalized(weights: sparse.csr_array) -> sparse.csr_array:
    """D^-1/2 W D^-1/2 with D the sums of the rows: one less the normalized Laplacian. Rows of zeros stay zero."""
    degrees = np.asarray(weights.sum(axis=1)).ravel()
    scale = np.divide(1, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    return sparse.csr_array(weights.multiply(scale[:, None]).multiply(scale))


def parts(weights: sparse.csr_array) -> NDArray[np.int64]:
    """Number of the connected part that each sample belongs to, int64 (n_samples,); part 0 is the largest."""
    _, found = sparse.csgraph.connected_components(weights, directed=False)
    order = np.argsort(-np.bincount(found), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.asarray(rank[found], dtype=np.int64)


def large_parts(
    weights: sparse.csr_array, n_clusters: int, *, smallest: float, advice: str = "Raise n_neighbors."
) -> NDArray[np.int64]:
    """Rows of the samples in connected parts that are large enough to be clusters; all where that is not most of them.

    Says so when there are more such parts than clusters.

    Args:
        weights: A graph, (n_samples, n_samples).
        n_clusters: Number of clusters.
        smallest: Share of an even cluster that a part has to have, in [0, 1].
        advice: What to do about too many.
    """
    part = parts(weights)
    sizes = np.bincount(part)
    large = sizes >= smallest * len(part) / n_clusters
    if sizes[large].sum() < max(len(part) / 2, n_clusters):
        large[:] = True
    if large.sum() > n_clusters > 1:
        note(
            f"warning: the neighbor graph falls into {large.sum()} parts, more than the {n_clusters} clusters: "
            f"nothing in it says which belong together. {advice}"
        )
    return np.flatnonzero(large[part])


def leading_eigenvectors(matrix: sparse.csr_array, count: int, *, seed: int) -> tuple[Floats, Floats]:
    """The largest eigenvalues of a symmetric matrix with eigenvalues in [-1, 1], descending, and their eigenvectors.

    Small matrices are solved densely, others by ARPACK from start vectors drawn from `seed`. ARPACK can miss copies of
    an eigenvalue that occurs several times, as 1 does in a graph of several parts; so it is asked again for what is
    left beside the vectors found, until that is nothing better.

    Args:
        matrix: Shape (n, n).
        count: How many, 1 to n.
        seed: Of the start vectors.

    Returns:
        Values (count,) and vectors (n, count).

    Raises:
        SettingError: The solver gave up.
    """
    n = matrix.shape[0]
    if n <= _DENSE or (n <= _DENSE_AT_MOST and count > n // 8) or count >= n - 1:
        values, vectors = scipy.linalg.eigh(matrix.toarray(), subset_by_index=(n - count, n - 1))
        return values[::-1], np.ascontiguousarray(vectors[:, ::-1])
    generator = np.random.default_rng(seed)
    values, vectors = _solve(matrix, count, generator, _ACCURACY)
    while True:
        beside = _without(matrix, values, vectors)
        (more,), vector = _solve(beside, 1, generator, _NOTICED)
        if more <= values[-1] + _NOTICED:
            return values, vectors
        values, vectors = np.append(values[:-1], more), np.column_stack((vectors[:, :-1], vector))
        order = np.argsort(-values, kind="stable")
        values, vectors = values[order], vectors[:, order]


def _solve(matrix: Any, count: int, generator: np.random.Generator, tolerance: float) -> tuple[Floats, Floats]:
    n = matrix.shape[0]
    start = generator.uniform(-1, 1, n)
    try:
        # More Lanczos vectors than by default: neighbor graphs have eigenvalues close together.
        values, vectors = eigsh(matrix, count, which="LA", v0=start, ncv=min(n, max(2 * count + 1, 40)), tol=tolerance)
    except ArpackNoConvergence:
        raise SettingError(
            f"{count} eigenvectors of the neighbor graph were not found: raise n_neighbors or temperature."
        ) from None
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[:, order]


def _without(matrix: sparse.csr_array, values: Floats, vectors: Floats) -> LinearOperator:
    """`matrix` with some of its eigenvalues moved to -1, the other end."""
    return LinearOperator(
        matrix.shape, matvec=lambda x: matrix @ x - vectors @ ((values + 1) * (vectors.T @ x)), dtype=np.float64
    )


def diffusion_map(matrix: sparse.csr_array, n_vectors: int, *, steps: int, seed: int) -> Floats:
    """Coordinates of samples in which those are near that a random walk on the graph takes to the same places.

    Eigenvectors of the normalized graph times their eigenvalue to the power `steps`, each row then of unit length: with
    `steps` 0 the rows of Ng, Jordan and Weiss, "On Spectral Clustering", NeurIPS 2001
    (https://papers.nips.cc/paper/2092-on-spectral-clustering-analysis-and-an-algorithm); with more the diffusion map of
    Coifman and Lafon, "Diffusion maps", 2006 (https://doi.org/10.1016/j.acha.2006.04.006), up to a factor a row, in
    which vectors count the less, the less they say of the graph at large.

    Args:
        matrix: The normalized graph, (n_samples, n_samples).
        n_vectors: Eigenvectors, at most n_samples.
        steps: Steps of the walk.
        seed: Of the solver's start.

    Returns:
        Shape (n_samples, n_vectors); rows of length 1, or 0 for a sample in a part that no vector reaches.
    """
    values, vectors = leading_eigenvectors(matrix, n_vectors, seed=seed)
    return unit_rows(vectors * values.clip(0, 1) ** steps)


def unit_rows(rows: Floats) -> Floats:
    """Rows divided by their length; rows of zeros stay. The first columns of a diffusion map, so, are a map as well."""
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > math.sqrt(_TINY))
    return unit
