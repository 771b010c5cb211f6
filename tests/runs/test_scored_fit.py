import numpy as np
import pytest

from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import METHODS, PRESETS, FitResult, configure
from headclust.model import Assignment, ClusterModel
from headclust.runs.scored_fit import assign, check_neighbors, fit_and_score, with_clusters
from headclust.scoring import metrics


@pytest.fixture
def space(blobs):
    return Features.from_array(blobs.features, labels=blobs.labels)


@pytest.fixture
def recipe():
    return configure(PRESETS["kmeans"]["ours"], {"n_heads": 2})


def test_a_trial_is_the_fit_and_its_scores(space, recipe, blobs):
    trial = fit_and_score([space], "kmeans", recipe, 3, tests=[space])
    alone = METHODS["kmeans"]((space,), configure(recipe, {"n_clusters": 4}), 3)
    assert np.array_equal(trial.result.assignments, alone.assignments)
    assert trial.report["accuracy"] == metrics.accuracy(alone.assignments, blobs.labels)
    assert np.array_equal(trial.test.clusters, alone.assignments)
    wanted = {name: value for name, value in trial.report.items() if name not in ("seconds", "eval")}
    assert {name: value for name, value in trial.report["eval"].items() if name != "seconds"} == wanted


def test_without_labels_there_are_no_scores(recipe, blobs):
    trial = fit_and_score([Features.from_array(blobs.features)], "kmeans", configure(recipe, {"n_clusters": 3}), 0)
    assert trial.report["n_clusters"] == 3
    assert trial.test is None
    assert not {"accuracy", "nmi", "ami", "ari", "eval"} & set(trial.report)


def test_a_method_never_sees_labels(space, recipe, monkeypatch):
    seen = []

    def method(spaces, recipe, seed, *, device=None) -> FitResult:
        seen.extend((space.labels, space.class_names) for space in spaces)
        return kmeans(spaces, recipe, seed, device=device)

    kmeans = METHODS["kmeans"]
    monkeypatch.setitem(METHODS, "kmeans", method)
    fit_and_score([space], "kmeans", recipe, 0)
    assert seen == [(None, ())]


def test_clusters_are_the_labelled_classes_unless_said(space, blobs):
    recipe = PRESETS["kmeans"]["ours"]
    assert with_clusters(recipe, space)[0].n_clusters == 4
    assert with_clusters(configure(recipe, {"n_clusters": 7}), space)[0].n_clusters == 7
    with pytest.raises(SettingError, match="no labels to count classes by"):
        with_clusters(recipe, Features.from_array(blobs.features))
    with pytest.raises(SettingError, match="121 clusters asked of 120 samples"):
        with_clusters(configure(recipe, {"n_clusters": 121}), space)


def test_neighbors_asked_for_are_not_cut(space):
    check_neighbors({"n_neighbors": 119, "self_label.n_neighbors": "5"}, space)
    for name in ("n_neighbors", "self_label.n_neighbors"):
        with pytest.raises(SettingError, match=f"^{name} is 120, of 120 samples: wanted at most 119"):
            check_neighbors({name: "120"}, space)


def test_a_model_of_two_spaces_is_given_both(space, recipe):
    class Both:
        used_heads, n_clusters = (0,), 2

        def assign(self, *spaces):
            assert len(spaces) == 2
            clusters = (spaces[0][:, 0] > spaces[1][:, 1]).long().numpy()
            return Assignment(clusters, np.ones(len(clusters), np.float32), clusters[None])

    model: ClusterModel = Both()
    assert assign(model, [space, space]).report["n_samples"] == 120
