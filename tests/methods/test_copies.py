"""Equal rows, and rows that are few or lie in few dimensions."""

import numpy as np
import pytest
import torch
from conftest import make_blobs

from headclust.errors import HeadclustError
from headclust.features import Features
from headclust.methods import METHODS, Recipe
from headclust.model import ClusterModel
from headclust.training.stages import Stage

DIVIDING = ("spectral", "gmm", "ward", "leiden", "hdbscan", "umap-kmeans")
SHORT = {
    "consensus": {"n_heads": 2, "temi.length": 5, "tries": 1},
    "scan": {"self_label.length": 1},
    "hdbscan": {"n_neighbors": 2},
}
SLOW = {"scan", "clc", "pmi", "wmi", "temi-scan", "turtle"}
ANY = [pytest.param(method, marks=pytest.mark.slow) if method in SLOW else method for method in METHODS]


def fit(features, method, n_clusters, **changes):
    recipe = Recipe.of(method, settings=SHORT.get(method, {})).changed({"n_clusters": n_clusters, **changes})
    if isinstance(recipe.stages[0], Stage):
        recipe = recipe.changed({"n_heads": 2, "length": 6, "warmup": 1})
    return recipe.fit([Features.from_array(features)], 0)


def assert_equal_rows_share_clusters(features, clusters):
    _, group = np.unique(features, axis=0, return_inverse=True)
    for number in range(group.max() + 1):
        assert len(set(clusters[group.reshape(-1) == number].tolist())) == 1


def assert_predicts_the_fit(features, result):
    model = ClusterModel.from_tensors(result.model.tensors())
    assert model.assign(torch.from_numpy(features)).clusters.tolist() == result.assignments.tolist()
    rows = [model.assign(torch.from_numpy(features[[row]])).clusters[0] for row in range(len(features))]
    assert rows == result.assignments.tolist()


@pytest.mark.parametrize("method", ANY)
@pytest.mark.parametrize("n_clusters", [3, 10])
def test_no_more_different_rows_than_clusters(blobs, method, n_clusters, capfd):
    features = np.repeat(blobs.features[:3], 20, axis=0)
    result = fit(features, method, n_clusters)
    assert result.assignments.tolist() == sorted(result.assignments.tolist())
    assert len(set(result.assignments.tolist())) == 3
    assert result.head_assignments.shape[1] == len(result.confidence) == 60
    assert "warning: 3 of 60 rows differ" in capfd.readouterr().err
    assert_predicts_the_fit(features, result)


@pytest.mark.parametrize("method", ANY)
def test_equal_rows_have_equal_clusters(blobs, method):
    features = blobs.features[np.arange(130) % 50]
    result = fit(features, method, 4)
    assert_equal_rows_share_clusters(features, result.assignments)
    assert_predicts_the_fit(features, result)


@pytest.mark.parametrize("method", ["consensus", "spectral", "ward", "temi", "imc-swav"])
def test_copies_do_not_cut_the_graph(method, capfd):
    features, _ = make_blobs(60)
    once = fit(features, method, 4)
    assert "copies" not in capfd.readouterr().err
    many = fit(np.repeat(features, 12, axis=0), method, 4)
    assert many.assignments[::12].tolist() == once.assignments.tolist()
    assert "660 of 720 rows are copies of others: the 60 different rows are fitted" in capfd.readouterr().err


def test_copies_weigh_in_kmeans():
    points = np.array([[0.0], [1.0], [10.0]], dtype=np.float32)[[0] * 9 + [1, 2]]
    result = fit(points, "kmeans", 2, normalize="none")
    assert result.model.heads.centroids[0].min() == pytest.approx(0.1)


def test_copies_with_other_views_are_copies(write):
    from headclust import load_features

    plain = np.repeat(make_blobs(20).features, 2, axis=0)
    views = plain[None] + np.random.default_rng(0).normal(size=(2, *plain.shape)).astype(np.float32)
    space = load_features(write("views.h5", plain, views=views))
    result = Recipe.of("imc-swav").changed({"n_clusters": 4, "n_heads": 2, "length": 3}).fit([space], 0)
    assert result.assignments[::2].tolist() == result.assignments[1::2].tolist()
    picked = space.select(np.array([4, 0]))
    assert picked.sample_ids == (space.sample_ids[4], space.sample_ids[0])
    assert torch.equal(picked.rows([0], view=1), space.rows([4], view=1))
    assert picked.sha256 not in (space.sha256, space.select(np.array([0, 4])).sha256)


@pytest.mark.parametrize("method", DIVIDING)
@pytest.mark.parametrize("dim", [2, 3, 40])
def test_fitted_rows_keep_their_cluster(method, dim):
    features = np.random.default_rng(1).normal(size=(300, dim)).astype(np.float32)
    result = fit(features, method, 15)
    if method != "hdbscan":  # which decides on the number of clusters itself
        assert len(set(result.assignments.tolist())) == 15
    # What the method divided is what the model stores.
    heads = result.model.heads
    nearest = torch.cdist(result.model.transforms[0](torch.from_numpy(features)), heads.features[0].float()).min(1)
    stored = heads.assignments[result.model.used_heads[0], nearest.indices].numpy()
    partitioned = nearest.values.numpy() < 1e-2
    assert partitioned.mean() > 0.1
    assert result.assignments[partitioned].tolist() == stored[partitioned].tolist()
    assert_predicts_the_fit(features, result)


SMALL = {
    "one dimension": (np.linspace(-2, 3, 40, dtype=np.float32)[:, None], 3),
    "one direction": (np.linspace(1, 3, 40, dtype=np.float32)[:, None] * np.ones(5, np.float32), 3),
    "constant columns": (np.hstack([make_blobs(40).features, np.ones((40, 3), np.float32)]), 4),
    "fewer rows than columns": (np.random.default_rng(0).normal(size=(5, 60)).astype(np.float32), 2),
    "as many clusters as rows": (make_blobs(9).features, 9),
    "one cluster": (make_blobs(30).features, 1),
    "two rows": (make_blobs(2).features, 2),
    "one row": (make_blobs(1).features, 1),
    "all equal": (np.ones((12, 4), np.float32), 3),
    "all zero": (np.zeros((12, 4), np.float32), 3),
    "zero rows": (np.vstack([make_blobs(30).features, np.zeros((3, 12), np.float32)]), 4),
    "lattice": (np.stack(np.meshgrid(range(5), range(5)), -1).reshape(-1, 2).astype(np.float32), 4),
}


@pytest.mark.parametrize("method", ANY)
@pytest.mark.parametrize("case", SMALL)
def test_small_and_degenerate_features_are_fitted_or_refused_in_one_line(method, case):
    features, n_clusters = SMALL[case]
    try:
        result = fit(features, method, n_clusters)
    except HeadclustError as error:
        lines = str(error).splitlines()
        if len(lines) != 1:
            pytest.fail(str(error))
        return
    assert np.isfinite(result.confidence).all()
    assert result.assignments.shape == (len(features),)
    assert_equal_rows_share_clusters(features, result.assignments)
    assert_predicts_the_fit(features, result)
