import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from headclust.features import Features
from headclust.methods.consensus import pair_whitening
from headclust.methods.consensus.pair_whitening import scatter, whiten_within
from headclust.model import FeatureTransform, fit_transform


def pairs(n_pairs=2000, dim=5, seed=0):
    """Pairs around points of their own that differ far more in the first direction than in the others."""
    generator = np.random.default_rng(seed)
    middle, spread = generator.normal(size=(n_pairs, dim)), np.array([6.0, *[0.5] * (dim - 1)])
    first, second = (torch.tensor(middle + spread * generator.normal(size=(n_pairs, dim))).float() for _ in range(2))
    return first, second


PLAIN = FeatureTransform(matrix=torch.eye(5))


def test_scatter_is_the_covariance_within_a_pair():
    first, second = pairs()
    both = np.stack((first.double().numpy(), second.double().numpy()))
    centered = both - both.mean(0)
    expected = np.einsum("pni,pnj->ij", centered, centered) / len(first)  # two samples per pair: n - 1 = 1
    np.testing.assert_allclose(scatter([first - second]).numpy(), expected, rtol=1e-5)
    assert scatter([first - second]).dtype == torch.float64


def test_scatter_takes_blocks_of_any_size():
    first, second = pairs()
    blocks = scatter(iter(torch.split(first - second, [1, 500, 1499])))
    torch.testing.assert_close(blocks, scatter([first - second]), rtol=1e-12, atol=0)


def test_scatter_does_not_see_which_of_a_pair_is_first():
    first, second = pairs()
    assert torch.equal(scatter([first - second]), scatter([second - first]))


