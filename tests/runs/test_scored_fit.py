import numpy as np
import pytest
import torch

from headclust.features import Features
from headclust.methods import METHODS, FitResult, Recipe
from headclust.model import Assignment, ClusterModel
from headclust.runs.scored_fit import assign, fit_and_score
from headclust.scoring import metrics


@pytest.fixture
def space(blobs):
    return Features.from_array(blobs.features, labels=blobs.labels)


@pytest.fixture
def recipe():
    return Recipe.of("kmeans").changed({"n_heads": 2})


def test_a_scored_fit_is_the_fit_and_its_scores(space, recipe, blobs):
    fitted = fit_and_score([space], recipe, 3, tests=[space])
    alone = recipe.changed({"n_clusters": 4}).fit([space], 3)
    assert np.array_equal(fitted.result.assignments, alone.assignments)
    assert fitted.report["accuracy"] == metrics.accuracy(alone.assignments, blobs.labels)
    assert np.array_equal(fitted.test.clusters, alone.assignments)
    expected = {name: value for name, value in fitted.report.items() if name not in ("seconds", "eval")}
    assert {name: value for name, value in fitted.report["eval"].items() if name != "seconds"} == expected


def test_without_labels_there_are_no_scores(recipe, blobs):
    fitted = fit_and_score([Features.from_array(blobs.features)], recipe.changed({"n_clusters": 3}), 0)
    assert fitted.report["n_clusters"] == 3
    assert fitted.test is None
    assert not {"accuracy", "nmi", "ami", "ari", "eval"} & set(fitted.report)


def test_a_method_never_sees_labels(space, recipe, monkeypatch):
    seen = []

    def method(spaces, recipe, seed, *, device=None) -> FitResult:
        seen.extend((space.labels, space.class_names) for space in spaces)
        return kmeans(spaces, recipe, seed, device=device)

    kmeans = METHODS["kmeans"]
    monkeypatch.setitem(METHODS, "kmeans", method)
    fit_and_score([space], recipe, 0)
    assert seen == [(None, ())]


def test_a_model_of_two_spaces_is_given_both(space, recipe):
    class Both:
        used_heads, n_clusters, device = (0,), 2, torch.device("cpu")

        def to(self, device):
            return self

        def assign(self, *spaces):
            assert len(spaces) == 2
            clusters = (spaces[0].all()[:, 0] > spaces[1].all()[:, 1]).long().numpy()
            return Assignment(clusters, np.ones(len(clusters), np.float32), clusters[None])

    model: ClusterModel = Both()
    assert assign(model, [space, space]).report["n_samples"] == 120
