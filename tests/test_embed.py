"""Stage 1 with a model and images small enough to kill: rows, errors, deaths, resumption.

Run as a script it is the process that gets killed: `python test_embed.py FILE SECONDS_AN_IMAGE`.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from headclust.cache import load_features, staging_folder, verify_features
from headclust.embed import embed_images
from headclust.errors import ConflictError, DataError, HeadclustError, SettingError

N = 150


@dataclass(frozen=True)
class FakeImages:
    """Image i is one gray level; `bad` rows cannot be read."""

    n: int = N
    bad: tuple[int, ...] = ()
    dataset: str = "gray"
    split: str = "train"
    source: str = "/gray"
    class_names: tuple[str, ...] = ("dark", "light")
    before: Callable[[int], None] = lambda row: None

    @property
    def sample_ids(self) -> tuple[str, ...]:
        return tuple(f"{row}.png" for row in range(self.n))

    @property
    def labels(self) -> np.ndarray:
        return np.arange(self.n) % 2

    @property
    def stamps(self) -> tuple[tuple[int, int], ...]:
        return ((10, 20),) * self.n

    def __len__(self) -> int:
        return self.n

    def read(self, row: int) -> Image.Image:
        self.before(row)
        if row in self.bad:
            raise DataError(f"torn after {row} bytes")
        return Image.new("RGB", (9, 9), (row % 251, row // 251, 7))


@dataclass(frozen=True)
class FakePreprocessing:
    record: dict[str, Any] = field(default_factory=lambda: {"input_size": [8, 8], "mean": [0.5]})
    size: tuple[int, int] = (8, 8)

    def pixels(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize(self.size))

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.permute(0, 3, 1, 2).float() / 255


class FakeModel(torch.nn.Module):
    """A convolution for the rounding, and the first pixel's red and green to know the image by."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 6, 3, bias=False)
        self.conv.weight = torch.nn.Parameter(torch.randn(6, 3, 3, 3, generator=generator), requires_grad=False)
        self.scale = scale
        self.batches: list[tuple[int, ...]] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.batches.append(tuple(batch.shape))
        marks = batch[:, :2, 0, 0] * 255
        return torch.cat([marks, self.conv(batch).mean((2, 3))], 1) * self.scale


@dataclass(frozen=True)
class FakeBackbone:
    model: torch.nn.Module = field(default_factory=FakeModel)
    preprocessing: FakePreprocessing = field(default_factory=FakePreprocessing)
    name: str = "fake"
    feature_dim: int = 8
    weights_origin: str = "made here"
    weights_sha256: str = "0" * 64
    feature_point: str = "the end"


def _embed(path: Path, images: FakeImages | None = None, backbone: FakeBackbone | None = None, **options: Any) -> Path:
    options = {"batch_size": 8, "device": "cpu", **options}
    return embed_images(images or FakeImages(), backbone or FakeBackbone(), path, **options)


def _rows_read(path: Path) -> list[int]:
    """Which image each row was made from, told by its features."""
    red, green = load_features(path).all()[:, :2].round().int().T.tolist()
    return [251 * g + r for r, g in zip(red, green, strict=True)]


# --- what the file holds


def test_every_row_is_its_sample(tmp_path: Path) -> None:
    backbone = FakeBackbone()
    path = _embed(tmp_path / "a.h5", backbone=backbone)
    features = load_features(path)
    assert features.sample_ids == FakeImages().sample_ids
    assert _rows_read(path) == list(range(N))
    assert features.labels is not None
    assert features.labels.tolist() == FakeImages().labels.tolist()
    assert set(backbone.model.batches) == {(8, 3, 8, 8)}  # the last batch is as full as the others
    assert verify_features(path) == []
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_everything_numbers_depend_on_is_recorded(tmp_path: Path) -> None:
    attributes = load_features(_embed(tmp_path / "a.h5", dtype="float16", seed=3)).attributes
    wanted = {
        "dataset": "gray",
        "split": "train",
        "source": "/gray",
        "class_names": ["dark", "light"],
        "n_listed": N,
        "backbone": "fake",
        "weights_origin": "made here",
        "weights_sha256": "0" * 64,
        "feature_point": "the end",
        "preprocessing": {"input_size": [8, 8], "mean": [0.5]},
        "batch_size": 8,
        "dtype": "float16",
        "seed": 3,
        "device": "cpu",
        "threads": torch.get_num_threads(),
    }
    assert wanted.items() <= attributes.items()
    assert {"headclust", "torch", "pillow", "numpy", "h5py"} <= attributes["versions"].keys()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
