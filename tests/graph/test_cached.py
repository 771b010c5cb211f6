import errno
from pathlib import Path

import pytest
import torch
from graph.test_neighbors import assert_exact, gaussian

from headclust import load_features
from headclust.errors import SettingError
from headclust.features import Features
from headclust.graph import stored
from headclust.graph.cached import cached_neighbors
from headclust.graph.neighbors import NeighborGraph, nearest_neighbors


@pytest.fixture
def counted(monkeypatch):
    """The k of every graph that was computed."""
    computed = []
    compute = nearest_neighbors

    def counting(features, k, **options):
        computed.append(k)
        return compute(features, k, **options)

    monkeypatch.setattr("headclust.graph.search.nearest_neighbors", counting)
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
    save_file(tensors, path, metadata={"sha256": stored._digest(graph)})


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
        ("headclust.graph.stored.save_file", refuse_space),
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

    monkeypatch.setattr("headclust.graph.stored.save_file", half)
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
