import numpy as np
import pytest
import torch
from conftest import make_blobs
from sklearn.decomposition import PCA

from headclust.errors import DataError
from headclust.features import Features
from headclust.graph.umap import has_umap
from headclust.model import transformed_rows
from headclust.report.layouts import HEIGHT, WIDTH, Layout, cluster_labels, make_layouts, sample_rows


def test_all_samples_by_cluster():
    assert sample_rows(np.array([2, 0, 2, 1])).tolist() == [1, 3, 0, 2]


def test_a_sample_keeps_every_cluster():
    clusters = np.random.default_rng(0).permutation(np.repeat(np.arange(6), [5_000, 2_000, 1_000, 3, 0, 1]))
    rows = sample_rows(clusters, 800)
    counts = np.bincount(clusters[rows], minlength=6)
    assert len(rows) == len(set(rows.tolist()))
    assert 640 <= len(rows) <= 800
    assert counts.tolist()[3:] == [3, 0, 1]
    assert counts[0] > counts[1] > counts[2] > 3
    assert np.array_equal(clusters[rows], np.sort(clusters[rows]))
    assert all((np.diff(rows[clusters[rows] == cluster]) > 0).all() for cluster in range(6))
    assert np.array_equal(rows, sample_rows(clusters, 800))


@pytest.mark.parametrize("max_points", [3, 10, 100])
def test_a_sample_is_bounded(max_points):
    clusters = np.arange(1_000) % 3
    assert 3 <= len(sample_rows(clusters, max_points)) <= max_points


def spread(positions):
    """Positions scaled to [0, 1] per axis, whatever the sign of the axis."""
    shares = (positions - positions.min(0)) / np.ptp(positions, axis=0)
    return np.where(shares[0] > 0.5, 1 - shares, shares)


def test_principal_components(data):
    rows = np.arange(60)[::-1].copy()
    (layout,) = make_layouts(data.model, data.spaces, rows, ["pca"])
    reference = PCA(2, svd_solver="full").fit_transform(transformed_rows(data.model, data.spaces, rows).numpy())
    assert np.abs(spread(layout.positions.astype(float)) - spread(reference)).max() < 0.01
    assert layout.positions.min() > 0
    assert (layout.positions < [WIDTH, HEIGHT]).all()


class Plain:
    device = torch.device("cpu")
    transforms = (torch.nn.Identity(),)


@pytest.mark.parametrize("features", [np.ones((1, 4)), np.eye(2, 3), np.eye(3), np.linspace(-1, 1, 8)[:, None]])
def test_few_samples_or_dimensions(features):
    space = Features.from_array(np.asarray(features, np.float32))
    layouts = make_layouts(Plain, (space,), np.arange(space.n_samples), ["pca", "umap"])
    assert [layout.name for layout in layouts] == ["PCA"]
    positions = layouts[0].positions
    assert positions.shape == (space.n_samples, 2)
    assert ((positions > 0) & (positions < [WIDTH, HEIGHT])).all()


@pytest.mark.parametrize(
    "features",
    [
        np.ones((5, 3)),
        np.arange(1, 8)[:, None],
        np.linspace(0.9, 1.1, 120)[:, None] * np.ones(8),  # whose rounding once made the report fail
        1 + 1e-7 * np.random.default_rng(0).normal(size=(30, 4)),
    ],
)
def test_rows_of_one_direction_have_no_map(features):
    space = Features.from_array(np.asarray(features, np.float32))
    with pytest.raises(DataError, match="all images point the same way"):
        make_layouts(Plain, (space,), np.arange(space.n_samples), ["pca"])


@pytest.mark.slow  # loading UMAP and compiling it take longer than all other layouts
@pytest.mark.skipif(not has_umap(), reason="umap-learn is not installed")
def test_umap_keeps_neighbors_together_and_repeats():
    blobs = make_blobs(90, 3, distance=4.0)
    space, rows = Features.from_array(blobs.features), np.arange(90)
    first, second = make_layouts(Plain, (space,), rows, ["pca", "umap"])
    assert (first.name, second.name) == ("UMAP", "PCA")
    again = make_layouts(Plain, (space,), rows, ["umap"])[0]
    assert np.array_equal(first.positions, again.positions)
    centers = np.stack([first.positions[blobs.labels == label].mean(0) for label in range(3)])
    nearest = np.linalg.norm(first.positions[:, None] - centers, axis=2).argmin(1)
    assert (nearest == blobs.labels).mean() > 0.95


def test_without_umap(data, monkeypatch):
    monkeypatch.setattr("headclust.graph.umap.has_umap", lambda: False)
    names = [layout.name for layout in make_layouts(data.model, data.spaces, np.arange(60), ["pca", "umap"])]
    assert names == ["PCA"]


def test_numbers_give_way_to_those_of_larger_clusters():
    positions = np.array([[100, 100], [120, 100], [110, 110], [3_000, 2_000], [105, 100]])
    labels = cluster_labels(Layout("PCA", "", positions), np.array([0, 0, 0, 1, 2]))
    assert [(label.cluster, label.x, label.y, label.crowded) for label in labels] == [
        (0, 110, 100, False),
        (1, 3_000, 2_000, False),
        (2, 105, 100, True),
    ]
