"""Equal rows, and rows that are few or lie in few dimensions."""

import numpy as np
import pytest
import torch
from conftest import make_blobs, unit, varied
from sklearn.datasets import load_digits

from headclust.errors import HeadclustError
from headclust.features import Features
from headclust.graph import bursts
from headclust.methods import METHODS, Recipe
from headclust.model import ClusterModel
from headclust.scoring.metrics import accuracy
from headclust.training.stages import Stage

DIVIDING = ("spectral", "gmm", "ward", "leiden", "hdbscan", "umap-kmeans")
SHORT = {
    "consensus": {"n_heads": 2, "pairs.length": 5, "tries": 1},
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


@pytest.mark.parametrize("times", [2, 12])
@pytest.mark.parametrize("method", ["consensus", "spectral", "leiden", "hdbscan", "ward", "temi", "umap-kmeans"])
def test_slight_variants_do_not_cut_the_graph(method, times, capfd):
    features, _ = make_blobs(60, dim=30)
    once = fit(unit(features).astype(np.float32), method, 4)
    assert "variants" not in capfd.readouterr().err
    many = fit(varied(features, times), method, 4)
    assert many.assignments.tolist() == np.repeat(once.assignments, times).tolist()
    assert many.confidence.tolist() == np.repeat(once.confidence, times).tolist()
    assert many.head_assignments.shape == (once.head_assignments.shape[0], 60 * times)
    line = f"{60 * times - 60} of {60 * times} rows are slight variants of others: the 60 different rows are fitted"
    assert capfd.readouterr().err.count(line) == 1


@pytest.mark.parametrize("method", ["consensus", "spectral"])
def test_a_hundred_digits_are_clustered_as_well_with_twelve_variants_of_each(method):
    digits, labels = load_digits(return_X_y=True)
    rows = np.random.default_rng(0).choice(len(digits), 100, replace=False)
    once = fit(digits[rows].astype(np.float32), method, 10, **({"n_heads": 5} if method == "consensus" else {}))
    many = fit(varied(digits[rows], 12), method, 10, **({"n_heads": 5} if method == "consensus" else {}))
    scores = [accuracy(labels[rows], clusters) for clusters in (once.assignments, many.assignments[::12])]
    assert scores[1] >= scores[0] - 0.02
    assert scores[0] > 0.5


def test_copies_and_slight_variants_are_told_in_one_line(capfd):
    result = fit(np.repeat(varied(make_blobs(60).features, 3), 2, axis=0), "spectral", 4)
    assert (result.assignments.reshape(60, 6) == result.assignments[::6, None]).all()
    line = "300 of 360 rows are copies or slight variants of others: the 60 different rows are fitted"
    assert f"{line}, and copies and slight variants get the same cluster." in capfd.readouterr().err


@pytest.mark.parametrize(("method", "preset"), [("kmeans", "ours"), ("gmm", "ours"), ("temi", "authors")])
def test_every_variant_counts(method, preset, monkeypatch):
    monkeypatch.setattr(bursts, "find_bursts", lambda *_, **__: pytest.fail("a search for variants"))
    changes = {"n_clusters": 4} | ({"n_heads": 2, "length": 1, "warmup": 0} if method == "temi" else {})
    space = Features.from_array(varied(make_blobs(60).features, 12))
    assert len(Recipe.of(method, preset).changed(changes).fit([space], 0).assignments) == 720


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
