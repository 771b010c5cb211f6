"""Stage 1 begun again: over a finished file, over unfinished work, and over what is something else."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gray import (
    FakeBackbone,
    FakeImages,
    FakePreprocessing,
    Interrupted,
    N,
    embed,
    rows_read,
    written,
)

from headclust.errors import ConflictError, DataError
from headclust.features import staging_folder, verify_features


def test_repeating_does_nothing_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, backbone = embed(tmp_path / "a.h5"), FakeBackbone()
    before = written(path)
    assert embed(path, backbone=backbone) == path
    assert "nothing to do" in capsys.readouterr().err
    assert backbone.model.batches == []
    assert written(path) == before


def test_a_finished_file_is_not_accepted_where_its_images_would_not_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = FakeImages(bad=(3, 77))
    path = embed(tmp_path / "a.h5", images, on_error="skip")
    before = written(path)
    with pytest.raises(DataError, match=r"^3\.png: torn after 3 bytes: fix or remove it, .*--on-error skip\.$"):
        embed(path, images)
    expected = r"^2 of the images cannot be read, --max-bad allows 1 \(the last: 77\.png: torn after 77 bytes\): "
    with pytest.raises(DataError, match=expected):
        embed(path, images, on_error="skip", max_bad=1)
    capsys.readouterr()
    embed(path, images, on_error="skip", max_bad=2)
    assert f"(2 of {N} images cannot be read and are listed as skipped): nothing to do" in capsys.readouterr().err
    assert written(path) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 9}, "batch_size: 8 there, 9 here"),
        ({"dtype": "float16"}, "dtype: float32 there, float16 here"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"images": FakeImages(N - 1)}, "n_listed: 150 there, 149 here"),
        ({"images": FakeImages(source="/other")}, "source: /gray there, /other here"),
        ({"backbone": replace(FakeBackbone(), weights_sha256="1" * 64)}, "weights_sha256"),
        (
            {"backbone": FakeBackbone(preprocessing=FakePreprocessing({"input_size": [9, 9], "mean": [0.5] * 3}))},
            r"preprocessing\.input_size: \[8, 8\] there, \[9, 9\] here",
        ),
        ({"n_views": 1}, "augmentation: nothing there, standard here"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    path = embed(tmp_path / "a.h5")
    with pytest.raises(ConflictError, match=named):
        embed(path, **change)
    embed(path, **change, overwrite=True)
    assert verify_features(path) == []


def test_ctrl_c_can_be_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = embed(tmp_path / "whole.h5").read_bytes()

    path, before = tmp_path / "a.h5", set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        embed(path, backbone=FakeBackbone(Interrupted(5)))
    for thread in set(threading.enumerate()) - before:
        thread.join(10)  # it may be about to end
        assert not thread.is_alive(), thread.name
    assert "stopped after 40 of 150 images" in capsys.readouterr().err
    assert not (staging_folder(path) / "lock").exists()
    assert embed(path).read_bytes() == whole
    assert "resuming after 40 of 150 images" in capsys.readouterr().err


def test_what_was_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = embed(tmp_path / "a.h5", FakeImages(bad=(9, 4)), on_error="skip")
    told = f"2 of {N} images cannot be read and are listed as skipped in {path}; the first: 4.png: torn after 4 bytes."
    assert capsys.readouterr().err == f"{told}\n"


def test_a_reason_that_ends_as_a_sentence_gets_no_second_period(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Sentence(FakeImages):
        def read(self, row: int) -> Any:
            if row == 4:
                raise DataError("it is torn.")
            return super().read(row)

    with pytest.raises(DataError, match=r"^4\.png: it is torn: fix"):
        embed(tmp_path / "a.h5", Sentence())
    capsys.readouterr()
    embed(tmp_path / "a.h5", Sentence(), on_error="skip")
    assert capsys.readouterr().err.endswith("the first: 4.png: it is torn.\n")


def test_a_source_that_goes_away_stops_the_run_whatever_may_be_skipped(tmp_path: Path) -> None:
    def before(row: int) -> None:
        if row == 40:
            raise ConflictError("/gray has gone: bring it back, then run it again.")

    with pytest.raises(ConflictError, match="/gray has gone"):
        embed(tmp_path / "a.h5", FakeImages(before=before), on_error="skip")
    assert not (tmp_path / "a.h5").exists()
    assert rows_read(embed(tmp_path / "a.h5", on_error="skip")) == list(range(N))


@pytest.mark.parametrize("overwrite", [False, True])
def test_only_feature_files_are_ever_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "list.csv").write_text("path,label\n")
    (tmp_path / "empty.h5").touch()
    with pytest.raises(ConflictError, match=r"folder is a folder: choose another name"):
        embed(tmp_path / "folder", overwrite=overwrite)
    with pytest.raises(ConflictError, match=r"list\.csv is a file of another kind: choose another name"):
        embed(tmp_path / "list.csv", overwrite=overwrite)
    assert (tmp_path / "list.csv").read_text() == "path,label\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.h5", "folder", "list.csv"]
    embed(tmp_path / "empty.h5", overwrite=True)
