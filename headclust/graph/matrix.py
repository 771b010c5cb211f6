"""The neighbor graph as a sparse matrix: affinity, connected components and diffusion map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from headclust.features.rows import unit_length
from headclust.graph.neighbors import NeighborGraph
from headclust.progress import note


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


def diffusion_map(values: Tensor, vectors: Tensor, *, steps: int) -> Tensor:
    """Coordinates in which samples are near each other if random walks on the graph from both reach the same samples.

    Eigenvectors of the normalized affinity times their eigenvalue to the power `steps`, each row then scaled to unit
    length. With `steps` 0 these are the rows of Ng, Jordan and Weiss, "On Spectral Clustering", NeurIPS 2001
    (https://papers.nips.cc/paper/2092-on-spectral-clustering-analysis-and-an-algorithm); with more, the diffusion map
    of Coifman and Lafon, "Diffusion maps", 2006 (https://doi.org/10.1016/j.acha.2006.04.006), up to one factor per
    row. The smaller an eigenvalue, the less its vector counts: it describes a smaller region of the graph.

    Args:
        values: Eigenvalues (n_vectors,).
        vectors: Eigenvectors (n_samples, n_vectors).
        steps: Steps of the walk.

    Returns:
        Shape (n_samples, n_vectors); rows of length 1, or 0 for a sample that no eigenvector reaches. The first
        columns, at unit length again, are the map of fewer vectors.
    """
    # Psi = V Lambda^t, (n_samples, n_vectors). Negative eigenvalues describe alternation, not clusters: set to 0.
    return unit_length(vectors * (values.clamp(0, 1) ** steps).to(vectors))