@given(
    n=st.integers(1, 260),
    bad=st.sets(st.integers(0, 259)),
    batch_size=st.integers(3, 70),
    dtype=st.sampled_from(["float16", "float32"]),
)
def test_rows_stay_with_their_samples_under_failures(
    tmp_path: Path, n: int, bad: set[int], batch_size: int, dtype: str
) -> None:
    images = FakeImages(n, bad=tuple(row for row in bad if row < n))
    path = tmp_path / "a.h5"
    options = {"batch_size": batch_size, "dtype": dtype, "on_error": "skip", "overwrite": True}
    if len(images.bad) == n:
        with pytest.raises(DataError, match=f"none of {n} images can be read"):
            _embed(path, images, **options)
        return
    features = load_features(_embed(path, images, **options))
    kept = [row for row in range(n) if row not in images.bad]
    assert features.sample_ids == tuple(f"{row}.png" for row in kept)
    assert _rows_read(path) == kept
    assert features.skipped == tuple((f"{row}.png", f"torn after {row} bytes") for row in sorted(images.bad))
    assert verify_features(path) == []


def test_a_bad_image_changes_no_other_row(tmp_path: Path) -> None:
    whole = load_features(_embed(tmp_path / "a.h5"))
    holed = load_features(_embed(tmp_path / "b.h5", FakeImages(bad=(3, 77)), on_error="skip"))
    kept = [row for row in range(N) if row not in (3, 77)]
    assert torch.equal(holed.all(), whole.rows(kept))


def test_memory_is_bounded_whatever_the_number_of_images(tmp_path: Path) -> None:
    """No image is read before its batch is one of the next few."""
    started: list[int] = []
    ahead: list[int] = []

    class Watching(FakeModel):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            ahead.append(max(started) - 8 * len(self.batches))
            return super().forward(batch)

    _embed(tmp_path / "a.h5", FakeImages(before=started.append), FakeBackbone(Watching()))
    assert max(ahead) < 8 * 3


def test_the_next_images_are_read_while_the_model_runs(tmp_path: Path) -> None:
    """The model waits for an image of the batch after its own: without overlap, this would never end."""
    read: dict[int, threading.Event] = {row: threading.Event() for row in range(16)}

    class Waiting(FakeModel):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if not self.batches:
                assert read[15].wait(60)
            return super().forward(batch)

    _embed(tmp_path / "a.h5", FakeImages(16, before=lambda row: read[row].set()), FakeBackbone(Waiting()))


# --- errors


def test_an_unreadable_image_stops_and_can_be_skipped_afterwards(tmp_path: Path) -> None:
    images, path = FakeImages(bad=(100,)), tmp_path / "a.h5"
    for _ in range(2):  # a stop before the bad image is reached, and one at it
        with pytest.raises(DataError, match=r"^100\.png: torn after 100 bytes: .*--on-error skip\.$"):
            _embed(path, images)
    assert not path.exists()
    backbone = FakeBackbone()
    _embed(path, images, backbone, on_error="skip")
    assert len(backbone.model.batches) < N // 8  # what was done is not done again
    assert load_features(path).skipped == (("100.png", "torn after 100 bytes"),)


def test_bad_images_skipped_earlier_are_not_accepted_silently(tmp_path: Path) -> None:
    def interrupt(row: int) -> None:
        if row == 120:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _embed(tmp_path / "a.h5", FakeImages(bad=(3,), before=interrupt), on_error="skip")
    with pytest.raises(DataError, match=r"3\.png: torn"):
        _embed(tmp_path / "a.h5", FakeImages(bad=(3,)))


def test_an_error_in_the_first_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        _embed(tmp_path / "a.h5", FakeImages(bad=(0,)))
    assert list(tmp_path.iterdir()) == []


class NotANumber(FakeModel):
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        features = super().forward(batch)
        features[features[:, 0] == 9] = torch.nan
        return features


def test_features_that_are_not_finite_name_the_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^9\.png: its features hold NaN"):
        _embed(tmp_path / "a.h5", backbone=FakeBackbone(NotANumber()))
    path = _embed(tmp_path / "b.h5", FakeImages(bad=(9,)), FakeBackbone(NotANumber()), on_error="skip")
    assert verify_features(path) == []


