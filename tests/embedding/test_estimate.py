"""The dry run: what it says against what embedding then does, within ten seconds, and nothing written."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gray import FakeBackbone, FakeImages, FakeModel, Interrupted, embed

from headclust.embedding import EmbedSettings
from headclust.embedding.embed import embed_images
from headclust.embedding.estimate import Estimate, estimate
from headclust.errors import DataError, SettingError
from headclust.features import staging_folder


def _estimate(path: Path, images: FakeImages | None = None, backbone: Any = None, **options: Any) -> Estimate:
    options = {"batch_size": 8, "device": "cpu", **options}
    return estimate(
        FakeImages() if images is None else images, backbone or FakeBackbone(), path, EmbedSettings(**options)
    )


@pytest.mark.parametrize("options", [{}, {"n_views": 2, "dtype": "float16"}])
def test_the_file_is_as_large_as_was_said_and_nothing_is_written(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "deep" / "folder" / "a.h5"
    said = _estimate(path, **options)
    assert list(tmp_path.iterdir()) == []
    embed_images(FakeImages(), FakeBackbone(), path, EmbedSettings(batch_size=8, device="cpu", **options))
    assert said.n_images == 150
    assert abs(said.feature_bytes - path.stat().st_size) < 8192
    assert said.peak_bytes > said.feature_bytes + 150 * 9 * (2 if options else 4) * (3 if options else 1)
    assert said.free_bytes > 0


def test_memory_is_weights_pixels_and_twice_the_largest_layer(tmp_path: Path) -> None:
    said = _estimate(tmp_path / "a.h5", n_views=1)
    assert said.weight_bytes == 6 * 3 * 3 * 3 * 4
    image = 8 * 8 * 3
    assert said.pixel_bytes == 8 * image * (3 * 2 + 4)
    assert said.activation_bytes == 2 * 8 * 4 * (3 * 8 * 8 + 6 * 6 * 6)


def test_seconds_are_what_reading_and_the_model_take(tmp_path: Path) -> None:
    class Slow(FakeModel):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            time.sleep(0.01 * len(batch))
            return super().forward(batch)

    images = FakeImages(before=lambda row: time.sleep(0.02))
    said = _estimate(tmp_path / "a.h5", images, FakeBackbone(Slow()), n_views=1)
    assert said.n_sampled == 16
    assert 2 * 150 * 0.01 <= said.model_seconds < 3 * 2 * 150 * 0.01
    assert said.n_slow == 0
    assert 0.02 * 150 / 64 < said.reading_seconds < 3 * 0.02 * 150
    assert said.seconds == said.reading_seconds + said.model_seconds


def test_what_is_slow_or_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headclust.embedding.estimate._READING", 0.3)
    monkeypatch.setattr("headclust.embedding.estimate._RUNNING", 0.3)

    class Slow(FakeModel):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            time.sleep(0.1 * len(batch))
            return super().forward(batch)

    start = time.monotonic()
    said = _estimate(tmp_path / "a.h5", FakeImages(10_000, before=time.sleep), FakeBackbone(Slow()), batch_size=512)
    assert time.monotonic() - start < 10  # 1.5 s on an idle machine
    assert 0 < said.n_sampled < 100
    assert said.bad == ()  # embedding will wait for a minute
    assert said.n_slow > 0
    assert said.model_seconds > 0.1 * 10_000


def test_what_cannot_be_read_among_the_sampled_is_told(tmp_path: Path) -> None:
    said = _estimate(tmp_path / "a.h5", FakeImages(16, bad=(3, 15)))
    assert sorted(said.bad) == [("15.png", "torn after 15 bytes"), ("3.png", "torn after 3 bytes")]


def test_settings_that_are_not_possible(tmp_path: Path) -> None:
    for options in (
        {"batch_size": 0},
        {"dtype": "int8"},
        {"precision": "x"},
        {"n_views": -1},
        {"timeout": -1},
        {"seed": -1},
        {"max_bad": 1},
    ):
        with pytest.raises(SettingError, match=r"expected|unknown"):
            _estimate(tmp_path / "a.h5", **options)
    with pytest.raises(DataError, match="no samples"):
        _estimate(tmp_path / "a.h5", FakeImages(0))


class Named(FakeImages):
    """Ids of a hundred characters, of which some are kept as more."""

    @property
    def sample_ids(self) -> tuple[str, ...]:
        return tuple(f"{row:06d}" + "\\" * 94 for row in range(self.n))


def test_ids_are_counted_as_they_are_kept(tmp_path: Path) -> None:
    said = _estimate(tmp_path / "a.h5", Named(2000))
    assert abs(said.feature_bytes - embed(tmp_path / "a.h5", Named(2000)).stat().st_size) < 8192


def test_attributes_are_counted(tmp_path: Path) -> None:
    images = FakeImages(class_names=tuple(f"class {i}" for i in range(10_000)))
    said = _estimate(tmp_path / "a.h5", images)
    assert abs(said.feature_bytes - embed(tmp_path / "a.h5", images).stat().st_size) < 8192


def test_the_last_batch_is_as_long_as_the_others(tmp_path: Path) -> None:
    class Slow(FakeModel):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            time.sleep(0.005 * len(batch))
            return super().forward(batch)

    said = _estimate(tmp_path / "a.h5", FakeImages(65), FakeBackbone(Slow()), batch_size=64)
    assert 128 * 0.005 <= said.model_seconds < 1.5 * 128 * 0.005


def test_an_image_that_is_only_slow_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headclust.embedding.estimate._READING", 0.4)
    tries = tmp_path / "tries"

    def slow(row: int) -> None:
        with tries.open("a") as file:
            file.write("once\n")
        time.sleep(60)

    images = FakeImages(1, before=slow)
    said = _estimate(tmp_path / "a.h5", images)
    assert (said.bad, said.n_slow, said.n_sampled) == ((), 1, 1)
    assert tries.read_text() == "once\n"
    assert 0.2 <= said.reading_seconds < 60
    said = _estimate(tmp_path / "a.h5", images, timeout=0.1)
    assert (said.bad, said.n_slow) == ((("0.png", "took more than 0.1 s to read: ended"),), 0)


# --- what would make embedding refuse


def _listed(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


UNTRAINED = replace(FakeBackbone(), weights_origin="untrained", weights_sha256="")


def test_nothing_in_the_way_is_no_problem(tmp_path: Path) -> None:
    assert _estimate(tmp_path / "a.h5").problems == ()


def test_a_finished_file_is_told(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5")
    before = _listed(tmp_path)
    for backbone in (FakeBackbone(), UNTRAINED):
        assert _estimate(path, backbone=backbone).problems == (
            f"{path} is finished already, with the same settings: nothing to do.",
        )
        (problem,) = _estimate(path, backbone=backbone, seed=1).problems
        assert "was made with other settings (seed: 0 there, 1 here): choose another -o" in problem
        assert _estimate(path, backbone=backbone, seed=1, overwrite=True).problems == ()
    (problem,) = _estimate(path, backbone=replace(FakeBackbone(), weights_sha256="1" * 64)).problems
    assert "weights_sha256: 000" in problem
    assert _listed(tmp_path) == before


def test_images_that_a_finished_file_leaves_out_are_told(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5", FakeImages(bad=(3,)), on_error="skip")
    images = FakeImages(bad=(3,))
    assert _estimate(path, images).problems[0].startswith("3.png: torn after 3 bytes: fix or remove it")
    assert "1 of 150 images cannot be read" in _estimate(path, images, on_error="skip").problems[0]


def test_work_begun_with_other_settings_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(KeyboardInterrupt):
        embed(path, backbone=FakeBackbone(Interrupted(5)))
    before = _listed(tmp_path)
    for backbone in (FakeBackbone(), UNTRAINED):
        assert _estimate(path, backbone=backbone).problems == ()
        (problem,) = _estimate(path, backbone=backbone, seed=1).problems
        assert "a.h5.partial was begun with other settings (seed: 0 there, 1 here)" in problem
        assert _estimate(path, backbone=backbone, seed=1, overwrite=True).problems == ()
    assert _listed(tmp_path) == before
    (staging_folder(path) / "plan.json").write_text("[1]")
    (problem,) = _estimate(path).problems
    assert "begun with other settings (plan.json cannot be read)" in problem


def test_an_output_that_is_something_else_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.csv").write_text("path,label\n")
    for overwrite in (False, True):
        assert (
            _estimate(tmp_path, overwrite=overwrite)
            .problems[0]
            .endswith("is a folder: choose another name for the feature file.")
        )
        (problem,) = _estimate(tmp_path / "list.csv", overwrite=overwrite).problems
        assert "is a file of another kind" in problem
    assert _estimate(tmp_path / "list.csv" / "deep" / "a.h5").problems == (
        f"{tmp_path / 'list.csv'} is not a folder: choose another place for the output.",
    )
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda place, mode: access(place, mode) and (mode == os.F_OK or place != tmp_path)
    )
    (problem,) = _estimate(tmp_path / "deep" / "a.h5").problems
    assert problem == f"{tmp_path} cannot be written: choose another place for the output."


def test_too_little_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**6))
    (problem,) = _estimate(tmp_path / "a.h5").problems
    assert problem == "it takes 1.1 MB of disk, 1.0 MB are free: free some, or choose another place for the output."


def test_too_little_memory_is_told_and_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr("headclust.embedding.estimate.decoded_batches", lambda *_, **__: read.append(1))
    said = _estimate(tmp_path / "a.h5", n_views=10**9)
    assert (said.n_sampled, said.bad, read) == (0, (), [])
    assert any("of memory" in problem and "fewer views" in problem for problem in said.problems)
    monkeypatch.undo()
    monkeypatch.setattr("headclust.embedding.estimate.available_memory", lambda: 20_000)
    backbone = FakeBackbone()
    said = _estimate(tmp_path / "a.h5", backbone=backbone)
    assert said.n_sampled > 0  # the pixels fit, the activations do not
    assert {shape[0] for shape in backbone.model.batches} == {1}
    assert said.problems[0].startswith("it takes about 0 MB of memory, 0 MB are free: choose a smaller batch size")


def test_images_that_would_stop_it_are_told(tmp_path: Path) -> None:
    images = FakeImages(16, bad=(3, 15))
    assert _estimate(tmp_path / "a.h5", images).problems[0].startswith("3.png: torn after 3 bytes: fix")
    (problem,) = _estimate(tmp_path / "a.h5", images, on_error="skip", max_bad=1).problems
    assert problem.startswith("2 of the images cannot be read, --max-bad allows 1")
    assert _estimate(tmp_path / "a.h5", images, on_error="skip", max_bad=2).problems == ()
