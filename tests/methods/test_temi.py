from dataclasses import replace

import numpy as np
import pytest
import torch

from headclust.errors import SettingError
from headclust.features import Features
from headclust.graph.neighbors import nearest_neighbors
from headclust.methods import METHODS, PRESETS, Recipe, kmeans
from headclust.methods.settings import change_settings
from headclust.model import fit_transform
from headclust.runs.scored_fit import fit_and_score
from headclust.scoring.metrics import accuracy
from headclust.training.sampling import Samples
from headclust.training.train import train_stage

RELATIVES = ("wmi", "pmi", "temi-scan")  # TEMI's recipe with another objective


@pytest.fixture
def fit(quick):
    def fit_temi(features, n_clusters=4, *, seed=0, labels=None, method="temi", preset="ours", **changes):
        recipe = change_settings(PRESETS[method][preset], {"n_clusters": n_clusters, **quick, **changes})
        return METHODS[method]((Features.from_array(features, labels=labels),), recipe, seed)

    return fit_temi


def test_a_few_lines_over_the_training_loop(fit, blobs, quick):
    result = fit(blobs.features, n_neighbors=7)
    (stage,) = change_settings(PRESETS["temi"]["ours"], {"n_clusters": 4, "n_neighbors": 7, **quick})
    features = torch.tensor(blobs.features)
    transform = fit_transform(features, "pca", n_components=256)
    trained = train_stage(stage, Samples((transform(features),), nearest_neighbors(features, 7).indices), seed=0)
    assert result.losses == trained.losses
    assert result.history == trained.history
    assert result.model.temperature == trained.temperature == 0.1
    for name, tensor in trained.heads.state_dict().items():
        assert torch.equal(tensor, result.model.heads.state_dict()[name])
    clusters = trained.heads(transform(features)[None]).logits[0].argmax(-1)
    assert np.array_equal(result.head_assignments, clusters.numpy())


def test_the_head_with_the_lowest_last_loss_speaks(fit, blobs):
    result = fit(blobs.features, n_heads=5, seed=1)
    assert result.model.used_heads[0] > 0  # not just the first
    assert result.losses == result.history[-1]["loss"]
    assert result.model.used_heads[0] == int(np.argmin(result.losses))
    assert np.array_equal(result.assignments, result.head_assignments[result.model.used_heads[0]])


def test_confidence_is_the_chosen_heads_probability(fit, blobs):
    result = fit(blobs.features)
    probs = result.model.probs(torch.tensor(blobs.features))[result.model.used_heads[0]]
    np.testing.assert_array_equal(result.confidence, probs.max(-1).values.numpy())
    assert ((result.confidence >= 0.25) & (result.confidence <= 1 + 1e-6)).all()


@pytest.mark.usefixtures("two_threads")
def test_repeatable_to_the_bit(fit, blobs):
    first, second, other = (fit(blobs.features, seed=seed) for seed in (4, 4, 5))
    for name, tensor in first.model.tensors().items():
        assert torch.equal(tensor, second.model.tensors()[name])
    assert first.history == second.history
    assert first.history != other.history


def test_labels_change_nothing(fit, blobs):
    with_labels, without = fit(blobs.features, labels=blobs.labels), fit(blobs.features)
    assert with_labels.history == without.history


@pytest.mark.parametrize("preset", ["ours", "authors"])
@pytest.mark.parametrize("n_samples", [2, 3, 12])
def test_fewer_images_than_neighbors_or_a_batch(fit, blobs, preset, n_samples):
    # The default number of neighbors is cut to what there is.
    result = fit(blobs.features[:n_samples], 2, preset=preset, length=3)
    assert result.head_assignments.shape == (3, n_samples)
    assert np.isfinite(result.losses).all()


def test_a_single_cluster(fit, blobs):
    result = fit(blobs.features, 1)
    assert set(result.assignments.tolist()) == {0}
    assert result.confidence.tolist() == [1.0] * 120


def test_duplicates_and_zero_rows(fit, blobs):
    features = np.repeat(blobs.features[:40], 3, axis=0)
    features[::7] = 0
    result = fit(features)
    assert np.isfinite(result.losses).all()
    assert np.isfinite(result.confidence).all()


