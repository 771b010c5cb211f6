import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans, kmeans_plusplus

from headclust.group import ALONE
from headclust.methods import lloyd
from headclust.methods.lloyd import restarts


def run(points, n_clusters, *, n_heads=1, seed=0, max_iter=300, tolerance=1e-5, spherical=False):
    return restarts(
        torch.as_tensor(points, dtype=torch.float32),
        n_clusters,
        n_heads=n_heads,
        max_iter=max_iter,
        tolerance=tolerance,
        seed=seed,
        spherical=spherical,
    )


@pytest.fixture(scope="module")
def points():
    generator = np.random.default_rng(3)
    return generator.normal(size=(40, 8))[generator.integers(0, 40, 2_000)] + 0.4 * generator.normal(size=(2_000, 8))


def test_seeds_are_as_good_as_those_of_scikit_learn(points):
    def spread(seeds):
        return np.square(points[:, None] - np.asarray(seeds)[None]).sum(-1).min(1).sum()

    rows = torch.from_numpy(points).float()
    ours = lloyd._seeds(rows, 40, [torch.Generator().manual_seed(seed) for seed in range(10)])
    reference = [kmeans_plusplus(points, 40, random_state=seed)[0] for seed in range(10)]
    assert np.mean([spread(seeds) for seeds in ours]) == pytest.approx(
        np.mean([spread(s) for s in reference]), rel=0.05
    )
    assert all((rows == seed).all(1).any() for seed in ours[0])


def test_many_points_are_seeded_from_a_part_and_moved_by_all(points, monkeypatch):
    monkeypatch.setattr(lloyd, "_SEEDED", 200)
    monkeypatch.setattr(lloyd, "_SEEDED_PER_CLUSTER", 5)
    result = min(run(points, 40, n_heads=5), key=lambda restart: restart.inertia)
    assert result.assignments.shape == (2_000,)
    assert result.inertia == pytest.approx(KMeans(40, n_init=5, random_state=0).fit(points).inertia_, rel=0.05)


def test_centroids_are_the_means_of_their_points_and_the_nearest(points):
    for result in run(points, 40, n_heads=2, tolerance=0):
        means = [points[result.assignments == cluster].mean(0) for cluster in range(40)]
        np.testing.assert_allclose(result.centroids, means, atol=1e-5)
        distances = np.square(points[:, None] - result.centroids.numpy()[None]).sum(-1)
        assert (distances.argmin(1) == result.assignments).all()
        assert result.inertia == pytest.approx(distances.min(1).sum(), rel=1e-5)


@pytest.mark.parametrize("scores", [1, 1_000, 1 << 23])
def test_blocks_change_nothing(points, monkeypatch, scores):
    expected = run(points[:300], 7, n_heads=2)
    monkeypatch.setattr(lloyd, "_SCORES", scores)
    for result, other in zip(run(points[:300], 7, n_heads=2), expected, strict=True):
        assert np.array_equal(result.assignments, other.assignments)


def test_a_cluster_without_points_takes_the_furthest_point():
    rows = torch.tensor([[0.0], [0.1], [5.0], [5.1], [40.0]])
    # The third centroid is nearest to no point.
    result = lloyd._lloyd(rows, torch.tensor([[[0.0], [5.0], [1_000.0]]]), 10, 0.0, False, ALONE)[0]
    assert result.assignments.tolist() == [0, 0, 1, 1, 2]


def test_a_restart_is_the_same_among_others(points):
    alone, many = run(points, 12), run(points, 12, n_heads=3)
    assert np.array_equal(alone[0].assignments, many[0].assignments)


def test_no_iteration_more_than_allowed(points):
    few, many = run(points, 40, max_iter=1), run(points, 40)
    assert few[0].inertia > many[0].inertia


def test_spherical_centroids_have_unit_length(points):
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    (result,) = run(unit, 10, spherical=True)
    np.testing.assert_allclose(np.linalg.norm(result.centroids, axis=1), 1, atol=1e-6)


@pytest.mark.usefixtures("two_threads")
def test_two_threads_repeat_to_the_bit(points):
    first, second = (run(points, 12, n_heads=2) for _ in range(2))
    assert all(torch.equal(one.centroids, other.centroids) for one, other in zip(first, second, strict=True))
