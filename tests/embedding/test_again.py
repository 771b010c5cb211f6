"""Images that were left out for a reason that can pass are tried again, and only these."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gray import FakeBackbone, FakeImages, Interrupted, N, embed, rows_read, views_drawn, written

from headclust.errors import ConflictError, DataError, FileFormatError, PassingError
from headclust.features import load_features, staging_folder, verify_features
from headclust.features.format import ContentDigest
from headclust.features.structure import stored_attributes

AWAY = (*range(20, 60), N - 1)


@dataclass(frozen=True)
class Disk(FakeImages):
    """Images whose `away` rows are missing for now; `sizes` are the sizes of files that differ from the others."""

    away: tuple[int, ...] = ()
    sizes: dict[int, int] = field(default_factory=dict)

    @property
    def stamps(self) -> tuple[tuple[int, int], ...]:
        return tuple((self.sizes.get(row, 10), 20) for row in range(self.n))

    def read(self, row: int) -> Any:
        if row in self.away:
            raise PassingError("no such file")
        return super().read(row)


@pytest.mark.parametrize("options", [{}, {"n_views": 2, "dtype": "float16"}, {"batch_size": 64}])
def test_a_disk_that_comes_back_gives_the_file_of_a_run_in_which_nothing_failed(
    tmp_path: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = embed(tmp_path / "whole.h5", **options).read_bytes()
    path = embed(tmp_path / "a.h5", Disk(away=AWAY), on_error="skip", **options)
    assert len(load_features(path).skipped) == len(AWAY)
    capsys.readouterr()
    backbone = FakeBackbone()
    embed(path, backbone=backbone, **options)  # strict, too
    assert path.read_bytes() == whole
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["a.h5", "whole.h5"]
    planes, size = 1 + options.get("n_views", 0), options.get("batch_size", 8)
    assert len(backbone.model.batches) == planes * len({row // size for row in AWAY})  # only their batches
    assert f"left out before: {len(AWAY)}." in capsys.readouterr().err


def test_only_the_images_that_were_left_out_are_read(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5", Disk(away=(3, 77)), on_error="skip")

    def only(row: int) -> None:
        assert row in (3, 77), row

    embed(path, FakeImages(before=only))
    assert rows_read(path) == list(range(N))


def test_a_reason_that_cannot_pass_is_not_tried_again(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5", Disk(away=(3, 77), bad=(9,)), on_error="skip")
    kinds = {name: reason.passing for name, reason, _ in load_features(path).left_out}
    assert kinds == {"3.png": True, "9.png": False, "77.png": True}
    embed(path, Disk(bad=(), before=lambda row: os._exit(1) if row == 9 else None), on_error="skip")
    assert load_features(path).skipped == (("9.png", "torn after 9 bytes"),)
    assert path.read_bytes() == embed(tmp_path / "b.h5", FakeImages(bad=(9,)), on_error="skip").read_bytes()
    before = written(path)
    with pytest.raises(DataError, match=r"^9\.png: torn after 9 bytes"):
        embed(path)
    assert written(path) == before


def test_what_still_fails_leaves_the_file_as_it_is_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = embed(tmp_path / "a.h5", Disk(away=AWAY), on_error="skip")
    before, backbone = written(path), FakeBackbone()
    capsys.readouterr()
    embed(path, Disk(away=AWAY), backbone, on_error="skip")
    assert (written(path), backbone.model.batches) == (before, [])
    lines = capsys.readouterr().err
    assert f"{len(AWAY)} images that were left out were tried again, and still cannot be read: it stays" in lines
    with pytest.raises(DataError, match=r"^20\.png: no such file: fix or remove it"):
        embed(path, Disk(away=AWAY))
    assert written(path) == before
    assert not staging_folder(path).exists()


def test_strict_names_only_what_is_still_broken(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5", Disk(away=(20, 77)), on_error="skip")
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"^77\.png: no such file"):
        embed(path, Disk(away=(77,)))
    assert path.read_bytes() == before
    embed(path)
    assert rows_read(path) == list(range(N))


def test_unfinished_work_with_images_that_were_away(tmp_path: Path) -> None:
    path, disk = tmp_path / "a.h5", Disk(away=(3, 4))
    with pytest.raises(KeyboardInterrupt):
        embed(path, disk, FakeBackbone(Interrupted(5)), on_error="skip")
    with pytest.raises(DataError, match=r"^4\.png: no such file"):
        embed(path, Disk(away=(4,)))
    embed(path)  # strict: nothing is broken now
    assert path.read_bytes() == embed(tmp_path / "whole.h5").read_bytes()
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        embed(path, disk, FakeBackbone(Interrupted(5)), on_error="skip")
    embed(path, on_error="skip")
    assert rows_read(path) == list(range(N))


def test_another_try_resumes_and_the_old_file_stays_until_it_is_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = embed(tmp_path / "whole.h5").read_bytes()
    path = embed(tmp_path / "a.h5", Disk(away=AWAY), on_error="skip")
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        embed(path, backbone=FakeBackbone(Interrupted(3)))
    assert path.read_bytes() == before
    capsys.readouterr()
    backbone = FakeBackbone()
    embed(path, backbone=backbone)
    assert len(backbone.model.batches) == len({row // 8 for row in AWAY}) - 3
    assert "resuming after" in capsys.readouterr().err
    assert path.read_bytes() == whole
    assert not staging_folder(path).exists()


def test_another_try_whose_file_is_gone_is_resumed_as_a_new_one(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5", Disk(away=AWAY), on_error="skip")
    with pytest.raises(KeyboardInterrupt):
        embed(path, backbone=FakeBackbone(Interrupted(3)))
    path.unlink()
    embed(path)
    assert path.read_bytes() == embed(tmp_path / "whole.h5").read_bytes()


def test_a_file_that_is_replaced_is_tried_again_whatever_its_reason_was(tmp_path: Path) -> None:
    """Also one that was missing when the images were listed: it had no size then."""
    path = embed(tmp_path / "a.h5", Disk(away=(20,), bad=(9,), sizes={20: 0}), on_error="skip")
    mended = Disk(sizes={9: 11})
    embed(path, mended)
    assert rows_read(path) == list(range(N))
    assert path.read_bytes() == embed(tmp_path / "whole.h5", mended).read_bytes()
    with pytest.raises(ConflictError, match="the samples"):  # any other file that changes makes another file
        embed(path, Disk(sizes={9: 11, 10: 11}))


def test_time_outs_and_killed_decoders_pass_and_crashes_do_not(tmp_path: Path) -> None:
    def before(row: int) -> None:
        if row == 20:
            time.sleep(60)
        if row in (50, 70):
            os.kill(os.getpid(), signal.SIGKILL if row == 50 else signal.SIGSEGV)

    path = embed(tmp_path / "a.h5", FakeImages(before=before), timeout=0.2, on_error="skip")
    assert [reason.passing for _, reason, _ in load_features(path).left_out] == [True, True, False]
    embed(path, on_error="skip")
    assert [name for name, _ in load_features(path).skipped] == ["70.png"]


def _without_kinds(path: Path) -> None:
    """The file as an older version would have written it."""
    with h5py.File(path, "r+") as file:
        del file.attrs["skipped_kinds"], file["stamps"]
        digest = ContentDigest(stored_attributes(file))
        for name in ("features", "sample_ids", "labels", "skipped"):
            digest.begin(name, file[name].dtype, file[name].shape)
            digest.update(file[name][:])
        file.attrs["sha256"] = np.bytes_(digest.hexdigest())


def test_files_of_older_versions_record_no_kind_and_every_reason_is_tried_again(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5", Disk(away=AWAY, bad=(9,)), on_error="skip")
    _without_kinds(path)
    assert verify_features(path) == []
    assert all(reason.passing for _, reason, _ in load_features(path).left_out)
    embed(path, FakeImages(bad=(9,)), on_error="skip")
    assert path.read_bytes() == embed(tmp_path / "b.h5", FakeImages(bad=(9,)), on_error="skip").read_bytes()


@pytest.mark.parametrize("kinds", ["{}", "[]", "[1]", '[["passing"]]', '[["soon", 1, 2]]', '[["lasting", 1, "2"]]'])
def test_forged_kinds_are_one_line(tmp_path: Path, kinds: str) -> None:
    path = embed(tmp_path / "a.h5", Disk(away=(3,)), on_error="skip")
    with h5py.File(path, "r+") as file:
        file.attrs["skipped_kinds"] = np.bytes_(kinds)
    with pytest.raises(FileFormatError, match="skipped_kinds"):
        load_features(path)


def test_a_damaged_file_is_not_copied(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5", Disk(away=(3,)), on_error="skip")
    with h5py.File(path, "r+") as file:
        file["features"][5, 0] += 1
    with pytest.raises(FileFormatError, match="sha256"):
        embed(path)


def test_views_of_an_image_that_comes_back_are_its_own(tmp_path: Path) -> None:
    whole = embed(tmp_path / "whole.h5", n_views=1, seed=3)
    path = embed(tmp_path / "a.h5", Disk(away=(3,)), on_error="skip", n_views=1, seed=3)
    embed(path, n_views=1, seed=3)
    assert views_drawn(path, 0) == views_drawn(whole, 0)


def test_the_journal_of_an_older_version_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(KeyboardInterrupt):
        embed(path, Disk(away=(3,)), FakeBackbone(Interrupted(5)), on_error="skip")
    journal = staging_folder(path) / "journal.jsonl"
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    assert entries[0]["bad"] == [[3, "no such file", "passing"]]
    rows = (staging_folder(path) / "data.bin").read_bytes()[: 8 * 9 * 4]
    entries[0]["bad"] = [[3, "no such file"]]
    entries[0]["sha256"] = hashlib.sha256(rows + json.dumps(entries[0]["bad"]).encode()).hexdigest()
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    backbone = FakeBackbone()
    embed(path, backbone=backbone)
    assert len(backbone.model.batches) == -(-N // 8) - 5 + 1
    assert rows_read(path) == list(range(N))
