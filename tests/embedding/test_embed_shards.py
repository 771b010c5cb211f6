"""Stage 1 in shards: the bytes of one process, whatever dies, and nothing merged that does not belong together."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gray import FakeBackbone, FakeImages, FakeModel, Interrupted, embed

from headclust.embedding import EmbedSettings
from headclust.embedding.parts import plan_of
from headclust.embedding.shards import embed_shard, merge
from headclust.errors import BusyError, ConflictError, DataError, HeadclustError, PassingError
from headclust.features import load_features, staging_folder, verify_features
from headclust.features.lock import writer_lock
from headclust.features.sharded import begun_shards
from headclust.shards import Shard

N = 42  # 6 blocks of 8 rows
BAD = (3, 11, 40)


@pytest.fixture(autouse=True)
def _one_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "99")


def shard(path: Path, number: int, of: int, images: Any = None, backbone: Any = None, **options: Any) -> bool:
    unlike = options.pop("allow_unlike", False)
    options = {"batch_size": 8, "device": "cpu", **options}
    return embed_shard(
        images or FakeImages(N),
        backbone or FakeBackbone(),
        path,
        Shard(number, of),
        EmbedSettings(**options),
        allow_unlike=unlike,
    )


def merge_all(path: Path, images: Any = None, allow_unlike: bool = False, **options: Any) -> None:
    images = images or FakeImages(N)
    merge(images, path, EmbedSettings(batch_size=8, **options), plan_of(images), allow_unlike=allow_unlike)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Bytes of the file that one process makes."""
    folder, made = tmp_path_factory.mktemp("whole"), dict[str, bytes]()

    def make(bad: tuple[int, ...] = (), **options: Any) -> bytes:
        key = f"{bad}{options}"
        if key not in made:
            made[key] = embed(folder / f"{len(made)}.h5", FakeImages(N, bad), **options).read_bytes()
        return made[key]

    return make


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# --- the same bytes


@pytest.mark.parametrize(
    ("of", "bad", "options"),
    [
        (1, (), {}),
        (2, (), {"n_views": 2}),
        (3, BAD, {"on_error": "skip", "dtype": "float16"}),
        (7, BAD, {"on_error": "skip", "n_views": 1}),  # more shards than blocks
    ],
)
def test_shards_end_in_the_bytes_of_one_process(tmp_path: Path, whole: Any, of: int, bad: Any, options: Any) -> None:
    path, images = tmp_path / "a.h5", FakeImages(N, bad)
    order = [*range(2, of + 1), 1]
    finished = [shard(path, number, of, images, **options) for number in order]
    assert finished.index(True) == of - 1 - (of == 7)  # then shard 1 is empty
    assert path.read_bytes() == whole(bad, **options)
    assert names(tmp_path) == ["a.h5"]


def test_a_finished_file_is_left_alone_by_shards_and_merging(tmp_path: Path, whole: Any, capsys: Any) -> None:
    path = tmp_path / "a.h5"
    shard(path, 1, 2)
    shard(path, 2, 2)
    before = path.stat().st_mtime_ns
    merge_all(path)
    assert shard(path, 2, 2)
    assert path.stat().st_mtime_ns == before
    assert capsys.readouterr().err.count("is finished already") == 2
    assert path.read_bytes() == whole()
    assert names(tmp_path) == ["a.h5"]


def test_a_shard_that_is_interrupted_goes_on_after_its_last_block(tmp_path: Path, whole: Any) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(KeyboardInterrupt):
        shard(path, 2, 2, backbone=FakeBackbone(Interrupted(2)))
    model = FakeModel()
    shard(path, 2, 2, backbone=FakeBackbone(model))
    assert len(model.batches) == 1
    shard(path, 1, 2)
    assert path.read_bytes() == whole()


# --- a death at any moment: a process that is forked, killed, and done again


