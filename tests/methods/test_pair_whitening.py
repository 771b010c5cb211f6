import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from headclust.methods.consensus.pair_whitening import scatter, whiten_within
from headclust.model import FeatureTransform, fit_transform


def pairs(n_pairs=2000, dim=5, seed=0):
    """Pairs around points of their own that differ far more in the first direction than in the others."""
    generator = np.random.default_rng(seed)
    middle, spread = generator.normal(size=(n_pairs, dim)), np.array([6.0, *[0.5] * (dim - 1)])
    one, other = (torch.tensor(middle + spread * generator.normal(size=(n_pairs, dim))).float() for _ in range(2))
    return one, other


PLAIN = FeatureTransform(matrix=torch.eye(5))


def test_scatter_is_the_covariance_within_a_pair():
    one, other = pairs()
    both = np.stack((one.double().numpy(), other.double().numpy()))
    centered = both - both.mean(0)
    expected = np.einsum("pni,pnj->ij", centered, centered) / len(one)  # n - 1 is one, of two
    np.testing.assert_allclose(scatter([one - other]).numpy(), expected, rtol=1e-5)
    assert scatter([one - other]).dtype == torch.float64


def test_scatter_takes_blocks_of_any_size():
    one, other = pairs()
    blocks = scatter(iter(torch.split(one - other, [1, 500, 1499])))
    torch.testing.assert_close(blocks, scatter([one - other]), rtol=1e-12, atol=0)


def test_scatter_does_not_see_which_of_a_pair_is_first():
    one, other = pairs()
    assert torch.equal(scatter([one - other]), scatter([other - one]))


@pytest.mark.parametrize("shrinkage", [1e-6, 0.1, 0.5, 1.0])
def test_whitening_is_the_inverse_root_of_the_shrunk_covariance(shrinkage):
    one, other = pairs()
    within = scatter([one - other])
    transform = fit_transform(torch.cat((one, other)), "pca", n_components=3)
    within_components = transform.matrix.double().T @ within @ transform.matrix.double()
    found = whiten_within(transform, within_components, shrinkage=shrinkage)
    covariance = within_components.numpy()
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 3 * np.eye(3)
    expected = transform.matrix.double().numpy() @ np.linalg.inv(sqrtm(shrunk).real)
    np.testing.assert_allclose(found.matrix.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert (found.l2, found.unit) == (True, True)
    assert torch.equal(found.mean, transform.mean)


def test_afterwards_pairs_differ_alike_in_all_directions():
    one, other = pairs()
    matrix = whiten_within(PLAIN, scatter([one - other]), shrinkage=1e-6).matrix
    np.testing.assert_allclose(scatter([(one - other) @ matrix]).numpy(), np.eye(5), atol=1e-3)


def test_shrinkage_keeps_a_direction_without_differences_in_bounds():
    one, other = pairs()
    other[:, 4] = one[:, 4]
    within = scatter([one - other])
    for shrinkage in (0.01, 0.1, 1.0):
        stretched = torch.linalg.svdvals(whiten_within(PLAIN, within, shrinkage=shrinkage).matrix.double())
        level = float(within.trace()) / 5
        assert float(stretched.max()) <= (shrinkage * level) ** -0.5 * 1.001
        assert float(stretched.min()) > 0
    # With nothing but the identity, whitening changes no angle.
    np.testing.assert_allclose(stretched / stretched[0], 1, rtol=1e-5)


def test_rows_have_length_one_and_the_scale_does_not_matter():
    one, other = pairs()
    found = whiten_within(PLAIN, scatter([one - other]), shrinkage=0.1)(one)
    np.testing.assert_allclose(found.norm(dim=1).numpy(), 1, rtol=1e-5)
    larger = whiten_within(PLAIN, scatter([64 * (one - other)]), shrinkage=0.1)(one)
    torch.testing.assert_close(larger, found, rtol=1e-4, atol=1e-5)


def test_what_pairs_differ_in_counts_less():
    one, other = pairs()
    whitened = whiten_within(PLAIN, scatter([one - other]), shrinkage=0.1)

    def partners_are_nearer(transform):
        """How often a sample is nearer to its other half than to that of the next pair."""
        rows, others = transform(one), transform(other)
        return float(((rows * others).sum(1) > (rows * others.roll(1, 0)).sum(1)).float().mean())

    assert partners_are_nearer(FeatureTransform(unit=True)) < 0.7
    assert partners_are_nearer(whitened) > 0.8


@pytest.mark.parametrize("blocks", [[], [torch.zeros(7, 5)]])
def test_copies_leave_the_directions_as_they_are(blocks):
    within = scatter(blocks) if blocks else torch.zeros(5, 5).double()
    found = whiten_within(PLAIN, within, shrinkage=0.1)
    assert torch.equal(found.matrix, torch.eye(5))
    assert found.unit


@pytest.mark.usefixtures("two_threads")
def test_whitening_is_repeatable_to_the_bit():
    one, other = pairs()
    first, second = (whiten_within(PLAIN, scatter([one - other]), shrinkage=0.1).matrix for _ in range(2))
    assert torch.equal(first, second)
    assert first.is_contiguous()
    assert first.dtype == torch.float32
