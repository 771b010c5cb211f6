import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from headclust.model import FeatureTransform, fit_transform


def features(n=60, dim=5):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(1)) + torch.arange(dim)


def pairwise(rows):
    distances = torch.pdist(rows.double())
    return distances / distances.max()


@pytest.mark.parametrize("exponent", [-140, -100, -40, 40, 100, 124])
def test_none_keeps_distances_up_to_one_factor(exponent):
    extreme = torch.ldexp(features(), torch.tensor(exponent))
    rows = fit_transform(extreme, "none")(extreme)
    assert 0.5 <= rows.abs().max() < 1
    tolerance = 1e-5 if exponent > -130 else 0.05
    np.testing.assert_allclose(pairwise(rows), pairwise(features()), atol=tolerance)


def test_none_keeps_the_scales_of_columns():
    x = features()
    x[:, 0], x[:, 1], x[:, 2] = x[:, 0] * 2.0**100, 3e38, x[:, 2] * 2.0**95
    rows = fit_transform(x, "none")(x)
    ratio = rows[:, 2].std() / rows[:, 0].std()
    assert ratio.item() == pytest.approx((x[:, 2].double().std() / x[:, 0].double().std()).item(), rel=1e-4)
    assert rows[:, 1].tolist() == [0] * 60


@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e8])
def test_ordinary_features_have_no_power(scale):
    for kind in ("none", "l2", "standardize", "pca"):
        assert fit_transform(features() * scale, kind, n_components=2).power is None
    assert fit_transform(features() * scale, "none") == FeatureTransform()


def test_standardize_is_scikit_learns_for_columns_of_any_scale():
    x = features()
    expected = StandardScaler().fit_transform(x.double().numpy())
    powers = torch.tensor([-120, -40, 0, 60, 120])
    extreme = torch.ldexp(x, powers)
    np.testing.assert_allclose(fit_transform(extreme, "standardize")(extreme), expected, atol=1e-4)
    extreme[:, 3] = 1e30
    assert fit_transform(extreme, "standardize")(extreme)[:, 3].tolist() == [0] * 60


def test_standardizing_scaled_columns_gives_the_same_digits():
    x = features()
    extreme = x * 2.0**40
    assert torch.equal(fit_transform(extreme, "standardize")(extreme), fit_transform(x, "standardize")(x))


@pytest.mark.parametrize("exponent", [-100, 100])
def test_pca_gives_the_same_digits_at_any_scale(exponent):
    x = features()
    extreme = torch.ldexp(x, torch.tensor(exponent))
    expected = fit_transform(x, "pca", n_components=3)(x)
    assert torch.equal(fit_transform(extreme, "pca", n_components=3)(extreme), expected)
