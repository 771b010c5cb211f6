"""Every recipe on a device that does not exist: nothing is computed elsewhere, and results are those of the CPU.

A tensor that is created on the CPU anywhere in a fit stops it; see fake_device.py for what is not covered.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_blobs
from fake_device import FakeDevice

from headclust import load_features, write_features
from headclust.features import Features
from headclust.graph.eigenvectors import leading_eigenvectors
from headclust.graph.matrix import affinity, normalized
from headclust.graph.neighbors import nearest_neighbors
from headclust.methods import METHODS, PRESETS, Recipe
from headclust.model.heads import LinearHeads
from headclust.model.transform import TRANSFORMS, fit_transform

RECIPES = [(method, preset) for method in METHODS for preset in PRESETS[method]]
TRAINED = [(method, "ours") for method in ("consensus", "temi", "temi-scan", "scan", "imc-swav", "clc", "turtle")]
_SMALL = {
    "n_heads": 2,
    "n_clusters": 4,
    "n_neighbors": 4,
    "tries": 2,
    "unit": "steps",
    "length": 2,
    "warmup": 1,
    "batch_size": 16,
    "checkpoint_every": 1,
    "hidden_dim": 8,
    "second_dim": 6,
    "bottleneck_dim": 5,
}


def recipe(method: str, preset: str, **changes) -> Recipe:
    """A small recipe; settings are changed in every stage that has them."""
    small, names = _SMALL | changes, [setting.name for setting in Recipe.of(method, preset).settings]
    values = {name: small[name.rpartition(".")[2]] for name in names if name.rpartition(".")[2] in small}
    return Recipe.of(method, preset).changed(values)


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Features:
    """60 rows with two views, of no file: a neighbor list would be cached beside it."""
    rows = make_blobs(60).features
    views = rows + 0.3 * np.random.default_rng(1).normal(size=(2, *rows.shape)).astype(np.float32)
    path = tmp_path_factory.mktemp("gpu") / "x.h5"
    write_features(path, rows, views=views, sample_ids=list(map(str, range(60))), dataset="blobs", backbone="gauss")
    return replace(load_features(path), path=None)


def assert_equal(result, expected):
    for name in ("assignments", "confidence", "head_assignments"):
        assert np.array_equal(getattr(result, name), getattr(expected, name)), name
    assert result.losses == expected.losses
    tensors, others = result.model.tensors(), expected.model.tensors()
    assert all(torch.equal(tensors[name], others[name]) for name in others)


@pytest.mark.parametrize(("method", "preset"), RECIPES)
def test_a_recipe_gives_on_a_device_what_it_gives_on_the_cpu(method, preset, features):
    chosen = recipe(method, preset)
    expected = chosen.fit([features], 0)
    with FakeDevice() as fake:
        result = chosen.fit([features], 0, device=torch.device("cuda"))
        # Prediction on the device, from a copy: the result stays on the CPU.
        assigned = result.model.to(fake.device).assign(features)
    assert_equal(result, expected)
    assert result.model.device == torch.device("cpu")
    assert np.array_equal(assigned.clusters, expected.assignments)
    assert len(result.checkpoints) == len(expected.checkpoints)
    for (step, model), (other_step, other) in zip(result.checkpoints, expected.checkpoints, strict=True):
        assert step == other_step
        assert np.array_equal(model.assign(features).by_head, other.assign(features).by_head)


@pytest.mark.parametrize(("method", "preset"), TRAINED)
def test_a_step_of_training_does_not_wait_for_the_device(method, preset, features):
    """An epoch is one record, of two steps or of four: more steps must not fetch more numbers."""
    counts = []
    for batch_size in (30, 15):
        epoch = {"unit": "epochs", "length": 1, "batch_size": batch_size}
        with FakeDevice() as fake:
            recipe(method, preset, **epoch).fit([features], 0, device=torch.device("cuda"))
        counts.append(fake.transfers["to host"])
    assert counts[0] == counts[1]


@pytest.mark.parametrize("transform", ["none", "standardize", "pca"])
def test_checkpoints_predict_whatever_the_transform(transform, features):
    # Once their heads were on the CPU and their transforms on the device, so that a study failed after its training.
    chosen = recipe("temi", "ours", transform=transform, checkpoint_every=1)
    expected = chosen.fit([features], 0).checkpoints
    with FakeDevice():
        checkpoints = chosen.fit([features], 0, device=torch.device("cuda")).checkpoints
        assert [model.assign(features).clusters.tolist() for _, model in checkpoints] == [
            model.assign(features).clusters.tolist() for _, model in expected
        ]


@pytest.mark.parametrize("method", ["consensus", "temi", "kmeans", "spectral"])
def test_mps_computes_what_needs_float64_on_the_cpu(method, features):
    expected = recipe(method, "ours").fit([features], 0)
    with FakeDevice("mps"):
        assert_equal(recipe(method, "ours").fit([features], 0, device=torch.device("mps")), expected)


@pytest.mark.parametrize("kind", ["cuda", "mps"])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_transform_is_fitted_on_the_device(kind, transform, features):
    rows = features.all() * (1e30 if transform == "none" else 1.0)
    expected = fit_transform(rows, transform, n_components=3)(rows)
    wide = fit_transform(rows[:5], transform, n_components=3)(rows)
    with FakeDevice(kind):
        moved = rows.to(kind)
        assert torch.equal(fit_transform(moved, transform, n_components=3)(moved).cpu(), expected)
        assert torch.equal(fit_transform(moved[:5], transform, n_components=3)(moved).cpu(), wide)


def test_several_spaces_on_the_device(features):
    for method in ("consensus", "turtle"):
        expected = recipe(method, "ours").fit([features, features], 0)
        with FakeDevice():
            assert_equal(recipe(method, "ours").fit([features, features], 0, device=torch.device("cuda")), expected)


def test_a_tensor_created_on_the_cpu_stops_the_fit(features, monkeypatch):
    forward = LinearHeads.forward

    def planted(self, *spaces):
        return forward(self, spaces[0] * torch.ones(spaces[0].shape[-1]))

    monkeypatch.setattr(LinearHeads, "forward", planted)
    recipe("consensus", "ours").fit([features], 0)
    with FakeDevice(), pytest.raises(RuntimeError, match="on the CPU, others on cuda"):
        recipe("consensus", "ours").fit([features], 0, device=torch.device("cuda"))


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_eigenvectors_of_many_samples(kind):
    """So many that they are not solved densely, on the CPU."""
    matrix = normalized(affinity(nearest_neighbors(torch.from_numpy(make_blobs(700).features), 8), temperature=0.1))
    values, vectors = leading_eigenvectors(matrix, 12, seed=0)
    with FakeDevice(kind):
        moved_values, moved = leading_eigenvectors(matrix, 12, seed=0, device=torch.device(kind))
        assert moved.device.type == kind
        assert torch.equal(moved.cpu(), vectors)
    assert torch.equal(moved_values, values)
