import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_score

from headclust.errors import DataError, SettingError
from headclust.features import Features
from headclust.methods import METHODS, PRESETS, Recipe
from headclust.methods.settings import change_settings, list_settings
from headclust.methods.turtle import generalization
from headclust.model import ClusterModel, fit_transform
from headclust.scoring.metrics import accuracy
from headclust.training.sampling import Samples
from headclust.training.train import train_stage

QUICK = {"n_heads": 3, "batch_size": 64, "length": 20}


def second_space(blobs, dim=5):
    """Another view of the blobs: a fixed projection of their features."""
    return blobs.features @ np.random.default_rng(3).normal(size=(12, dim)).astype(np.float32)


def fit(*spaces, n_clusters=4, seed=0, labels=None, preset="ours", **changes):
    recipe = change_settings(PRESETS["turtle"][preset], {"n_clusters": n_clusters, **QUICK, **changes})
    return METHODS["turtle"](tuple(Features.from_array(space, labels=labels) for space in spaces), recipe, seed)


def test_a_few_lines_over_the_training_loop(blobs):
    spaces = blobs.features, second_space(blobs)
    result = fit(*spaces)
    (stage,) = change_settings(PRESETS["turtle"]["ours"], {"n_clusters": 4, **QUICK})
    tensors = [torch.tensor(space) for space in spaces]
    inputs = tuple(fit_transform(x, "pca", n_components=stage.n_components)(x) for x in tensors)
    trained = train_stage(stage, Samples(inputs), seed=0)
    assert result.losses == trained.losses
    assert result.history == trained.history
    assert {"loss", "prediction_error", "share_entropy"} <= set(result.history[0])
    of_space = [torch.softmax(logits[0], -1) for logits in trained.heads(*(x[None] for x in inputs)).space_logits]
    probs = torch.stack(of_space).mean(0)
    assert np.array_equal(result.head_assignments, probs.argmax(-1).numpy())
    np.testing.assert_allclose(result.confidence, probs[result.model.used_heads[0]].max(-1).values.numpy(), rtol=1e-5)
    assert result.model.used_heads[0] == int(np.argmin(result.losses))


def test_a_saved_model_of_two_spaces_says_the_same(blobs):
    spaces = blobs.features, second_space(blobs)
    result = fit(*spaces)
    again = ClusterModel.from_tensors(result.model.tensors())
    _, confidence, clusters = again.assign(*map(torch.tensor, spaces))
    assert np.array_equal(clusters, result.head_assignments)
    assert np.array_equal(confidence, result.confidence)


def test_the_best_generalization_score_speaks(blobs):
    spaces = blobs.features, second_space(blobs)
    by_loss, by_score = fit(*spaces), fit(*spaces, choose_by="generalization")
    assert np.array_equal(by_loss.head_assignments, by_score.head_assignments)
    scores = by_score.history[-1]["generalization"]
    assert len(scores) == 3
    assert by_score.model.used_heads[0] == int(np.argmax(scores))
    assert by_score.history[:-1] == by_loss.history
    probs = by_score.model.probs(*map(torch.tensor, spaces))[by_score.model.used_heads[0]]
    np.testing.assert_array_equal(by_score.confidence, probs.max(-1).values.numpy())


def test_the_score_tells_noise_from_what_can_be_learned(blobs):
    fitted = fit(blobs.features, lr=0.01, length=60)
    noise = np.random.default_rng(0).permuted(fitted.head_assignments[0])
    scores = generalization([blobs.features], np.stack([noise, fitted.head_assignments[fitted.model.used_heads[0]]]))
    assert scores[0] < 0.5
    assert scores[1] > 0.9


@pytest.mark.parametrize("n_clusters", [2, 5])
def test_the_score_is_scikit_learns_cross_validation(n_clusters):
    generator = np.random.default_rng(0)
    spaces = [generator.normal(size=(80, dim)).astype(np.float32) for dim in (6, 3)]
    clusters = np.stack([x[:, :n_clusters].argmax(1) for x in (spaces[0], np.roll(spaces[0], 1, axis=0))])
    expected = [
        np.mean([cross_val_score(LogisticRegression(max_iter=1000), x, row, cv=KFold(10)).mean() for x in spaces])
        for row in clusters
    ]
    np.testing.assert_allclose(generalization(spaces, clusters), expected, atol=0.01)