@pytest.mark.parametrize("shrinkage", [1e-6, 0.1, 0.5, 1.0])
def test_whitening_is_the_inverse_root_of_the_shrunk_covariance(shrinkage):
    first, second = pairs()
    within = scatter([first - second])
    transform = fit_transform(torch.cat((first, second)), "pca", n_components=3)
    within_components = transform.matrix.double().T @ within @ transform.matrix.double()
    actual = whiten_within(transform, within_components, shrinkage=shrinkage)
    covariance = within_components.numpy()
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 3 * np.eye(3)
    expected = transform.matrix.double().numpy() @ np.linalg.inv(sqrtm(shrunk).real)
    np.testing.assert_allclose(actual.matrix.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert (actual.l2, actual.unit) == (True, True)
    assert torch.equal(actual.mean, transform.mean)


def test_afterwards_pairs_differ_alike_in_all_directions():
    first, second = pairs()
    matrix = whiten_within(PLAIN, scatter([first - second]), shrinkage=1e-6).matrix
    np.testing.assert_allclose(scatter([(first - second) @ matrix]).numpy(), np.eye(5), atol=1e-3)


def test_shrinkage_keeps_a_direction_without_differences_in_bounds():
    first, second = pairs()
    second[:, 4] = first[:, 4]
    within = scatter([first - second])
    for shrinkage in (0.01, 0.1, 1.0):
        stretched = torch.linalg.svdvals(whiten_within(PLAIN, within, shrinkage=shrinkage).matrix.double())
        level = float(within.trace()) / 5
        assert float(stretched.max()) <= (shrinkage * level) ** -0.5 * 1.001
        assert float(stretched.min()) > 0
    # With nothing but the identity, whitening changes no angle.
    np.testing.assert_allclose(stretched / stretched[0], 1, rtol=1e-5)


def test_rows_have_length_one_and_the_scale_does_not_matter():
    first, second = pairs()
    actual = whiten_within(PLAIN, scatter([first - second]), shrinkage=0.1)(first)
    np.testing.assert_allclose(actual.norm(dim=1).numpy(), 1, rtol=1e-5)
    larger = whiten_within(PLAIN, scatter([64 * (first - second)]), shrinkage=0.1)(first)
    torch.testing.assert_close(larger, actual, rtol=1e-4, atol=1e-5)


def test_directions_in_which_pairs_differ_count_less():
    first, second = pairs()
    whitened = whiten_within(PLAIN, scatter([first - second]), shrinkage=0.1)

    def partners_are_nearer(transform):
        """Share of samples that are nearer to their own partner than to that of the next pair."""
        rows, others = transform(first), transform(second)
        return float(((rows * others).sum(1) > (rows * others.roll(1, 0)).sum(1)).float().mean())

    assert partners_are_nearer(FeatureTransform(unit=True)) < 0.7
    assert partners_are_nearer(whitened) > 0.8


@pytest.mark.parametrize("blocks", [[], [torch.zeros(7, 5)]])
def test_copies_leave_the_directions_as_they_are(blocks):
    within = scatter(blocks) if blocks else torch.zeros(5, 5).double()
    actual = whiten_within(PLAIN, within, shrinkage=0.1)
    assert torch.equal(actual.matrix, torch.eye(5))
    assert actual.unit


@pytest.mark.usefixtures("two_threads")
def test_whitening_is_repeatable_to_the_bit():
    first, second = pairs()
    once, again = (whiten_within(PLAIN, scatter([first - second]), shrinkage=0.1).matrix for _ in range(2))
    assert torch.equal(once, again)
    assert once.is_contiguous()
    assert once.dtype == torch.float32


def test_neighbors_of_some_samples_of_every_part_of_the_file_stand_for_those_of_all(monkeypatch):
    # 20 clusters, stretched in other directions from the start to the end of the file: neglecting a part changes all.
    generator = np.random.default_rng(0)
    centers = 9 * generator.normal(size=(20, 6))
    spread = np.where(np.eye(6, dtype=bool)[np.arange(20) * 6 // 20], 1.0, 0.01)
    stretched = np.repeat(centers, 50, 0) + np.repeat(spread, 50, 0) * generator.normal(size=(1000, 6))
    rows = torch.tensor(np.hstack([stretched, np.full((1000, 1), 300)])).float()  # near by cosine and by distance
    every = scatter(pair_whitening._differences([rows], 5))
    monkeypatch.setattr(pair_whitening, "_PAIRED", 600)
    some = scatter(pair_whitening._differences([rows], 5))
    # Three neighbors among 600 samples are about as near as five among 1,000.
    assert sum(len(block) for block in pair_whitening._differences([rows], 5)) == 600 * 3
    # The scale of the covariance does not change the whitening.
    some, every = some / some.trace(), every / every.trace()
    assert float((some - every).norm() / every.norm()) < 0.2


def test_neighbors_beyond_a_small_group_count_no_more_than_those_within():
    # Eight samples have three of ten neighbors in another group, which is 30 deviations away.
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(608, 6))
    rows[:8, 0] -= 30
    rows[8:308, 1] -= 30
    rows[308:, 1] += 30
    within = scatter(pair_whitening._differences([torch.tensor(rows).float()], 10))
    assert within[0, 0] < 1.5 * within.diagonal()[2:].mean()


def test_the_mean_moves_to_that_of_clear_clusters_and_stays_where_there_are_none():
    generator = np.random.default_rng(0)
    plain = fit_transform(features := Features.from_array(generator.normal(size=(300, 6)).astype(np.float32)), "pca")
    same = pair_whitening.cluster_mean(plain, features, 4, torch.device("cpu"))
    torch.testing.assert_close(same, plain.mean, rtol=0, atol=0.02)
    labels = np.repeat([0, 1, 2], (300, 20, 10))
    rows = (20 * np.eye(6)[labels] + generator.normal(size=(330, 6))).astype(np.float32)
    transform = fit_transform(features := Features.from_array(rows), "pca")
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.mean([unit[labels == label].mean(0) for label in range(3)], axis=0)
    moved = pair_whitening.cluster_mean(transform, features, 3, torch.device("cpu"))
    np.testing.assert_allclose(moved.numpy(), expected, atol=0.01)
