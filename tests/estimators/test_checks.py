"""scikit-learn's own checks of an estimator. None is excluded; the one of array libraries skips itself, as they are not
switched on (SCIPY_ARRAY_API)."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from headclust import HeadClustering

QUICK = {
    "kmeans": {"n_heads": 2},
    "default": {"n_heads": 3, "settings": {"pairs.length": 10, "tries": 1}},
    # check_clustering needs cluster 0 used, of 50 samples and noise: with a lower rate only a long fit gets there.
    "temi": {"n_heads": 4, "settings": {"length": 25, "warmup": 2, "lr": 1e-3, "hidden_dim": 32, "bottleneck_dim": 16}},
    "spectral": {"n_heads": 2},
}
ESTIMATORS = [HeadClustering(method=method, device="cpu", **settings) for method, settings in QUICK.items()]


# Clusters without samples and a cluster of nearly all are told of; several checks fit what has no clusters.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ESTIMATORS)
def test_what_scikit_learn_expects_of_an_estimator(estimator, check):
    check(estimator)
