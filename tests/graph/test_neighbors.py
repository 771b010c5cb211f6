import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from headclust import load_features
from headclust.errors import SettingError
from headclust.features import Features
from headclust.graph import neighbors
from headclust.graph.neighbors import NeighborGraph, cached_neighbors, nearest_neighbors


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
    n_samples, k = 1500, 5
    with LargestTensor() as largest:
        graph = nearest_neighbors(gaussian(n_samples), k, rows_per_block=50, columns_per_block=400)
    assert_exact(graph, gaussian(n_samples), k)
    assert largest.elements >= 50 * 400  # the block itself was seen
    assert largest.elements <= max(50 * 400, n_samples * 6)


def test_the_usual_block_is_at_most_half_a_gigabyte():
    assert neighbors._ROWS * neighbors._COLUMNS * 4 <= 512 * 2**20


@pytest.fixture
def counted(monkeypatch):
    """The k of every graph that was computed."""
    computed = []
    compute = nearest_neighbors

    def counting(features, k):
        computed.append(k)
        return compute(features, k)

    monkeypatch.setattr(neighbors, "nearest_neighbors", counting)
    return computed


def kept_files(path: Path):
    return sorted(file.name for file in (path.parent / ".headclust").iterdir())


def test_a_graph_is_cached_for_its_k(blob_file, counted):
    features = load_features(blob_file)
    graph = cached_neighbors(features, 10)
    assert kept_files(blob_file) == [f"{features.sha256}-cosine-10.safetensors"]
    again = cached_neighbors(load_features(blob_file), 10)
    assert torch.equal(again.indices, graph.indices)
    assert torch.equal(again.similarities, graph.similarities)
    assert counted == [10]
    assert cached_neighbors(features, 11).indices.shape == (120, 11)
    assert counted == [10, 11]


def test_a_graph_does_not_depend_on_graphs_cached_before(write):
    # Once a wider kept graph was cut to k: of equally near samples (zero rows) others came k-th than in a fresh one.
    features = gaussian(60).numpy()
    features[::4] = 0
    path = write("zeros.h5", features)
    before = cached_neighbors(load_features(path), 20)
    cached_neighbors(load_features(path), 50)
    (path.parent / ".headclust" / kept_files(path)[0]).unlink()
    again = cached_neighbors(load_features(path), 20)
    assert torch.equal(before.indices, again.indices)


def test_other_features_have_a_graph_of_their_own(write, blobs, counted):
    # In one folder, and with equal sizes: only the checksum tells them apart.
    first = load_features(write("one.h5", blobs.features))
    second = load_features(write("two.h5", blobs.features[::-1]))
    for features in (first, second, first, second):
        assert_exact(cached_neighbors(features, 4), features.all(), 4)
    assert counted == [4, 4]


def test_another_metric_is_not_taken_for_cosine(blob_file, counted):
    cached_neighbors(load_features(blob_file), 4)
    (cached,) = (blob_file.parent / ".headclust").iterdir()
    cached.rename(cached.with_name(cached.name.replace("cosine", "euclidean")))
    cached_neighbors(load_features(blob_file), 4)
    assert counted == [4, 4]


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def damage_bit(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def damage_empty(path):
    path.write_bytes(b"")


def damage_foreign(path):
    from safetensors.torch import save_file

    save_file({"other": torch.zeros(3)}, path)


def damage_fewer_neighbors(path):
    from safetensors.torch import save_file

    graph = NeighborGraph(torch.zeros(120, 2, dtype=torch.int32), torch.zeros(120, 2))
    tensors = {"indices": graph.indices, "similarities": graph.similarities}
    save_file(tensors, path, metadata={"sha256": neighbors._digest(graph)})


@pytest.mark.parametrize(
    "damage", [damage_cut, damage_bit, damage_empty, damage_foreign, damage_fewer_neighbors], ids=lambda f: f.__name__
)
def test_a_damaged_graph_is_computed_again(blob_file, counted, damage):
    features = load_features(blob_file)
    graph = cached_neighbors(features, 6)
    (cached,) = (blob_file.parent / ".headclust").iterdir()
    damage(cached)
    assert torch.equal(cached_neighbors(features, 6).indices, graph.indices)
    assert counted == [6, 6]
    cached_neighbors(features, 6)
    assert counted == [6, 6]  # and kept again


def test_a_file_of_another_name_is_left_alone(blob_file, counted):
    features = load_features(blob_file)
    folder = blob_file.parent / ".headclust"
    folder.mkdir()
    (folder / f"{features.sha256[:32]}-cosine-many.safetensors").write_bytes(b"x")
    cached_neighbors(features, 3)
    assert counted == [3]


def refuse(*_, **__):
    raise OSError(errno.EROFS, "Read-only file system")


def refuse_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("where", "failure"),
    [
        ("pathlib.Path.mkdir", refuse),
        ("headclust.graph.neighbors.save_file", refuse_space),
        ("pathlib.Path.replace", refuse),
    ],
)
def test_a_place_that_cannot_be_written_only_costs_the_time(blob_file, counted, monkeypatch, capsys, where, failure):
    # On a read-only disk even removing what is not there is refused: that once was a traceback.
    monkeypatch.setattr(where, failure)
    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    features = load_features(blob_file)
    for _ in range(2):
        assert_exact(cached_neighbors(features, 3), features.all(), 3)
    assert counted == [3, 3]
    assert capsys.readouterr() == ("", "")


