"""Rows mapped from the file: the same as in memory, in any order, without holding them, and never of another file."""

from __future__ import annotations

import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headclust.errors import FileFormatError
from headclust.features import load_features, write_features
from headclust.features.source import row_blocks

PLAIN = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
VIEWS = np.random.default_rng(1).normal(size=(2, 9, 5)).astype(np.float32)
STATM = Path("/proc/self/statm")
NAMES = {"sample_ids": [str(row) for row in range(9)], "dataset": "d", "backbone": "b"}


def write(path: Path, plain: np.ndarray = PLAIN, views: np.ndarray | None = VIEWS) -> Path:
    return write_features(path, plain, views=views, overwrite=True, **NAMES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "a.h5")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("index", [slice(None), slice(2, 7, 2), [4, 0, 4], np.arange(9) % 2 == 0, []], ids=str)
def test_mapped_rows_are_those_in_memory(tmp_path: Path, dtype: str, index: object) -> None:
    plain, views = PLAIN.astype(dtype), VIEWS.astype(dtype)
    features = load_features(write(tmp_path / "a.h5", plain, views))
    index = np.array(index, int) if isinstance(index, list) else index
    for view, expected in ((None, plain), (0, views[0]), (1, views[1])):
        rows = features.rows(index, view)
        np.testing.assert_array_equal(rows, expected[index].astype(np.float32))
        assert rows.numpy().dtype == np.float32


def test_a_selection_of_a_selection_with_its_views(path: Path) -> None:
    part = load_features(path).select(np.array([8, 3, 5, 3])).select(np.array([1, 0]))
    assert part.sample_ids == ("3", "8")
    np.testing.assert_array_equal(part.all(), PLAIN[[3, 8]])
    np.testing.assert_array_equal(part.rows(slice(1, None), view=1), VIEWS[1, [8]])
    np.testing.assert_array_equal(np.concatenate([*part.blocks(view=0)]), VIEWS[0, [3, 8]])


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "at_most", "expected"),
    [(5, 1, 2, [(0, 2), (2, 4), (4, 5)]), (2, 1, 2, [(0, 2)]), (1, 1, 8, [(0, 1)]), (2, 1 << 40, 8, [(0, 1), (1, 2)])],
)
def test_row_blocks(n_rows: int, n_columns: int, at_most: int, expected: list[tuple[int, int]]) -> None:
    blocks = row_blocks(n_rows, n_columns, at_most=at_most)
    assert [(block.start, block.stop) for block in blocks] == expected


def test_a_replaced_file_keeps_the_rows_that_are_mapped(path: Path) -> None:
    features = load_features(path)
    np.testing.assert_array_equal(features.rows([2]), PLAIN[[2]])
    write(path, PLAIN + 1)
    np.testing.assert_array_equal(features.all(), PLAIN)
    path.unlink()
    np.testing.assert_array_equal(features.all(), PLAIN)


def cut(path: Path, other: Path) -> None:
    os.truncate(path, 1000)


def overwrite(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))  # clocks of file systems are coarse


@pytest.mark.parametrize("change", [cut, overwrite])
def test_a_file_changed_in_place_while_mapped_is_one_line(path: Path, tmp_path: Path, change) -> None:
    features = load_features(path)
    part = features.select(np.array([1]))
    part.all()
    change(path, write(tmp_path / "b.h5", PLAIN + 1))
    for rows in (features, part):
        with pytest.raises(FileFormatError, match=r"a\.h5: it has changed since it was opened: start again\.$"):
            rows.rows([0])


def test_a_file_that_cannot_be_written_to_is_mapped(path: Path) -> None:
    path.chmod(0o444)
    path.parent.chmod(0o555)
    np.testing.assert_array_equal(load_features(path).all(), PLAIN)
    path.parent.chmod(0o755)


def test_features_of_one_file_share_its_mapping(path: Path) -> None:
    features = load_features(path)
    assert replace(features, labels=None).source(1) is features.source(1)


@pytest.mark.skipif(not STATM.exists(), reason="memory of a process is read as Linux gives it")
def test_blocks_that_were_read_do_not_count_as_memory_of_the_process(tmp_path: Path) -> None:
    names = {**NAMES, "sample_ids": [str(row) for row in range(80_000)]}
    features = load_features(write_features(tmp_path / "a.h5", np.zeros((80_000, 200), np.float32), **names))
    features.values(slice(1))
    before = int(STATM.read_text().split()[2])
    for start in range(0, 80_000, 1000):
        features.values(slice(start, start + 1000))
    n_pages = int(STATM.read_text().split()[2]) - before
    assert n_pages * 4096 < features.n_samples * 200 * 4 / 10


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_are_not_held(tmp_path: Path, dtype: str) -> None:
    plain = np.zeros((20_000, 200), dtype)
    names = {**NAMES, "sample_ids": [str(row) for row in range(len(plain))]}
    path = write_features(tmp_path / "a.h5", plain, views=plain[None], **names)
    features = load_features(path)
    tracemalloc.start()
    for view in (None, 0):
        for block in features.blocks(view):
            assert not block.any()
            del block
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    block_bytes = 8_192 * 200 * 4
    assert held < 1e5
    assert block_bytes <= peak < 2.5 * block_bytes