def test_overflow_of_float16_says_to_use_float32(tmp_path: Path) -> None:
    backbone = FakeBackbone(FakeModel(1e3))
    with pytest.raises(DataError, match=r"^66\.png: a feature of \d+ does not fit float16 .*--dtype float32"):
        _embed(tmp_path / "a.h5", backbone=backbone, dtype="float16")
    _embed(tmp_path / "b.h5", backbone=backbone, dtype="float32")


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"dtype": "float64"}, {"on_error": "ignore"}, {"device": "x"}])
def test_settings_that_are_not_possible(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="wanted"):
        _embed(tmp_path / "a.h5", **options)
    assert list(tmp_path.iterdir()) == []


def test_an_id_that_appears_twice(tmp_path: Path) -> None:
    class Twice(FakeImages):
        sample_ids = ("a", "a")

    with pytest.raises(DataError, match="'a' appears twice"):
        _embed(tmp_path / "a.h5", Twice(2))


# --- repeating and resuming


def test_repeating_does_nothing_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, backbone = _embed(tmp_path / "a.h5"), FakeBackbone()
    before = path.stat()
    assert _embed(path, backbone=backbone) == path
    assert "nothing to do" in capsys.readouterr().err
    assert backbone.model.batches == []
    assert path.stat() == before


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
            {"backbone": FakeBackbone(preprocessing=FakePreprocessing({"input_size": [9, 9], "mean": [0.5]}))},
            r"preprocessing\.input_size: \[8, 8\] there, \[9, 9\] here",
        ),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    path = _embed(tmp_path / "a.h5")
    with pytest.raises(ConflictError, match=named):
        _embed(path, **change)
    _embed(path, **change, overwrite=True)
    assert verify_features(path) == []


def test_ctrl_c_can_be_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = _embed(tmp_path / "whole.h5").read_bytes()

    class Interrupted(FakeModel):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if len(self.batches) == 5:
                raise KeyboardInterrupt
            return super().forward(batch)

    path, threads = tmp_path / "a.h5", threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        _embed(path, backbone=FakeBackbone(Interrupted()))
    assert threading.active_count() == threads
    assert "stopped after 40 of 150 images" in capsys.readouterr().err
    assert not (staging_folder(path) / "lock").exists()
    assert _embed(path).read_bytes() == whole
    assert "going on after 40 of 150 images" in capsys.readouterr().err


# A process that dies for real.


def test_killed_three_times_the_file_is_the_same(tmp_path: Path) -> None:
    whole = _embed(tmp_path / "whole.h5").read_bytes()
    path, moments, blocks = tmp_path / "a.h5", random.Random(0), []
    for least in (3, 7, 11):
        _kill_after(path, least, moments.uniform(0, 0.03))
        assert (staging_folder(path) / "lock").exists()
        assert not path.exists()
        blocks.append(_n_journaled(path))
    assert blocks == sorted(set(blocks))  # every life got further than the one before
    assert _embed(path).read_bytes() == whole
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.h5", "whole.h5"]


def test_killed_while_finishing(tmp_path: Path) -> None:
    """The moment after the last block: whatever is there then, the next run makes the same file of it."""
    whole = _embed(tmp_path / "whole.h5").read_bytes()
    path = tmp_path / "a.h5"
    _kill_after(path, -(-N // 8), 0)
    assert _embed(path).read_bytes() == whole
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.h5", "whole.h5"]


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with _started(path, 0.05) as process:
        _wait_for(process, lambda: _n_journaled(path) >= 1)
        with pytest.raises(HeadclustError, match=f"is being written by process {process.pid} on "):
            _embed(path)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert process.returncode != 0
    _embed(path)
    assert verify_features(path) == []


def _started(path: Path, seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, str(path), str(seconds)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def _kill_after(path: Path, n_blocks: int, delay: float) -> None:
    with _started(path, 0.004) as process:
        _wait_for(process, lambda: _n_journaled(path) >= n_blocks)
        time.sleep(delay)  # not for order: so that death comes at any point of a block
        process.kill()


def _n_journaled(path: Path) -> int:
    try:
        return (staging_folder(path) / "journal.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 10**9 if path.exists() else 0


def _wait_for(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the process ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.001)


if __name__ == "__main__":
    pause = float(sys.argv[2])
    _embed(Path(sys.argv[1]), FakeImages(before=lambda row: time.sleep(pause)))