def test_a_file_where_the_folder_should_be(blob_file, counted):
    # Once a NotADirectoryError.
    (blob_file.parent / ".headclust").write_text("mine")
    features = load_features(blob_file)
    assert_exact(cached_neighbors(features, 3), features.all(), 3)
    assert (blob_file.parent / ".headclust").read_text() == "mine"


@pytest.mark.parametrize("failure", [refuse_space, refuse])
def test_no_half_written_file_is_left(blob_file, monkeypatch, failure):
    def half(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        failure()

    monkeypatch.setattr("headclust.graph.neighbors.save_file", half)
    cached_neighbors(load_features(blob_file), 3)
    assert kept_files(blob_file) == []


def test_features_in_memory_have_no_place_to_keep_a_graph(blobs, counted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    features = Features.from_array(blobs.features)
    assert_exact(cached_neighbors(features, 3), blobs.features, 3)
    assert list(tmp_path.iterdir()) == []


def test_k_is_checked_before_anything_is_cached(blob_file):
    with pytest.raises(SettingError, match="120 neighbors of 120 samples"):
        cached_neighbors(load_features(blob_file), 120)
    assert not (blob_file.parent / ".headclust").exists()


def temi_lists(similarities, chunk, k):
    """Neighbor lists by TEMI's code, from all similarities: in each chunk of rows mask column i of row i, then sort."""
    lists = []
    for start in range(0, len(similarities), chunk):
        block = similarities[start : start + chunk].clone()
        for row in range(len(block)):
            block[row, row] = -np.inf
        lists.append(block.argsort(dim=1, descending=True, stable=True)[:, :k])
    return torch.cat(lists)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_error_of_temis_code_above_80000_samples(k):
    unit = torch.nn.functional.normalize(torch.randn(210, 6, generator=torch.Generator().manual_seed(3)), dim=1)
    indices = nearest_neighbors(unit, k).indices
    actual = neighbors.self_neighbors(indices)
    assert torch.equal(actual.long(), temi_lists(unit @ unit.T, 64, k))
    assert (actual[64:, 0] == torch.arange(64, 210)).all()
    assert torch.equal(actual[:64], indices[:64])


def test_neighbor_lists_by_name(blobs, monkeypatch):
    features = Features.from_array(blobs.features)
    indices = nearest_neighbors(torch.tensor(blobs.features), 4).indices
    assert torch.equal(neighbors.neighbor_list(features, 4, "others"), indices)
    with_self = neighbors.neighbor_list(features, 4, "with-self")
    assert torch.equal(with_self[:, 0], torch.arange(120).int())
    assert torch.equal(with_self[:, 1:], indices)
    assert torch.equal(neighbors.neighbor_list(features, 4, "temi-paper"), indices)  # right up to 80,000
    monkeypatch.setattr(neighbors, "_TEMI_WHOLE", 100)
    assert torch.equal(neighbors.neighbor_list(features, 4, "temi-paper"), neighbors.self_neighbors(indices))
