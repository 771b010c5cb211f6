"""The neighbor graph as a sparse matrix: affinity, connected components, leading eigenvectors and diffusion map."""

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
_DENSE = 600  # samples up to which the dense solver is faster than the sparse one
_DENSE_AT_MOST = 5_000
_TINY = float(np.finfo(np.float64).tiny)
# Error allowed in an eigenvalue, and the smallest gain that counts as a missed eigenvalue; all lie in [-1, 1].
_ACCURACY, _NOTICED = 1e-8, 1e-5


def affinity(graph: NeighborGraph, *, temperature: float) -> sparse.csr_array:
    """Symmetric weights between neighbors, float64 (n_samples, n_samples), with a zero diagonal.

    Two samples are connected if either is a neighbor of the other (the union), with weight
    exp((cosine similarity - 1) / temperature): on unit rows the Gaussian kernel whose variance is the temperature.

    Args:
        graph: Nearest neighbors.
        temperature: Decrease in similarity at which a weight falls to 1/e; a large one gives all neighbors the same
            weight.
    """
    n_samples, k = graph.indices.shape
    # w_ij = exp((s_ij - 1) / t), (n_samples, k). Rounding can give s_ij > 1, and a weight above 1 with a small t.
    similarities = graph.similarities.double().clamp(max=1).numpy()
    weights = np.exp((similarities - 1) / temperature)
    # The (n_samples, k) table is already a CSR matrix: every row has k entries, so row i starts at i * k.
    starts = np.arange(0, n_samples * k + 1, k)
    directed = sparse.csr_array((weights.ravel(), graph.indices.numpy().ravel(), starts), shape=(n_samples, n_samples))
    # Union of both directions: an edge of one direction meets a zero in the other, and weights are positive.
    return directed.maximum(directed.T).tocsr()


