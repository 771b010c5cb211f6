"""Work in progress: what is kept over a death, what is made again, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gray import written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headclust.errors import ConflictError, DataError, HeadclustError, Reason
from headclust.features import (
    Layout,
    Staging,
    load_features,
    open_staging,
    staging_folder,
    verify_features,
    write_features,
)
from headclust.features.assembly import _feature_tables

PLAN = {
    "dataset": "pets",
    "backbone": "tiny",
    "class_names": ["cat", "dog"],
    "dtype": "float32",
    "batch_size": 4,
    "preprocessing": {"resize": 256, "mean": [0.5]},
    "versions": {"torch": "2"},
    "samples_sha256": "a" * 64,
}
LAYOUT = Layout(n_listed=10, feature_dim=3, dtype="float32", block_rows=4)
VALUES = np.arange(30, dtype=np.float32).reshape(10, 3)
IDS = [f"{i}.jpg" for i in range(10)]
LABELS = np.arange(10) % 2
BAD = {1: Reason("torn", False), 9: Reason("empty file", False)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


def _append(staging: Staging, values: np.ndarray = VALUES) -> None:
    rows = staging.layout.rows(staging.done.n_blocks)
    staging.append(values[None, rows.start : rows.stop], {row: BAD[row] for row in rows if row in BAD})


def _stage(path: Path, n_blocks: int) -> None:
    """Leaves `n_blocks` more blocks in the staging, as a stopped run would."""
    with open_staging(path, PLAN, LAYOUT) as staging:
        assert staging is not None
        for _ in range(n_blocks):
            _append(staging)


def _run(path: Path, plan: dict[str, Any] = PLAN, **options: Any) -> list[int]:
    """Does whatever is missing; returns the blocks it did."""
    done = []
    with open_staging(path, plan, LAYOUT, **options) as staging:
        if staging is not None:
            while staging.done.n_blocks < LAYOUT.n_blocks:
                done.append(staging.done.n_blocks)
                _append(staging)
            staging.finish(IDS, LABELS)
    return done


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_layout() -> None:
    assert [len(LAYOUT.rows(block)) for block in range(LAYOUT.n_blocks)] == [4, 4, 2]
    assert LAYOUT.row_bytes == 12


def test_in_one_go(path: Path) -> None:
    assert _run(path) == [0, 1, 2]
    assert _names(path.parent) == ["a.h5"]
    features = load_features(path)
    kept = [row for row in range(10) if row not in BAD]
    assert features.sample_ids == tuple(IDS[row] for row in kept)
    assert np.array_equal(features.all(), VALUES[kept])
    assert features.labels is not None
    assert features.labels.tolist() == LABELS[kept].tolist()
    assert features.skipped == (("1.jpg", "torn"), ("9.jpg", "empty file"))
    assert PLAN.items() <= features.attributes.items()
    assert verify_features(path) == []


@pytest.mark.parametrize("n_blocks", [1, 2, 3])
def test_taken_up_where_it_was_left(path: Path, n_blocks: int) -> None:
    _run(path)
    whole = path.read_bytes()
    path.unlink()
    _stage(path, n_blocks)
    assert _names(staging_folder(path)) == ["data.bin", "journal.jsonl", "plan.json"]
    assert _run(path) == list(range(n_blocks, 3))
    assert path.read_bytes() == whole


def test_nothing_done_leaves_nothing(path: Path) -> None:
    _stage(path, 0)
    assert _names(path.parent) == []


# --- what a death or a bad disk leaves behind


def _cut_last_line(folder: Path) -> None:
    with (folder / "journal.jsonl").open("r+b") as file:
        file.truncate(len(file.read()) - 10)


def _half_a_new_line(folder: Path) -> None:
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"block": 2, "sh')


def _flip_data(row: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / "data.bin").open("r+b") as file:
            file.seek(row * LAYOUT.row_bytes)
            file.write(b"\xff")

    return damage


def _edit_journal(old: bytes, new: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        journal = folder / "journal.jsonl"
        assert old in journal.read_bytes()
        journal.write_bytes(journal.read_bytes().replace(old, new))

    return damage


def _swap_lines(folder: Path) -> None:
    journal = folder / "journal.jsonl"
    journal.write_bytes(b"".join(reversed(journal.read_bytes().splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("damage", "again", "said"),
    [
        (_cut_last_line, [1, 2], ""),
        (_half_a_new_line, [2], ""),
        (_flip_data(5), [1, 2], "block 1 is damaged"),
        (_flip_data(0), [0, 1, 2], "block 0 is damaged"),
        (_edit_journal(b"torn", b"worn"), [0, 1, 2], "block 0 is damaged"),
        (_edit_journal(b'"block": 1', b'"block": 7'), [1, 2], "block 1 is damaged"),
        (_edit_journal(b'"block": 1', b"not json"), [1, 2], "block 1 is damaged"),
        (_swap_lines, [0, 1, 2], "block 0 is damaged"),
        (lambda folder: (folder / "data.bin").unlink(), [0, 1, 2], "block 0 is damaged"),
        (lambda folder: os.truncate(folder / "data.bin", 50), [1, 2], "block 1 is damaged"),
        (lambda folder: os.truncate(folder / "data.bin", 5000), [2], ""),
        (lambda folder: (folder / "journal.jsonl").unlink(), [0, 1, 2], ""),
        (lambda folder: (folder / "plan.json").unlink(), [0, 1, 2], ""),
        (lambda folder: (folder / ".headclust-00.tmp").write_text("{"), [2], ""),
        (lambda folder: (folder.parent / "a.h5.tmp").write_text("half a file"), [2], ""),
    ],
)
def test_damage_is_made_good(
    path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], again: list[int], said: str
) -> None:
    _run(path)
    whole = path.read_bytes()
    path.unlink()
    _stage(path, 2)
    damage(staging_folder(path))
    assert _run(path) == again
    assert path.read_bytes() == whole
    assert said in capsys.readouterr().err
    assert _names(path.parent) == ["a.h5"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(data=st.data())
def test_a_journal_cut_anywhere_or_flipped_gives_the_same_file(path: Path, data: st.DataObject) -> None:
    if not path.exists():
        _run(path)
    whole = path.read_bytes()
    path.unlink()
    _stage(path, 3)
    journal = staging_folder(path) / "journal.jsonl"
    content = bytearray(journal.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    journal.write_bytes(content)
    _run(path)
    assert path.read_bytes() == whole


# --- plans


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 8}, "batch_size: 4 there, 8 here"),
        ({"preprocessing": {"resize": 128, "mean": [0.5]}}, "preprocessing.resize: 256 there, 128 here"),
        ({"versions": {}}, "versions.torch: 2 there, nothing here"),
        ({"seed": 1}, "seed: nothing there, 1 here"),
        ({"samples_sha256": "b" * 64}, r"the samples \(ids, file sizes, file times or labels\): aaa"),
        ({"backbone": "x" * 100}, r"backbone: tiny there, x{57}\.\.\. here"),
    ],
)
def test_another_plan_is_refused_by_name(path: Path, change: dict[str, Any], named: str) -> None:
    _stage(path, 1)
    with pytest.raises(ConflictError, match=rf"a\.h5\.partial was begun with other settings \({named}") as caught:
        _run(path, {**PLAN, **change})
    assert "delete the folder, or use --overwrite" in str(caught.value)
    assert _run(path) == [1, 2]
    with pytest.raises(ConflictError, match=rf"a\.h5 was made with other settings \({named}.*--overwrite"):
        _run(path, {**PLAN, **change})
    assert _run(path, {**PLAN, **change}, overwrite=True) == [0, 1, 2]


def test_same_plan_over_a_finished_file_does_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(path)
    before = written(path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", refuse)
    assert _run(path) == []
    assert written(path) == before


def test_death_between_the_final_name_and_the_clearing_up(path: Path) -> None:
    _run(path)
    done = path.rename(path.with_name("done"))
    _stage(path, 3)
    done.rename(path)
    assert _run(path) == []
    assert _names(path.parent) == ["a.h5"]


def test_overwrite_keeps_the_old_file_until_the_new_one_is_whole(path: Path) -> None:
    _run(path)
    old, other = path.read_bytes(), {**PLAN, "batch_size": 8}
    with open_staging(path, other, LAYOUT, overwrite=True) as staging:
        assert staging is not None
        _append(staging)
    assert path.read_bytes() == old
    assert _run(path, other, overwrite=True) == [1, 2]  # taken up, not begun again
    assert path.read_bytes() != old


def test_unreadable_things_in_the_way(path: Path) -> None:
    damaged = b"\x89HDF\r\n\x1a\n and no more"
    path.write_bytes(damaged)
    with pytest.raises(ConflictError, match=r"exists and cannot be read as a feature file: .*--overwrite"):
        _run(path)
    assert path.read_bytes() == damaged
    _run(path, overwrite=True)
    path.unlink()
    _stage(path, 1)
    (staging_folder(path) / "plan.json").write_text("[]")
    with pytest.raises(ConflictError, match=r"plan\.json cannot be read"):
        _run(path)


def test_a_second_writer_is_refused(path: Path) -> None:
    with open_staging(path, PLAN, LAYOUT) as staging:
        assert staging is not None
        _append(staging)
        with pytest.raises(ConflictError, match="is being written by"):
            _run(path)
        with pytest.raises(ConflictError, match="is being written by"):
            write_features(path, VALUES, sample_ids=IDS, dataset="d", backbone="b")
    assert _run(path) == [1, 2]


def test_write_features_beside_unfinished_work_leaves_it(path: Path) -> None:
    _stage(path, 1)
    write_features(path, VALUES, sample_ids=IDS, dataset="d", backbone="b")
    assert _names(staging_folder(path)) == ["data.bin", "journal.jsonl", "plan.json"]


# --- disks


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_noticed_before_any_work(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", _full)
    with pytest.raises(HeadclustError, match=r"cannot write .*a\.h5: No space left on device: free some space"):
        _run(path)
    assert _names(path.parent) == []


def test_a_disk_too_full_for_the_plan_is_left_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", _full)
    with pytest.raises(HeadclustError, match="No space left on device"):
        _run(path)
    assert _names(path.parent) == []


def test_space_for_the_finished_file_is_asked_for_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(path.parent)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(HeadclustError, match=r"No space left on device \(1\.0 MB needed, 1\.0 MB free\)"):
        _run(path)
    assert _names(path.parent) == []


def test_where_space_cannot_be_reserved_it_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(path)
    whole = path.read_bytes()
    path.unlink()
    monkeypatch.delattr(os, "posix_fallocate")
    _stage(path, 1)
    assert (staging_folder(path) / "data.bin").stat().st_size == 10 * LAYOUT.row_bytes
    assert _run(path) == [1, 2]
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["pwrite", "fsync", "write"])
def test_a_disk_that_fails_on_the_way_costs_a_block(path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _run(path)
    whole = path.read_bytes()
    path.unlink()
    with open_staging(path, PLAN, LAYOUT) as staging:
        assert staging is not None
        _append(staging)
        with monkeypatch.context() as patched:
            patched.setattr(os, name, _full)
            with pytest.raises(HeadclustError, match="No space left on device"):
                _append(staging)
    assert _run(path) == [1, 2]
    assert path.read_bytes() == whole


def test_a_disk_that_fails_at_the_end_costs_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stage(path, 3)
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", _full)
        with pytest.raises(HeadclustError, match="No space left on device"):
            _run(path)
    assert _names(path.parent) == ["a.h5.partial"]
    assert _run(path) == []
    assert verify_features(path) == []


def test_a_resume_that_cannot_even_open_its_files_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stage(path, 2)
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", _full)
        with pytest.raises(HeadclustError):
            _run(path)
    assert _run(path) == [2]


# --- contents


def test_every_image_bad(path: Path) -> None:
    with open_staging(path, PLAN, LAYOUT) as staging:
        assert staging is not None
        for block in range(3):
            rows = LAYOUT.rows(block)
            staging.append(VALUES[None, rows.start : rows.stop], dict.fromkeys(rows, BAD[1]))
        with pytest.raises(DataError, match=r"none of 10 images can be read \(the first: 0\.jpg: torn\)"):
            staging.finish(IDS, LABELS)
    assert _names(path.parent) == []


def test_the_journal_is_as_documented(path: Path) -> None:
    _stage(path, 1)
    folder = staging_folder(path)
    assert json.loads((folder / "plan.json").read_text()) == PLAN
    (line,) = (folder / "journal.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["block"], entry["bad"]) == (0, [[1, "torn", "lasting"]])
    assert (folder / "data.bin").read_bytes() == VALUES[:4].tobytes() + bytes(6 * LAYOUT.row_bytes)


# --- views

VIEWED = Layout(n_listed=10, feature_dim=3, dtype="float16", block_rows=4, n_views=2)
SEEN = np.stack([VALUES, VALUES + 100, VALUES + 200]).astype(np.float16)


def _run_viewed(path: Path, n_blocks: int = 3) -> None:
    with open_staging(path, {**PLAN, "dtype": "float16", "n_views": 2}, VIEWED) as staging:
        assert staging is not None
        for block in range(staging.done.n_blocks, n_blocks):
            rows = VIEWED.rows(block)
            staging.append(SEEN[:, rows.start : rows.stop], {row: BAD[row] for row in rows if row in BAD})
        if n_blocks == 3:
            staging.finish(IDS, LABELS)


def test_views_are_staged_with_their_rows(path: Path) -> None:
    _run_viewed(path)
    whole, kept = path.read_bytes(), [row for row in range(10) if row not in BAD]
    features = load_features(path)
    assert features.n_views == 2
    assert np.array_equal(features.all(), SEEN[0, kept])
    for view in range(2):
        assert np.array_equal(features.rows(slice(None), view), SEEN[1 + view, kept])
    assert verify_features(path) == []
    path.unlink()
    for n_blocks in (1, 2, 3):
        _run_viewed(path, n_blocks)
    assert path.read_bytes() == whole


def test_a_damaged_view_is_made_again(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run_viewed(path, 2)
    with (staging_folder(path) / "data.bin").open("r+b") as file:
        file.seek(VIEWED.row_bytes * 8 - 1)  # the last byte of block 1: of its view 1
        file.write(b"\xff")
    _run_viewed(path)
    assert "block 1 is damaged" in capsys.readouterr().err
    assert verify_features(path) == []


def test_views_need_no_more_memory_than_a_block(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run_viewed(path, 2)
    largest, pread = [0], os.pread

    def watched(descriptor: int, size: int, offset: int) -> bytes:
        largest[0] = max(largest[0], size)
        return pread(descriptor, size, offset)

    with open_staging(path, {**PLAN, "dtype": "float16", "n_views": 2}, VIEWED) as staging:
        assert staging is not None
        rows = VIEWED.rows(2)
        staging.append(SEEN[:, rows.start : rows.stop], {9: BAD[9]})
        monkeypatch.setattr(os, "pread", watched)
        for table in _feature_tables([staging.done], 8):
            for _ in table.blocks:
                pass
    assert 0 < largest[0] <= 4 * VIEWED.row_bytes // 3
