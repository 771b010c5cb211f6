"""Exact search by several processes: the bits of one, whatever happens to a part."""

import signal
import subprocess
import sys

import pytest
import torch
from graph.test_neighbors import gaussian

from headclust import load_features
from headclust.errors import HeadclustError, SettingError
from headclust.features import Features
from headclust.graph import parts
from headclust.graph.cached import cached_neighbors
from headclust.graph.neighbors import nearest_neighbors
from headclust.shards import Shard


@pytest.fixture
def small_blocks(monkeypatch):
    """Ten rows per block, so that few rows have several."""
    monkeypatch.setattr(parts, "ROWS", 10)
    real = nearest_neighbors
    monkeypatch.setattr(parts, "nearest_neighbors", lambda *a, **b: real(*a, **b, rows_per_block=10))


@pytest.fixture
def space(write, small_blocks):
    return load_features(write("rows.h5", gaussian(95).numpy()))


def whole(space, k=4):
    return nearest_neighbors(space, k, rows_per_block=10)


def same(first, second):
    return torch.equal(first.indices, second.indices) and torch.equal(first.similarities, second.similarities)


def files(space):
    return sorted(path.name.removeprefix(space.sha256) for path in (space.path.parent / ".headclust").iterdir())


@pytest.mark.parametrize("of", [1, 2, 3, 7, 15])  # the last has more parts than blocks
def test_joined_parts_are_one_search(space, monkeypatch, of):
    for shard in reversed(Shard(1, of).siblings()):
        assert shard in parts.missing_parts(space, 4, of)
        path = parts.search_part(space, 4, shard)
        assert path.name == f"{space.sha256}-cosine-4.{shard.name}.safetensors"
    assert parts.missing_parts(space, 4, of) == []
    monkeypatch.setattr(parts, "nearest_neighbors", None)  # nothing is searched again
    monkeypatch.setattr("headclust.graph.cached.search_neighbors", None)
    graph = cached_neighbors(space, 4)
    assert same(graph, whole(space))
    assert graph.search == {}
    assert files(space) == ["-cosine-4.safetensors"]
    assert same(cached_neighbors(space, 4), graph)


def test_missing_and_damaged_parts_are_searched_and_said(space, capsys):
    paths = [parts.search_part(space, 4, shard) for shard in Shard(1, 4).siblings()]
    paths[0].unlink()
    paths[2].write_bytes(paths[2].read_bytes()[:-3])
    assert parts.missing_parts(space, 4, 4) == [Shard(1, 4), Shard(3, 4)]
    assert same(cached_neighbors(space, 4), whole(space))
    assert capsys.readouterr().err.splitlines() == [
        f"part {number}/4 of the neighbor search is missing: it is searched by this process." for number in (1, 3)
    ]


def test_a_part_that_is_there_is_not_searched_again(space, monkeypatch):
    path = parts.search_part(space, 4, Shard(2, 3))
    before = path.read_bytes()
    monkeypatch.setattr(parts, "nearest_neighbors", None)
    assert parts.search_part(space, 4, Shard(2, 3)).read_bytes() == before


def test_parts_of_another_k_or_of_other_features_are_left_alone(space, write, capsys):
    other = load_features(write("other.h5", gaussian(95, seed=1).numpy()))
    foreign = [parts.search_part(space, 5, Shard(1, 2)), parts.search_part(other, 4, Shard(1, 2))]
    for shard in Shard(1, 2).siblings():
        parts.search_part(space, 4, shard)
    assert same(cached_neighbors(space, 4), whole(space))
    assert capsys.readouterr().err == ""
    assert all(path.exists() for path in foreign)


def test_a_part_under_the_name_of_another_is_not_taken_for_it(space):
    # Of 95 rows in blocks of 10, part 1 of 2 has 50, as part 2 of 2 has not.
    first = parts.search_part(space, 4, Shard(1, 2))
    first.rename(first.with_name(first.name.replace("1-of-2", "2-of-2")))
    assert parts.missing_parts(space, 4, 2) == Shard(1, 2).siblings()


def test_of_two_divisions_the_more_complete_one_is_joined(space, capsys):
    parts.search_part(space, 4, Shard(1, 8))
    for number in (1, 3):
        parts.search_part(space, 4, Shard(number, 3))
    assert same(cached_neighbors(space, 4), whole(space))
    assert capsys.readouterr().err.startswith("part 2/3 of the neighbor search is missing")
    assert files(space) == ["-cosine-4.safetensors"]


def test_parts_of_unlike_machines_are_joined_with_a_line(space, monkeypatch, capsys):
    parts.search_part(space, 4, Shard(1, 2))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    parts.search_part(space, 4, Shard(2, 2))
    assert same(cached_neighbors(space, 4), whole(space))
    assert "come from unlike machines: last digits may differ" in capsys.readouterr().err


def test_files_of_other_names_are_left_alone(space):
    folder = space.path.parent / ".headclust"
    folder.mkdir()
    for name in ("0-of-2", "3-of-2", "1-of-2x", "a-of-b"):
        (folder / f"{space.sha256}-cosine-4.{name}.safetensors").write_bytes(b"x")
    assert parts.joined(space, 4) is None


def test_what_has_no_parts(space, monkeypatch):
    with pytest.raises(SettingError, match="95 neighbors of 95 samples"):
        parts.search_part(space, 95, Shard(1, 2))
    assert not (space.path.parent / ".headclust").exists()
    with pytest.raises(HeadclustError, match="features in memory have no file"):
        parts.search_part(Features.from_array(gaussian(20)), 4, Shard(1, 2))
    (space.path.parent / ".headclust").write_text("mine")
    with pytest.raises(HeadclustError, match="cannot write"):
        parts.search_part(space, 4, Shard(1, 2))


def test_a_killed_process_leaves_nothing_that_is_taken_for_a_part(write):
    # It is killed while it writes; the same command again finishes the part.
    space = load_features(write("rows.h5", gaussian(95).numpy()))
    code = f"""
import os, signal
from headclust import load_features
from headclust.graph import parts, stored
from headclust.shards import Shard
def half(tensors, path, metadata):
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
stored.save_file = half
parts.search_part(load_features({str(space.path)!r}), 4, Shard(1, 1))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert parts.missing_parts(space, 4, 1) == [Shard(1, 1)]
    parts.search_part(space, 4, Shard(1, 1))
    assert same(cached_neighbors(space, 4), nearest_neighbors(space, 4))
