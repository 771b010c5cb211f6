"""Slight variants of images among rows."""

import numpy as np
import pytest
import torch
from conftest import make_blobs, unit, varied
from scipy.cluster.hierarchy import linkage, to_tree
from scipy.spatial.distance import pdist
from sklearn.datasets import load_digits

from headclust.features import Features
from headclust.graph import bursts
from headclust.graph.bursts import find_bursts


def find(rows, n_clusters):
    return find_bursts(Features.from_array(rows), n_clusters=n_clusters)


@pytest.fixture(scope="module")
def images():
    """100 rows of 40 columns, whose nearest neighbors are nearly as far as the others."""
    return np.random.default_rng(0).normal(size=(100, 40))


@pytest.mark.parametrize(("n_images", "times"), [(100, 2), (100, 3), (100, 12), (30, 100)])
@pytest.mark.parametrize("noise", [1e-5, 0.2, 0.3])
def test_variants_of_an_image_are_one_group(images, n_images, times, noise):
    first = find(varied(images[:n_images], times, noise), n_images // 10)
    assert first.tolist() == np.repeat(np.arange(n_images) * times, times).tolist()


@pytest.mark.parametrize(
    ("every", "times", "n_clusters"),
    [(10, 30, 5), (20, 12, 3)],
    ids=["more rows than a third of a cluster", "fewer bursts than twice the clusters"],
)
def test_bursts_among_other_images(images, every, times, n_clusters):
    counts = np.where(np.arange(100) % every, 1, times)
    assert find(varied(images, counts), n_clusters).tolist() == np.repeat(np.cumsum(counts) - counts, counts).tolist()


def test_order_of_rows_does_not_matter(images):
    order = np.random.default_rng(1).permutation(300)
    first = find(varied(images, 3)[order], 10)
    image = order // 3
    assert (first <= np.arange(300)).all()
    assert len(np.unique(first)) == 100
    assert (image[first] == image).all()


def test_groups_are_those_of_the_single_linkage_tree(monkeypatch):
    """Against SciPy's tree, with noise of many sizes, chains, and a limit on the size."""
    monkeypatch.setattr(bursts, "_CHANCE", 1.0)  # the ratio as it is
    monkeypatch.setattr(bursts, "_nearest", lambda *_: np.array([[9.0, 9.0]]))  # no limit on links
    generator = np.random.default_rng(3)
    rows = np.repeat(generator.normal(size=(60, 6)), generator.integers(1, 7, 60), axis=0)
    rows += generator.normal(size=rows.shape) * generator.choice([0.02, 0.1, 0.3, 0.6], len(rows))[:, None]
    rows = np.concatenate((rows, 5 + np.cumsum(0.1 * generator.normal(size=(40, 6)), axis=0)))
    expected = np.arange(len(rows))

    def visit(node, above):
        if node.is_leaf():
            return
        if 2 <= node.count <= 9 and node.dist <= 0.75 * above:
            expected[node.pre_order()] = min(node.pre_order())
            return
        visit(node.left, node.dist)
        visit(node.right, node.dist)

    visit(to_tree(linkage(pdist(unit(rows)), "single")), 0.0)
    (numbers,) = bursts._isolated_groups(Features.from_array(rows.astype(np.float32)), (9,), None)
    first = np.unique(numbers, return_index=True)[1]
    found = first[np.unique(numbers, return_inverse=True)[1]]
    assert found.tolist() == expected.tolist()
    assert 30 < len(first) < len(rows) - 60


CLEAR = {
    "as many clear groups as clusters": ([5] * 300, 300),
    "three clear groups": ([100] * 3, 3),
    "three clear groups of unequal size": ([500, 300, 60], 3),
    "a clear group of a tenth of the rows": ([500, 300, 92], 3),
    "groups of very unequal size": ([300, 30, 15, 8], 4),
    "groups of very unequal size, as many times larger": ([100, 60, 30, 30, 15, 8], 6),
    "twice as many clear groups as clusters": ([20] * 20, 10),
}


@pytest.mark.parametrize("case", CLEAR)
def test_clear_clusters_are_no_bursts(case):
    sizes, n_clusters = CLEAR[case]
    generator = np.random.default_rng(0)
    rows = np.repeat(generator.normal(size=(len(sizes), 12)), sizes, axis=0)
    rows = (rows + 0.05 * generator.normal(size=rows.shape)).astype(np.float32)
    assert find(rows, n_clusters).tolist() == list(range(len(rows)))


def test_bursts_inside_clear_clusters_are_found(images):
    rows = varied(10 * np.random.default_rng(0).normal(size=(4, 40))[np.arange(100) % 4] + images, 6, 0.1)
    assert len(np.unique(find(rows, 4))) == 100


def test_bursts_inside_small_clear_clusters_are_found():
    rows = make_blobs(60).features
    assert find(varied(rows, 3), 4).tolist() == np.repeat(np.arange(60) * 3, 3).tolist()


def test_small_bursts_inside_clear_clusters_are_found(images):
    rows = varied(10 * np.random.default_rng(0).normal(size=(4, 40))[np.arange(100) % 4][:48] + images[:48], 6, 0.1)
    assert len(np.unique(find(rows, 4))) == 48


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 10, 30])
def test_rows_without_bursts_stay_as_they_are(dim):
    rows = np.random.default_rng(0).normal(size=(1_500, dim)).astype(np.float32)
    assert find(rows, 10).tolist() == list(range(1_500))


