import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from headclust.errors import SettingError
from headclust.features import Features
from headclust.graph import neighbors
from headclust.graph.neighbors import NeighborGraph, nearest_neighbors
from headclust.graph.unit_rows import UnitRows


def similarities_in_float64(features):
    x = np.asarray(features, np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    unit = np.divide(x, length, out=np.zeros_like(x), where=length > 0)
    table = unit @ unit.T
    np.fill_diagonal(table, -np.inf)
    return table


def assert_exact(graph: NeighborGraph, features, k):
    """Assert that the graph holds the k most similar other samples of each; any of ties."""
    table = similarities_in_float64(features)
    indices, actual = graph.indices.numpy(), graph.similarities.numpy()
    assert indices.dtype == np.int32
    assert actual.dtype == np.float32
    assert indices.shape == actual.shape == (len(features), k)
    for row in range(len(features)):
        assert row not in indices[row]
        assert len(set(indices[row].tolist())) == k
    np.testing.assert_allclose(actual, -np.sort(-table, axis=1)[:, :k], atol=2e-6)
    np.testing.assert_allclose(actual, np.take_along_axis(table, indices, 1), atol=2e-6)
    assert (np.diff(actual, axis=1) <= 0).all()


def gaussian(n_samples, dim=6, seed=0):
    return torch.randn(n_samples, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rows", [1, 2, 7, 22, 23, 24, 1000])
@pytest.mark.parametrize("columns", [1, 3, 11, 22, 23, 24, 1000])
def test_equal_to_brute_force_across_every_block_border(rows, columns):
    # Blocks of candidates that hold none of the samples themselves once were an error: no more than 65,536 samples.
    features = gaussian(23)
    for k in (1, 5, 22):
        graph = nearest_neighbors(features, k, rows_per_block=rows, columns_per_block=columns)
        assert_exact(graph, features, k)
        # No two similarities are equal here, so that the neighbors themselves are certain.
        assert graph.indices.tolist() == (-similarities_in_float64(features)).argsort(1)[:, :k].tolist()


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_rows_that_nearly_point_the_same_way(offset):
    # Their cosines are 1 up to rounding; the distances are not.
    features = (gaussian(40) + offset).float()
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    expected = torch.cdist(unit, unit).fill_diagonal_(torch.inf).argmin(1)
    graph = nearest_neighbors(features, 3)
    assert (graph.indices[:, 0] == expected).float().mean() > 0.9
    assert_exact(graph, features, 3)


@pytest.mark.parametrize("scale", [1e-42, 1e-20, 1e20, 1e38])
def test_neighbors_at_any_scale(scale):
    features = gaussian(30)
    graph = nearest_neighbors((features.double() * scale / 4).float(), 3)
    assert (graph.indices == nearest_neighbors(features, 3).indices).float().mean() > 0.8


@given(st.data())
def test_equal_to_brute_force_with_duplicates_and_zero_vectors(data):
    n_samples = data.draw(st.integers(2, 20))
    cell = st.integers(-2, 2)
    rows = data.draw(st.lists(st.lists(cell, min_size=3, max_size=3), min_size=n_samples, max_size=n_samples))
    k = data.draw(st.integers(1, n_samples - 1))
    blocks = {name: data.draw(st.integers(1, n_samples + 1)) for name in ("rows_per_block", "columns_per_block")}
    features = torch.tensor(rows, dtype=torch.float32)
    assert_exact(nearest_neighbors(features, k, **blocks), features, k)


def test_a_zero_vector_is_as_far_from_everything():
    features = torch.cat((torch.zeros(2, 6), gaussian(5).abs()))
    graph = nearest_neighbors(features, 6, rows_per_block=2, columns_per_block=3)
    assert graph.similarities[:2].abs().max() == 0
    assert graph.indices[0].tolist() == [1, 2, 3, 4, 5, 6]  # ties in row order
    assert graph.indices[3, -2:].tolist() == [0, 1]


def test_a_row_of_another_length_has_the_same_neighbors():
    features = gaussian(30)
    scaled = features * torch.linspace(0.01, 1000, 30)[:, None]
    assert torch.equal(nearest_neighbors(features, 5).indices, nearest_neighbors(scaled, 5).indices)


@pytest.mark.parametrize("k", [-1, 0, 5, 6])
def test_k_out_of_range(k):
    with pytest.raises(SettingError, match=f"{k} neighbors of 5 samples: expected 1 to 4"):
        nearest_neighbors(gaussian(5), k)


class LargestTensor(TorchDispatchMode):
    """Record the size of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


def test_memory_is_bounded_by_the_block():
    n_samples, k = 400, 5
    with LargestTensor() as largest:
        graph = nearest_neighbors(gaussian(n_samples), k, rows_per_block=20, columns_per_block=150)
    assert_exact(graph, gaussian(n_samples), k)
    assert largest.elements >= 20 * 150  # the block itself was seen
    assert largest.elements <= max(20 * 150, n_samples * 6)


def test_the_usual_block_takes_16_megabytes():
    assert neighbors.ROWS * neighbors.COLUMNS * 4 == 16 * 2**20


def same(first: NeighborGraph, second: NeighborGraph) -> bool:
    return torch.equal(first.indices, second.indices) and torch.equal(first.similarities, second.similarities)


@pytest.mark.parametrize("offset", [0, 1e5])  # around the origin, and nearly the same way
def test_rows_that_are_read_again_have_the_bits_of_rows_that_are_held(offset):
    # Blocks of 10 queries and 16 candidates; 30 rows or fewer fit into memory at once.
    features = gaussian(95) + offset
    sizes = {"rows_per_block": 10, "columns_per_block": 16}
    whole = nearest_neighbors(features, 7, **sizes)
    assert_exact(whole, features, 7)
    for held in (0, 30 * 6 * 4):
        assert same(nearest_neighbors(Features.from_array(features), 7, **sizes, held_at_most=held), whole)
        assert same(nearest_neighbors(features, 7, **sizes, held_at_most=held), whole)


def test_rows_of_a_file_are_read_in_blocks(monkeypatch):
    space = Features.from_array(gaussian(95))
    read = []
    monkeypatch.setattr(Features, "all", lambda self: pytest.fail("all rows at once"))
    real = Features.rows
    monkeypatch.setattr(Features, "rows", lambda self, rows: read.append(rows) or real(self, rows))
    for held in (0, 1 << 20):
        nearest_neighbors(space, 3, rows_per_block=10, columns_per_block=16, held_at_most=held)
    assert max(rows.stop - rows.start for rows in read) <= 16


@pytest.mark.parametrize("held", [0, 1 << 20])
@pytest.mark.parametrize("offset", [0, 1e5])
def test_blocks_have_the_bits_of_the_whole(held, offset):
    features = gaussian(95) + offset
    sizes = {"rows_per_block": 10, "columns_per_block": 16, "held_at_most": held}
    whole = nearest_neighbors(features, 7, **sizes)
    parts = [nearest_neighbors(features, 7, **sizes, blocks=blocks) for blocks in (range(3), range(3, 3), range(3, 10))]
    assert [len(part.indices) for part in parts] == [30, 0, 65]
    joined = (torch.cat([getattr(part, name) for part in parts]) for name in ("indices", "similarities"))
    assert same(NeighborGraph(*joined), whole)


def test_rows_taken_by_number_are_those_of_the_slices():
    for offset in (0, 1e5):
        features = gaussian(40) + offset
        read, held = (UnitRows(features, rows_per_block=16, held_at_most=most) for most in (0, 1 << 20))
        assert (read.is_held, held.is_held, read.center is None) == (False, True, offset == 0)
        numbers = np.array([3, 39, 16, 0])
        assert torch.equal(read[:], held[:])
        assert torch.equal(read.take(numbers), held[:][torch.from_numpy(numbers)])
        assert torch.equal(held.take(numbers), read.take(numbers))
