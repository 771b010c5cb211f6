"""A Gaussian mixture: each cluster has its own covariance; k-means assumes the same for all.

Dempster, Laird and Rubin, "Maximum Likelihood from Incomplete Data via the EM Algorithm", JRSS B 1977
(https://doi.org/10.1111/j.2517-6161.1977.tb01600.x). Computed by scikit-learn.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from headclust.errors import FINITE, SettingError, check_choices, check_ranges, one_line
from headclust.features import Features
from headclust.methods.neighbor_vote import conclude_partition
from headclust.methods.result import FitResult, check_fit
from headclust.progress import bar
from headclust.seeding import RESTART_STREAM, stream_seed

if TYPE_CHECKING:
    import torch
    from sklearn.mixture import GaussianMixture

_COVARIANCES = ("full", "tied", "diag", "spherical")
_VOTES, _TEMPERATURE = 10, 0.1  # as in spectral clustering


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """The one stage of a Gaussian mixture's recipe. Every field is a setting.

    Args:
        n_clusters: Number of clusters; 0 stands for the number of labeled classes.
        n_heads: Restarts; the one with the highest likelihood is used.
        n_components: Principal components of the unit features that are clustered, and stored for votes on new samples.
        covariance: Kind of the clusters' covariances: full, tied (full, one for all), diag or spherical.
        ridge: Added to each variance, in units of the components' mean variance.
        max_iter: Largest number of iterations per restart.
        tolerance: Gain in mean log-likelihood below which a restart stops.

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    n_heads: int = 5
    n_components: int = 64
    covariance: str = "diag"
    ridge: float = 1e-3
    max_iter: int = 200
    tolerance: float = 1e-3

    counts_copies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choices(self, {"covariance": _COVARIANCES})
        least = {"n_clusters": 0, "n_heads": 1, "n_components": 1, "ridge": 0, "max_iter": 1, "tolerance": 0}
        check_ranges(self, {name: (low, FINITE) for name, low in least.items()})


PRESETS: dict[str, tuple[Mixture, ...]] = {"ours": (Mixture(),)}


def fit(
    spaces: tuple[Features, ...], stages: tuple[Mixture, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """A Gaussian mixture on principal components, from k-means starts. Neighbors vote on new samples.

    Args:
        spaces: Exactly one feature space.
        stages: One stage, its n_clusters resolved.
        seed: The fit's seed; restart r draws from its own stream.
        device: Where to search for neighbors; the CPU by default.

    Raises:
        SettingError: More than one space, a number of clusters that is not possible, or a covariance that collapses.
        DataError: A single sample.
    """
    from sklearn.mixture import GaussianMixture

    from headclust.model import fit_transform

    check_fit(spaces, stages, at_least=2)
    (space,), (stage,) = spaces, stages
    points = fit_transform(space, "pca", n_components=stage.n_components).rows(space).double().numpy()
    assignments, losses = [], []
    with bar("mixtures", stage.n_heads) as advance:
        for restart in range(stage.n_heads):
            mixture = GaussianMixture(
                stage.n_clusters,
                covariance_type=stage.covariance,
                tol=stage.tolerance,
                reg_covar=stage.ridge,  # pca scales the components to a mean variance of 1
                max_iter=stage.max_iter,
                random_state=stream_seed(seed, RESTART_STREAM, restart) % 2**31,
            )
            assignments.append(_fit_predict(mixture, points))
            losses.append(-float(mixture.score(points)))
            advance(1)
    return conclude_partition(
        space,
        assignments,
        rows=np.arange(space.n_samples),
        n_clusters=stage.n_clusters,
        n_votes=_VOTES,
        temperature=_TEMPERATURE,
        n_components=stage.n_components,
        losses=losses,
        history=[{"restart": restart, "log_likelihood": -loss} for restart, loss in enumerate(losses)],
        device=device,
    )


def _fit_predict(mixture: GaussianMixture, points: NDArray[np.float64]) -> NDArray[np.int64]:
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    try:
        # One thread: the sums of its k-means start depend on the order in which threads finish.
        with warnings.catch_warnings(), threadpool_limits(1, user_api="openmp"):
            warnings.simplefilter("ignore", ConvergenceWarning)  # max_iter is a setting, and samples may be copies
            return np.asarray(mixture.fit_predict(points), dtype=np.int64)
    except ValueError as error:
        raise SettingError(
            f"the mixture cannot be fitted ({one_line(error)}): raise ridge, lower n_components, or take covariance "
            "diag."
        ) from None
