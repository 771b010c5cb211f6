"""Leiden: communities of the neighbor graph by modularity, at the resolution that gives n_clusters of them.

Paper: Traag, Waltman and van Eck, "From Louvain to Leiden: guaranteeing well-connected communities", Scientific Reports
2019 (https://arxiv.org/abs/1810.08473). Author code, which is used: https://github.com/vtraag/leidenalg.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from headclust.choices import NeighborSearch
from headclust.errors import FINITE, SettingError, check_choices, check_ranges
from headclust.features import Features
from headclust.methods.gradient import usable_neighbors
from headclust.methods.neighbor_vote import conclude_partition
from headclust.methods.result import FitResult, check_fit
from headclust.progress import bar, note
from headclust.seeding import RESTART_STREAM, stream_seed

if TYPE_CHECKING:
    import torch
    from scipy import sparse

_LOWEST, _HIGHEST = 1e-4, 1e4  # resolutions


@dataclass(frozen=True, kw_only=True)
class Communities:
    """The one stage of a Leiden recipe. Every field is a setting.

    Args:
        n_clusters: Number of clusters; 0 stands for the number of labeled classes.
        n_neighbors: Nearest neighbors per sample in the graph, at most n_samples - 1; the same number votes on a
            new sample.
        neighbor_search: Way to find neighbors: exact; ivf (lists by k-means) or cuvs (CUDA, if installed), which are
            approximate; or auto: exact up to 300,000 samples on a CPU and 3,000,000 on CUDA, approximate above.
        temperature: Decrease in cosine similarity over which the weight of an edge falls to 1/e, at least 0.001; a
            large value weighs all edges alike.
        n_components: Principal components of the fitted features that the model stores for votes on new samples.
        iterations: Iterations of the algorithm at each resolution.
        trials: Largest number of resolutions that are tried.

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    n_neighbors: int = 10
    neighbor_search: str = "auto"
    temperature: float = 0.1
    n_components: int = 256
    iterations: int = 2
    trials: int = 24

    def __post_init__(self) -> None:
        check_choices(self, {"neighbor_search": get_args(NeighborSearch)})
        least = {"n_clusters": 0, "temperature": 0.001}
        check_ranges(self, {name: (least.get(name, 1), FINITE) for name in vars(self) if name != "neighbor_search"})


PRESETS: dict[str, tuple[Communities, ...]] = {"ours": (Communities(),)}


def fit(
    spaces: tuple[Features, ...], stages: tuple[Communities, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Communities of the neighbor graph that `spectral` cuts.

    If no resolution gives n_clusters, the nearest number is used, with a line on stderr: of more communities, the
    largest are used and neighbors vote on the samples of the others; with fewer, some clusters stay empty.

    Args:
        spaces: Exactly one feature space.
        stages: One stage, its n_clusters resolved.
        seed: The fit's seed.
        device: Where to search for neighbors; the CPU by default.

    Raises:
        SettingError: More than one space, a number of clusters that is not possible, or leidenalg is not installed.
        DataError: A single sample, which has no neighbors.
    """
    from headclust.graph.cached import cached_neighbors
    from headclust.graph.matrix import affinity

    check_fit(spaces, stages, at_least=2)
    (space,), (stage,) = spaces, stages
    n_neighbors = usable_neighbors(stage.n_neighbors, space.n_samples, stage.n_clusters)
    neighbors = cached_neighbors(space, n_neighbors, search=stage.neighbor_search, device=device)
    weights = affinity(neighbors, temperature=stage.temperature)
    start = stream_seed(seed, RESTART_STREAM) % 2**31
    communities = _search(_finder(weights, stage.iterations, start), stage.n_clusters, stage.trials)
    n_found = int(communities.max()) + 1
    if n_found != stage.n_clusters:
        fate = "the neighbors vote on the smallest" if n_found > stage.n_clusters else "the rest stay empty"
        note(f"warning: no resolution tried gives {stage.n_clusters} communities, the nearest {n_found}: {fate}.")
    rows = np.flatnonzero(communities < stage.n_clusters)  # numbered by size
    return conclude_partition(
        space,
        [communities[rows]],
        rows=rows,
        n_clusters=stage.n_clusters,
        n_votes=n_neighbors,
        temperature=stage.temperature,
        n_components=stage.n_components,
        losses=[float(abs(n_found - stage.n_clusters))],  # the search minimizes it
        graph=neighbors,
        history=[*neighbors.history, {"communities": n_found}],
        device=device,
    )


def _finder(weights: sparse.csr_array, iterations: int, seed: int) -> Callable[[float], NDArray[np.int64]]:
    """A function from a resolution to the community of each sample, numbered by size, int64 (n_samples,)."""
    from scipy import sparse

    try:
        import igraph
        import leidenalg
    except ImportError as error:
        raise SettingError(
            f'leiden needs {error.name}, which is not installed: pip install "headclust[graph]".'
        ) from None
    upper = sparse.triu(weights).tocoo()
    # igraph reads an int64 array without a Python object per number; leidenalg takes a list of weights only.
    edges = np.column_stack((upper.row, upper.col)).astype(np.int64, copy=False)
    graph, edge_weights = igraph.Graph(n=weights.shape[0], edges=edges), upper.data.tolist()

    def communities(resolution: float) -> NDArray[np.int64]:
        partition = leidenalg.find_partition(
            graph,
            leidenalg.RBConfigurationVertexPartition,
            weights=edge_weights,
            resolution_parameter=resolution,
            n_iterations=iterations,
            seed=seed,
        )
        return np.asarray(partition.membership, dtype=np.int64)

    return communities


def _search(find: Callable[[float], NDArray[np.int64]], n_clusters: int, trials: int) -> NDArray[np.int64]:
    """The communities whose number is nearest to `n_clusters`, by bisection of the logarithm of the resolution."""
    low, high = _LOWEST, _HIGHEST
    best: NDArray[np.int64] | None = None
    with bar("trying resolutions", trials) as advance:
        for _ in range(trials):
            middle = np.sqrt(low * high)
            communities = find(float(middle))
            excess = int(communities.max()) + 1 - n_clusters
            advance(1)
            if best is None or abs(excess) < abs(int(best.max()) + 1 - n_clusters):
                best = communities
            if excess == 0:
                break
            low, high = (middle, high) if excess < 0 else (low, middle)
    assert best is not None
    return best