NATURAL = {
    "digits": (load_digits().data, 10),
    "blobs": (make_blobs(400).features, 4),
    "few": (make_blobs(9).features, 4),
    "a chain": (np.cumsum(np.random.default_rng(0).normal(size=(600, 12)), axis=0), 5),
    "one row": (np.ones((1, 3)), 1),
    "one direction": (np.linspace(1, 2, 50)[:, None] * np.ones((1, 4)), 3),
    "zeros": (np.vstack([make_blobs(50).features, np.zeros((1, 12))]), 4),
    "nearly one direction": (1 + 1e-5 * np.random.default_rng(0).normal(size=(300, 12)), 4),
    "no number of clusters": (make_blobs(50).features, 0),
}


@pytest.mark.parametrize("case", NATURAL)
def test_other_rows_stay_as_they_are(case):
    rows, n_clusters = NATURAL[case]
    assert find(rows.astype(np.float32), n_clusters).tolist() == list(range(len(rows)))


def test_a_few_near_duplicates_are_left(images):
    rows = np.concatenate((images, images[:4] * 1.01 + 0.001)).astype(np.float32)
    assert find(rows, 1).tolist() == list(range(104))


def test_all_spaces_agree_on_a_burst(images):
    other = np.random.default_rng(1).normal(size=(100, 30))
    spaces = [Features.from_array(varied(rows, 4, seed=seed)) for seed, rows in enumerate((images, other))]
    assert len(np.unique(find_bursts(*spaces, n_clusters=10))) == 100
    # In the second space the last of each four is another image.
    differing = spaces[1].all().numpy()
    differing[3::4] = np.random.default_rng(2).normal(size=(100, 30))
    first = find_bursts(spaces[0], Features.from_array(differing), n_clusters=10)
    assert first.tolist() == (np.repeat(np.arange(0, 400, 4), 4) + np.tile([0, 0, 0, 3], 100)).tolist()


@pytest.mark.parametrize("dim", [3, 6, 12, 40])
def test_all_rows_are_searched_only_if_a_sample_has_bursts(dim, monkeypatch):
    monkeypatch.setattr(bursts, "search_neighbors", lambda *_, **__: pytest.fail("a search of all rows"))
    rows = np.random.default_rng(0).normal(size=(3_000, dim)).astype(np.float32)
    assert find(rows, 10).tolist() == list(range(3_000))


def test_processes_take_the_bursts_of_the_first(images, monkeypatch):
    class Second:
        def broadcast_(self, values, source):
            assert source == 0
            return torch.zeros_like(values)

    monkeypatch.setattr(bursts, "current", Second)
    assert not find(varied(images, 2), 10).any()
