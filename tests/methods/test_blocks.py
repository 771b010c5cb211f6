"""Rows of features are read in blocks: never all at once, and with the same result as rows in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_blobs

from headclust.features import Features, load_features, source, write_features
from headclust.features.rows import distinct_rows
from headclust.graph import bursts
from headclust.methods import Recipe
from headclust.model import TRANSFORMS, ClusterModel, FeatureTransform, fit_transform
from headclust.model.heads import CentroidHeads

STATM = Path("/proc/self/statm")
FITS = {
    "kmeans": {"n_heads": 2},
    "spherical-kmeans": {"n_heads": 2},
    "turtle": {"n_heads": 2, "length": 2},
    "consensus": {"n_heads": 2, "tries": 1, "samples_at_most": 60, "pairs.length": 2},
    "gmm": {"n_heads": 1},
    "hdbscan": {},
}


class Recorded:
    """A source that remembers the largest number of rows read at once, and the most private memory then, in bytes."""

    def __init__(self, rows: source.Source) -> None:
        self.rows, self.largest, self.most_memory = rows, 0, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):
        part = self.rows[index]
        self.largest = max(self.largest, len(part))
        self.most_memory = max(self.most_memory, private_memory())
        return part


def private_memory() -> int:
    """Bytes in memory that belong to no file."""
    _, resident, shared, *_ = map(int, STATM.read_text().split())
    return (resident - shared) * 4096


def recorded(features: Features) -> tuple[Features, Recorded]:
    rows = Recorded(features.source())
    return replace(features, _open=lambda view: rows), rows


def of_blobs(copies: int = 0) -> Features:
    features = make_blobs(200, distance=4).features
    return Features.from_array(np.concatenate([features, features[:copies]]))


def centroid_model(dim: int, transform: FeatureTransform | None = None) -> ClusterModel:
    centroids = torch.randn(3, 5, dim, generator=torch.Generator().manual_seed(1))
    heads = CentroidHeads(centroids=centroids, scale=torch.ones(3))
    return ClusterModel((transform or FeatureTransform(),), heads, used_heads=(2, 0), temperature=0.5)


@pytest.mark.parametrize("copies", [0, 30])
@pytest.mark.parametrize("method", FITS)
def test_a_fit_never_reads_all_rows_at_once(method: str, copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_MOST_ROWS", 50)
    # Searches of neighbors have blocks of their own.
    look = bursts._may_have_bursts
    monkeypatch.setattr(bursts, "_may_have_bursts", lambda *arguments: look(*arguments) and False)
    features, rows = recorded(of_blobs(copies))
    result = Recipe.of(method, settings={"n_clusters": 4, **FITS[method]}).fit([features], seed=0)
    assert len(result.assignments) == 200 + copies
    assert 1 < rows.largest <= 60


@pytest.mark.parametrize("kind", TRANSFORMS)
@pytest.mark.parametrize("at_most", [1, 7, 8_192])
def test_transforms_and_assignments_of_features_are_those_of_tensors(kind: str, at_most: int, monkeypatch) -> None:
    monkeypatch.setattr(source, "_MOST_ROWS", at_most)
    features = of_blobs(30).select(np.arange(100, 230))
    tensor = features.all()
    transform, expected = fit_transform(features, kind, n_components=5), fit_transform(tensor, kind, n_components=5)
    for name in ("power", "mean", "scale", "matrix"):
        own, other = getattr(transform, name), getattr(expected, name)
        assert own is other is None or torch.equal(own, other)
    rows = transform.rows(features)
    assert torch.equal(rows, expected.rows(tensor))
    torch.testing.assert_close(rows, transform(tensor), rtol=1e-5, atol=1e-5)
    model = centroid_model(rows.shape[1], transform)
    for own, other in zip(model.assign(features), model.assign(tensor), strict=True):
        assert np.array_equal(own, other)
    assert torch.equal(model.mean_probs(features), model.mean_probs(tensor))


def test_several_spaces_and_copies_are_assigned_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = of_blobs(30), of_blobs(30).select(np.arange(230)[::-1])
    heads = CentroidHeads(centroids=torch.randn(2, 4, 24), scale=torch.ones(2))
    model = ClusterModel((FeatureTransform(), FeatureTransform(l2=True)), heads, (0, 1), 1.0)
    whole = model.assign(first, second)
    monkeypatch.setattr(source, "_MOST_ROWS", 9)
    blocks = model.assign(first, second)
    assert np.array_equal(blocks.clusters, whole.clusters)
    assert np.array_equal(blocks.by_head, whole.by_head)
    np.testing.assert_allclose(blocks.confidence, whole.confidence, rtol=1e-4)


@pytest.mark.parametrize("at_most", [1, 2, 100])
def test_distinct_rows_of_features_in_blocks(at_most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_MOST_ROWS", at_most)
    features, rows = recorded(Features.from_array([[0.0, 1], [2, 3], [-0.0, 1], [2, 3], [5, 6]]))
    first, group = distinct_rows(features)
    assert (first.tolist(), group.tolist()) == ([0, 1, 4], [0, 1, 0, 1, 2])
    assert rows.largest <= at_most


def test_moments_of_blocks_are_those_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(3, 2, (101, 4)).astype(np.float32)
    rows[:, 2], rows[:, 3] = 0.1, rows[:, 3] * 1e-4 + 3  # constant; much larger than its spread
    features = Features.from_array(rows)
    exact = features.all().double()
    monkeypatch.setattr(source, "_MOST_ROWS", 25)
    transform = fit_transform(features, "standardize")
    np.testing.assert_allclose(transform.mean, exact.mean(0), rtol=1e-6)
    assert transform.scale[2] == 0
    np.testing.assert_allclose(transform.scale[[0, 1, 3]], 1 / exact.std(0, correction=0)[[0, 1, 3]], rtol=1e-3)


@pytest.mark.skipif(not STATM.exists(), reason="memory of a process is read as Linux gives it")
def test_assignment_of_a_file_holds_no_copy_of_it(tmp_path: Path) -> None:
    n_samples, dim = 150_000, 256
    ids = [str(row) for row in range(n_samples)]
    plain = np.random.default_rng(0).normal(size=(100, dim)).astype(np.float16)
    path = write_features(
        tmp_path / "a.h5", np.resize(plain, (n_samples, dim)), sample_ids=ids, dataset="d", backbone="b"
    )
    features, rows = recorded(load_features(path))
    model = centroid_model(dim)
    model.assign(features.select(np.arange(10_000)))  # what libraries allocate once
    before = private_memory()
    rows.most_memory = 0
    assigned = model.assign(features)
    assert np.array_equal(assigned.clusters, np.resize(assigned.clusters[:100], n_samples))
    in_float32 = 4 * n_samples * dim
    assert rows.most_memory - before < in_float32 / 2