@pytest.mark.parametrize("method", ["temi", *RELATIVES])
def test_blobs_are_found_as_well_as_by_kmeans(fit, blobs, method):
    result = fit(blobs.features, method=method, n_heads=4, length=150, warmup=15, n_neighbors=10)
    (lloyd,) = change_settings(kmeans.PRESETS["ours"], {"n_clusters": 4})
    baseline = METHODS["kmeans"]((Features.from_array(blobs.features),), (lloyd,), 0)
    found = accuracy(result.assignments, blobs.labels)
    assert found >= accuracy(baseline.assignments, blobs.labels) - 0.01
    assert found > 0.95


def test_the_authors_preset_is_their_readme_command():
    # HHU-MMBS/TEMI-official-BMVC2023 at c6a81a6: README.md, and main_args.py for what the command leaves out.
    command = {
        "batch_size": 1024,
        "teacher_momentum": 0.996,  # max_momentum_teacher is the default of momentum_teacher, so it is constant
        "lr": 1e-4,
        "final_lr": 1.0,  # min_lr is lr
        "warmup": 20,
        "length": 100,
        "n_neighbors": 50,
        "n_heads": 16,
        "beta": 0.6,
    }
    defaults = {
        "unit": "epochs",
        "freeze_last_layer": 1,
        "optimizer": "adamw",
        "weight_decay": 1e-4,
        "beta1": 0.9,  # torch's
        "hidden_dim": 512,
        "bottleneck_dim": 256,
        "teacher_temperature": 0.1,  # warmup_teacher_temp is the same
        "transform": "none",  # neither embed_norm nor l2_norm
    }
    code = {
        "lr_batch": 256,  # train_main.py: lr * batch_size / 256
        "decay": "cosine",
        "student_temperature": 0.1,  # losses/mi.py
        "marginal_momentum": 0.9,  # losses/multihead_losses.py
        "reduction": "mean",
        "head": "mlp",
        "neighbor_list": "others",  # gen_embeds.py, up to 80,000 samples
        "neighbor_search": "exact",
    }
    no_counterpart = {"n_clusters": 0, "n_components": 256, "augment": False, "max_seconds": 0.0, "checkpoint_every": 0}
    expected = {**command, **defaults, **code, **no_counterpart}
    assert Recipe.of("temi", "authors").values == expected
    # losses/mi.py: WMI and PMI have the same arguments; SCAN has neither beta nor a marginal, and alpha=5.
    assert Recipe.of("wmi", "authors").values == Recipe.of("pmi", "authors").values == expected
    del expected["beta"], expected["marginal_momentum"]
    assert Recipe.of("temi-scan", "authors").values == {**expected, "entropy_weight": 5.0}


@pytest.mark.parametrize("preset", ["ours", "authors"])
@pytest.mark.parametrize("method", RELATIVES)
def test_relatives_differ_in_the_objective_alone(method, preset):
    (stage,), (temi,) = PRESETS[method][preset], PRESETS["temi"][preset]
    assert stage.objective == method
    assert replace(stage, objective="temi") == temi
    assert list(PRESETS[method]) == list(PRESETS["temi"])


def test_a_wmi_head_trains_as_it_would_alone_and_a_temi_head_does_not(fit, blobs):
    for method, alike in (("wmi", True), ("pmi", True), ("temi-scan", True), ("temi", False)):
        alone, together = (fit(blobs.features, method=method, n_heads=n, length=20, lr=1e-3) for n in (1, 3))
        assert (together.losses[0] == pytest.approx(alone.losses[0], rel=1e-3)) == alike, method


@pytest.mark.parametrize("n_clusters", [20, 60])
def test_more_clusters_than_classes(quick, blobs, n_clusters):
    changes = {"n_clusters": n_clusters, "beta": 1.0, **quick, "length": 200, "n_neighbors": 5}
    features = Features.from_array(blobs.features, labels=blobs.labels)
    report = fit_and_score((features,), Recipe.of("temi").changed(changes), 0).report
    assert report["clusters_used"] > 4
    # Every cluster counts as its majority class where classes are fewer; one to one, most clusters are left over.
    assert report["accuracy_majority"] > 0.95
    assert report["accuracy"] < report["accuracy_majority"]


def test_one_space_only(blobs):
    features, recipe = Features.from_array(blobs.features), PRESETS["temi"]["ours"]
    with pytest.raises(SettingError, match="takes one feature file: found 2"):
        METHODS["temi"]((features, features), change_settings(recipe, {"n_clusters": 4}), 0)
