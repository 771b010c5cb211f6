"""The verb `neighbors`: what a fit would search, before it, by one process or by several."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from graph.test_neighbors import gaussian

from headclust import load_features, verbs
from headclust.errors import HeadclustError, SettingError
from headclust.graph.cached import cached_neighbors, is_cached
from headclust.graph.neighbors import nearest_neighbors


@pytest.fixture
def path(write):
    return write("rows.h5", gaussian(60).numpy())


def folder(path):
    return sorted(file.name.partition("-cosine")[2] for file in (path.parent / ".headclust").iterdir())


def test_a_fit_uses_them(path, monkeypatch, tmp_path):
    result = verbs.neighbors(path, n_neighbors=10)
    assert result == {"path": result["path"], "n_samples": 60, "n_neighbors": 10}
    assert result["path"].is_file()
    monkeypatch.setattr("headclust.graph.search.nearest_neighbors", None)
    verbs.fit([path], method="spectral", clusters=3, output=tmp_path / "run")


def test_shards_are_the_whole(path, monkeypatch):
    whole = verbs.neighbors(path, n_neighbors=5)["path"]
    content = whole.read_bytes()
    whole.unlink()
    first = verbs.neighbors(path, n_neighbors=5, shard="2/2")
    assert (first["shard"], first["missing"]) == ("2/2", ["1/2"])
    assert first["path"].name.endswith("-cosine-5.2-of-2.safetensors")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    last = verbs.neighbors(path, n_neighbors=5)
    assert (last["path"], last["shard"], last["missing"]) == (whole, "1/2", [])
    assert whole.read_bytes() == content
    assert folder(path) == ["-5.safetensors"]
    # Again, when all is there: nothing is searched.
    monkeypatch.setattr("headclust.graph.parts.nearest_neighbors", None)
    assert verbs.neighbors(path, n_neighbors=5) == last


def test_the_same_shards_at_once(path):
    with ThreadPoolExecutor(4) as pool:
        shards = ("1/2", "2/2", "1/2", "2/2") * 3
        results = list(pool.map(lambda shard: verbs.neighbors(path, n_neighbors=5, shard=shard), shards))
    assert [] in [result["missing"] for result in results]
    graph = cached_neighbors(load_features(path), 5)
    assert torch.equal(graph.indices, nearest_neighbors(gaussian(60), 5).indices)
    verbs.neighbors(path, n_neighbors=5, shard="1/2")
    assert folder(path) == ["-5.safetensors"]


def test_copies_are_left_out_as_in_a_fit(write, capsys, monkeypatch, tmp_path):
    rows = gaussian(60).numpy()
    rows[50:] = rows[:10]
    path = write("copies.h5", rows)
    assert verbs.neighbors(path, n_neighbors=10)["n_samples"] == 50
    assert "10 of 60 rows are copies of others: as in a fit" in capsys.readouterr().err
    monkeypatch.setattr("headclust.graph.search.nearest_neighbors", None)
    monkeypatch.setattr("headclust.graph.bursts._may_have_bursts", lambda *_: False)  # 50 rows of few columns may
    verbs.fit([path], method="spectral", clusters=3, output=tmp_path / "run")


def test_an_approximate_search_says_its_recall(path, capsys):
    result = verbs.neighbors(path, n_neighbors=5, search="ivf")
    assert (result["neighbor_search"], result["recall"]) == ("ivf", 1.0)
    assert folder(path) == ["-5-ivf.safetensors"]
    assert "neighbors are approximate (ivf): recall@5 is 100.0 %, of 60 samples" in capsys.readouterr().err
    assert not is_cached(load_features(path), 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_neighbors": 60}, "60 neighbors of 60 samples: expected 1 to 59"),
        ({"n_neighbors": 0, "shard": "1/2"}, "0 neighbors of 60 samples"),
        ({"n_neighbors": 5, "shard": "3/2"}, "shard '3/2': expected I/N"),
        ({"n_neighbors": 5, "shard": "1/2", "search": "ivf"}, "shards are searched exactly: leave out --search ivf"),
        ({"n_neighbors": 5, "search": "fast"}, "unknown search 'fast'"),
        ({"n_neighbors": 5, "search": "cuvs", "device": "cpu"}, "needs a CUDA device, this one is cpu"),
    ],
)
def test_what_cannot_be_done_is_one_line(path, options, message):
    with pytest.raises(SettingError, match=message):
        verbs.neighbors(path, **options)
    assert not (path.parent / ".headclust").exists()


@pytest.mark.parametrize("shard", [None, "1/2"])
def test_a_folder_that_cannot_be_written_is_an_error(path, shard):
    (path.parent / ".headclust").write_text("mine")
    with pytest.raises(HeadclustError, match="cannot write"):
        verbs.neighbors(path, n_neighbors=5, shard=shard)