def normalized(weights: sparse.csr_array) -> sparse.csr_array:
    """Normalized affinity D^-1/2 W D^-1/2 with D the row sums: the identity minus the normalized graph Laplacian.

    Its eigenvalues lie in [-1, 1]; 1 occurs once per connected component with edges. Rows of zeros stay zero.
    """
    # Degrees d_i = sum_j w_ij, (n_samples,); d^-1/2 is 0 for samples without edges.
    degrees = np.asarray(weights.sum(axis=1)).ravel()
    scale = np.divide(1, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    # w_ij / sqrt(d_i d_j): rows first, then columns.
    return sparse.csr_array(weights.multiply(scale[:, None]).multiply(scale))


def parts(weights: sparse.csr_array) -> NDArray[np.int64]:
    """Connected component of each sample, int64 (n_samples,), numbered by size: component 0 is the largest."""
    _, labels = sparse.csgraph.connected_components(weights, directed=False)
    # rank[label] is the position of the component by descending size; ties: the first.
    order = np.argsort(-np.bincount(labels), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.asarray(rank[labels], dtype=np.int64)


def large_parts(
    weights: sparse.csr_array, n_clusters: int, *, smallest: float, advice: str = "Raise n_neighbors."
) -> NDArray[np.int64]:
    """Rows of the samples in connected components that are large enough to be clusters.

    All rows, if these components hold fewer than half of the samples, or fewer samples than clusters. A warning is
    printed if there are more such components than clusters.

    Args:
        weights: A graph, (n_samples, n_samples).
        n_clusters: Number of clusters.
        smallest: Smallest size of a component, as a share of n_samples / n_clusters, in [0, 1].
        advice: Next step in the warning.
    """
    part = parts(weights)
    sizes = np.bincount(part)
    # An even cluster has n_samples / n_clusters samples.
    large = sizes >= smallest * len(part) / n_clusters
    if sizes[large].sum() < max(len(part) / 2, n_clusters):
        large[:] = True
    if large.sum() > n_clusters > 1:
        note(
            f"warning: the neighbor graph has {large.sum()} connected components, more than the {n_clusters} clusters: "
            f"it does not determine which of them belong together. {advice}"
        )
    return np.flatnonzero(large[part])


def leading_eigenvectors(matrix: sparse.csr_array, count: int, *, seed: int) -> tuple[Floats, Floats]:
    """The largest eigenvalues of a symmetric matrix with eigenvalues in [-1, 1], descending, and their eigenvectors.

    Small matrices are solved densely, others by ARPACK from start vectors drawn from `seed`. ARPACK can miss copies of
    a repeated eigenvalue, such as 1 in a graph of several connected components. So the known eigenvalues are
    moved to -1 and the largest remaining one is computed, until it is no larger than the smallest of the known ones.

    Args:
        matrix: Shape (n, n).
        count: Number of eigenvectors, 1 to n.
        seed: Seed of the start vectors.

    Returns:
        Values (count,) and vectors (n, count).

    Raises:
        SettingError: The solver did not converge.
    """
    n = matrix.shape[0]
    if _is_dense(n, count):
        # LAPACK gives eigenvalues in ascending order: the last `count`, reversed.
        values, vectors = scipy.linalg.eigh(matrix.toarray(), subset_by_index=(n - count, n - 1))
        return values[::-1], np.ascontiguousarray(vectors[:, ::-1])
    generator = np.random.default_rng(seed)
    values, vectors = _solve(matrix, count, generator, _ACCURACY)
    while True:
        # The largest eigenvalue orthogonal to the known vectors.
        deflated = _deflated(matrix, values, vectors)
        (missed,), vector = _solve(deflated, 1, generator, _NOTICED)
        if missed <= values[-1] + _NOTICED:
            return values, vectors
        # ARPACK missed it: it replaces the smallest known one.
        values, vectors = np.append(values[:-1], missed), np.column_stack((vectors[:, :-1], vector))
        order = np.argsort(-values, kind="stable")
        values, vectors = values[order], vectors[:, order]


def eigenvector_bytes(n: int, count: int) -> int:
    """Largest memory that `diffusion_map` takes besides the matrix, in bytes.

    The sparse solver holds its Lanczos vectors, three more and the eigenvectors, in float64; the dense one the matrix
    twice.

    Args:
        n: Samples.
        count: Eigenvectors.
    """
    if _is_dense(n, count):
        return 2 * 8 * n * n
    return 8 * n * (_lanczos_vectors(n, count) + 3 + count)


def _is_dense(n: int, count: int) -> bool:
    """True if the dense solver is used."""
    return n <= _DENSE or (n <= _DENSE_AT_MOST and count > n // 8) or count >= n - 1


def _lanczos_vectors(n: int, count: int) -> int:
    """More than SciPy's default: eigenvalues of neighbor graphs are close together."""
    return min(n, max(2 * count + 1, 40))


def _solve(matrix: Any, count: int, generator: np.random.Generator, tolerance: float) -> tuple[Floats, Floats]:
    """ARPACK's largest eigenvalues (count,), descending, and their vectors (n, count)."""
    n = matrix.shape[0]
    start = generator.uniform(-1, 1, n)
    try:
        ncv = _lanczos_vectors(n, count)
        values, vectors = eigsh(matrix, count, which="LA", v0=start, ncv=ncv, tol=tolerance)
    except ArpackNoConvergence:
        raise SettingError(
            f"{count} eigenvectors of the neighbor graph did not converge: raise n_neighbors or temperature."
        ) from None
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[:, order]


def _deflated(matrix: sparse.csr_array, values: Floats, vectors: Floats) -> LinearOperator:
    """`matrix` with the given eigenvalues moved to -1, the other end of the spectrum: M - V diag(values + 1) V'."""
    return LinearOperator(
        matrix.shape, matvec=lambda x: matrix @ x - vectors @ ((values + 1) * (vectors.T @ x)), dtype=np.float64
    )


def diffusion_map(matrix: sparse.csr_array, n_vectors: int, *, steps: int, seed: int) -> Floats:
    """Coordinates in which samples are near each other if random walks on the graph from both reach the same samples.

    Eigenvectors of the normalized affinity times their eigenvalue to the power `steps`, each row then scaled to unit
    length. With `steps` 0 these are the rows of Ng, Jordan and Weiss, "On Spectral Clustering", NeurIPS 2001
    (https://papers.nips.cc/paper/2092-on-spectral-clustering-analysis-and-an-algorithm); with more, the diffusion map
    of Coifman and Lafon, "Diffusion maps", 2006 (https://doi.org/10.1016/j.acha.2006.04.006), up to one factor per
    row. The smaller an eigenvalue, the less its vector counts: it describes a smaller region of the graph.

    Args:
        matrix: The normalized affinity, (n_samples, n_samples).
        n_vectors: Eigenvectors, at most n_samples.
        steps: Steps of the walk.
        seed: Seed of the solver's start vectors.

    Returns:
        Shape (n_samples, n_vectors); rows of length 1, or 0 for a sample that no eigenvector reaches.
    """
    values, vectors = leading_eigenvectors(matrix, n_vectors, seed=seed)
    # Psi = V Lambda^t, (n_samples, n_vectors). Negative eigenvalues describe alternation, not clusters: set to 0.
    return unit_rows(vectors * values.clip(0, 1) ** steps)


def unit_rows(rows: Floats) -> Floats:
    """Rows divided by their length; rows of zeros stay zero.

    So the first columns of a diffusion map, divided again, are the map with fewer vectors.
    """
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    # A length below sqrt(tiny) is zero up to rounding: its square is not a normal float64.
    unit: Floats = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > math.sqrt(_TINY))
    return unit