def test_the_score_of_a_single_cluster_and_of_a_rare_one():
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    rare = np.zeros(30, dtype=np.int64)
    rare[0] = 1  # the fold that holds it learns of one cluster only
    assert generalization([x], np.stack([np.zeros_like(rare), rare])) == [1.0, pytest.approx(1 - 1 / 30, abs=0.01)]
    assert generalization([x[:2]], np.array([[0, 1]])) == [0.0]


def test_the_score_is_measured_on_at_most_so_many_samples(blobs, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "headclust.methods.turtle.generalization",
        lambda spaces, clusters: seen.append((spaces[0].shape, clusters.shape)) or [0.0, 1.0, 0.5],
    )
    result = fit(blobs.features, choose_by="generalization", score_samples=50)
    fit(blobs.features, choose_by="generalization", preset="authors")
    assert seen == [((50, 12), (3, 50)), ((120, 12), (3, 120))]
    assert result.model.used_heads[0] == 1


@pytest.mark.usefixtures("two_threads")
def test_repeatable_to_the_bit(blobs):
    first, second, other = (fit(blobs.features, seed=seed, choose_by="generalization") for seed in (4, 4, 5))
    for name, tensor in first.model.tensors().items():
        assert torch.equal(tensor, second.model.tensors()[name])
    assert first.history == second.history
    assert first.history != other.history


def test_labels_change_nothing(blobs):
    with_labels, without = fit(blobs.features, labels=blobs.labels), fit(blobs.features)
    assert with_labels.history == without.history


@pytest.mark.parametrize("preset", ["ours", "authors"])
@pytest.mark.parametrize("n_samples", [2, 12])
def test_fewer_samples_than_a_batch_or_folds(blobs, preset, n_samples):
    result = fit(blobs.features[:n_samples], n_clusters=2, preset=preset, length=3, choose_by="generalization")
    assert result.head_assignments.shape == (3, n_samples)
    assert np.isfinite(result.losses).all()


def test_a_single_cluster(blobs):
    result = fit(blobs.features, n_clusters=1, choose_by="generalization")
    assert set(result.assignments.tolist()) == {0}
    assert result.history[-1]["generalization"] == [1.0] * 3


def test_duplicates_and_zero_rows(blobs):
    features = np.repeat(blobs.features[:40], 3, axis=0)
    features[::7] = 0
    result = fit(features)
    assert np.isfinite(result.losses).all()
    assert np.isfinite(result.confidence).all()


@pytest.mark.parametrize("n_spaces", [1, 2])
def test_blobs_are_found(blobs, n_spaces):
    spaces = (blobs.features, second_space(blobs))[:n_spaces]
    result = fit(*spaces, lr=0.01, length=60)
    assert accuracy(result.assignments, blobs.labels) > 0.95


def test_refusals(blobs):
    for name, value in (("choose_by", "labels"), ("head", "mlp"), ("score_samples", 0), ("gamma", -1.0)):
        with pytest.raises(SettingError, match=name):
            fit(blobs.features, **{name: value})
    with pytest.raises(DataError, match="at least 2"):
        fit(blobs.features[:1], n_clusters=1)
    with pytest.raises(SettingError, match="n_clusters"):
        fit(blobs.features, n_clusters=0)


def test_settings_are_those_it_uses():
    names = {setting.name for setting in list_settings(PRESETS["turtle"]["ours"])}
    assert {"gamma", "inner_steps", "inner_lr", "warm_start", "choose_by", "score_samples", "n_heads"} <= names
    assert not {"n_neighbors", "teacher_momentum", "augment", "patience"} & names


def test_the_authors_preset_is_their_argument_parsers_defaults():
    # mlbio-epfl/turtle at 4674efa: run_turtle.py.
    defaults = {
        "gamma": 10.0,
        "length": 6000,  # T
        "inner_lr": 1e-3,
        "lr": 1e-3,  # outer_lr
        "batch_size": 10_000,
        "warm_start": False,
        "inner_steps": 10,  # M
    }
    code = {
        "head": "task",
        "n_heads": 1,
        "transform": "none",
        "optimizer": "adam",
        "beta1": 0.9,
        "weight_decay": 0.0,  # torch's
        "unit": "steps",
        "warmup": 0,
        "final_lr": 1.0,
        "score_samples": 10**9,  # the score is computed on all samples
    }
    ours = {"freeze_last_layer": 0, "lr_batch": 0, "reduction": "sum", "choose_by": "loss"}
    unused = {"n_clusters": 0, "n_components": 256, "decay": "cosine", "max_seconds": 0.0, "checkpoint_every": 0}
    assert Recipe.of("turtle", "authors").values == {**defaults, **code, **ours, **unused}