def killed(work: Callable[[], object]) -> None:
    """Does the work in a process that kills itself in it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize(
    "moment",
    [
        "headclust.features.staging._append_line",  # after the rows of a block
        "headclust.features.merging.write_parts",  # all shards are complete
        "headclust.features.writing.verify_features",  # the file is written
        "headclust.features.merging.discard_shards",  # it has its name
    ],
)
def test_killed_in_any_phase_the_file_is_the_same(tmp_path: Path, whole: Any, monkeypatch: Any, moment: str) -> None:
    path = tmp_path / "a.h5"
    shard(path, 1, 2)
    with monkeypatch.context() as patched:
        patched.setattr(moment, die)
        killed(lambda: shard(path, 2, 2))
    if path.exists():  # of the merge, only the staging is left
        embed(path, FakeImages(N))
        assert names(tmp_path) == ["a.h5"]
    assert shard(path, 2, 2)
    assert path.read_bytes() == whole()
    assert names(tmp_path) == ["a.h5"]


# --- refused


def test_two_processes_on_one_shard(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with writer_lock(staging_folder(path, Shard(1, 2))), pytest.raises(BusyError, match="1-of-2 is being written"):
        shard(path, 1, 2)
    assert not shard(path, 1, 2)


def test_a_shard_that_is_missing_or_incomplete_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(DataError, match="has no shards to merge: make them first, with --shard 1/N"):
        merge_all(path)
    shard(path, 2, 3)
    with pytest.raises(KeyboardInterrupt):
        shard(path, 3, 3, backbone=FakeBackbone(Interrupted(1)))
    line = r"incomplete are the shards 1/3 \(0 of 2 blocks\), 3/3 \(1 of 2 blocks\).* with --shard 1/3"
    with pytest.raises(ConflictError, match=line):
        merge_all(path)
    shard(path, 1, 3)
    shard(path, 3, 3)
    assert verify_features(path) == []


def test_damage_is_found_before_it_is_merged(tmp_path: Path, whole: Any) -> None:
    path = tmp_path / "a.h5"
    shard(path, 1, 2)
    data = staging_folder(path, Shard(1, 2)) / "data.bin"
    data.write_bytes(b"\xff" + data.read_bytes()[1:])
    with pytest.raises(ConflictError, match=r"1/2 \(0 of 3 blocks\)"):
        shard(path, 2, 2)
    assert shard(path, 1, 2)
    assert path.read_bytes() == whole()


def test_while_another_process_merges(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "a.h5"
    shard(path, 1, 2)
    with writer_lock(staging_folder(path)):
        assert not shard(path, 2, 2)
        assert "another process merges them" in capsys.readouterr().err
        with pytest.raises(BusyError):
            merge_all(path)
    merge_all(path)
    assert verify_features(path) == []


@pytest.mark.parametrize(("begun", "then"), [((1, 2), (1, 3)), ((1, 2), (1, 1)), ((1, 1), (1, 2))])
def test_another_number_of_shards_is_refused_or_replaces(tmp_path: Path, begun: Any, then: Any) -> None:
    path = tmp_path / "a.h5"

    def work(part: tuple[int, int], **options: Any) -> None:
        if part == (1, 1):
            embed(path, FakeImages(N), **options)
        else:
            shard(path, *part, **options)

    with pytest.raises(KeyboardInterrupt):
        work(begun, backbone=FakeBackbone(Interrupted(1)))
    with pytest.raises(ConflictError, match=r"begun in 2 shards, this is (shard 1/3|one process)|work of one process"):
        work(then)
    work(then, overwrite=True)
    assert [part.of for part in begun_shards(path)] == ([then[1]] if then[1] > 1 else [])


def test_other_settings_are_refused_at_the_start_and_at_the_merge(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    shard(path, 1, 2)
    with pytest.raises(ConflictError, match=r"shard 2/2 differs from shard 1/2 .seed: 0 there, 1 here.: repeat"):
        shard(path, 2, 2, seed=1)
    with pytest.raises(ConflictError, match=r"made with other settings .dataset: gray there, white here"):
        merge_all(path, FakeImages(N, dataset="white"))
    plan = staging_folder(path, Shard(1, 2)) / "plan.json"
    changed = {**json.loads(plan.read_text()), "seed": 1}
    plan.write_text(json.dumps(changed))
    with pytest.raises(ConflictError, match="differs from shard 1/2"):
        shard(path, 2, 2)


def other_machine(monkeypatch: Any) -> None:
    monkeypatch.setattr("headclust.embedding.parts.description", lambda device: {"device": "B300", "threads": 9})


def test_unlike_machines_are_refused_or_recorded(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    path = tmp_path / "a.h5"
    shard(path, 1, 3)
    with monkeypatch.context() as patched:
        other_machine(patched)
        with pytest.raises(ConflictError, match=r"device: cpu there, B300 here.*--allow-unlike, which records them"):
            shard(path, 2, 3)
        with pytest.raises(KeyboardInterrupt):
            shard(path, 3, 3, backbone=FakeBackbone(Interrupted(1)), allow_unlike=True)
        shard(path, 2, 3, allow_unlike=True)
    assert shard(path, 3, 3, allow_unlike=True)  # begun on the other machine
    assert (
        "3-of-3 was begun on another machine (device: B300 there, cpu here): it begins anew" in capsys.readouterr().err
    )
    attributes = load_features(path).attributes
    assert [machine[:3] for machine in attributes["machines"]] == [
        [0, "cpu", attributes["threads"]],
        [16, "B300", 9],
        [32, "cpu", attributes["threads"]],
    ]
    assert verify_features(path) == []
    with monkeypatch.context() as patched:  # finished, whatever the machine
        other_machine(patched)
        assert shard(path, 1, 3)


def test_unlike_machines_are_refused_at_the_merge(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "a.h5"
    shard(path, 1, 2)
    with monkeypatch.context() as patched:
        other_machine(patched)
        shard(path, 2, 2, allow_unlike=True)
    path.unlink()
    shard(path, 1, 2)
    with monkeypatch.context() as patched:
        other_machine(patched)
        patched.setattr("headclust.features.staging.check_begun", lambda *_, **__: None)  # both began at once
        with pytest.raises(ConflictError, match=r"shard 2/2 differs from shard 1/2 .device"):
            shard(path, 2, 2)
    merge_all(path, allow_unlike=True)
    assert [row for row, *_ in load_features(path).attributes["machines"]] == [0, 24]


# --- unreadable images


def test_max_bad_counts_over_all_shards(tmp_path: Path) -> None:
    path, images = tmp_path / "a.h5", FakeImages(N, BAD)
    shard(path, 1, 2, images, on_error="skip", max_bad=2)
    with pytest.raises(DataError, match="3 of the images cannot be read, --max-bad allows 2"):
        shard(path, 2, 2, images, on_error="skip", max_bad=2)
    with writer_lock(staging_folder(path)):
        shard(path, 2, 2, images, on_error="skip", max_bad=9)
    with pytest.raises(DataError, match="3 of the images cannot be read, --max-bad allows 2"):
        merge_all(path, images, on_error="skip", max_bad=2)
    merge_all(path, images, on_error="skip", max_bad=3)
    assert len(load_features(path).skipped) == 3


def test_passing_failures_are_tried_again_after_the_merge(tmp_path: Path, whole: Any, capsys: Any) -> None:
    path = tmp_path / "a.h5"

    def away(row: int) -> None:
        if row in BAD:
            raise PassingError("no such file")

    for number in (1, 2):
        shard(path, number, 2, FakeImages(N, before=away), on_error="skip")
    assert "3 of these may be readable later" in capsys.readouterr().err
    assert len(load_features(path).skipped) == 3
    assert embed(path, FakeImages(N), on_error="skip").read_bytes() == whole()


def test_no_image_can_be_read(tmp_path: Path) -> None:
    path, images = tmp_path / "a.h5", FakeImages(9, tuple(range(9)))
    shard(path, 1, 2, images, on_error="skip")
    with pytest.raises(DataError, match="none of 9 images can be read"):
        shard(path, 2, 2, images, on_error="skip")


def test_a_shard_whose_lock_was_taken_stops(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    lock = staging_folder(path, Shard(1, 2)) / "lock"

    class Suspended(FakeModel):
        def forward(self, batch: Any) -> Any:
            lock.write_text(json.dumps({"host": "elsewhere.example", "pid": 1, "beats": True}))
            return super().forward(batch)

    with pytest.raises(HeadclustError, match="has lost its lock"):
        shard(path, 1, 2, backbone=FakeBackbone(Suspended()))
    shutil.rmtree(staging_folder(path))
