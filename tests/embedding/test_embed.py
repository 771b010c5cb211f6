"""Stage 1 with images and a model small enough to kill: rows, errors, plans, resumption."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gray import (
    FakeBackbone,
    FakeImages,
    FakeModel,
    Interrupted,
    N,
    embed,
    rows_read,
    shared,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headclust.errors import DataError, SettingError
from headclust.features import load_features, verify_features

# --- what the file holds


def test_every_row_is_its_sample(tmp_path: Path) -> None:
    backbone = FakeBackbone()
    path = embed(tmp_path / "a.h5", backbone=backbone)
    features = load_features(path)
    assert features.sample_ids == FakeImages().sample_ids
    assert rows_read(path) == list(range(N))
    assert features.labels is not None
    assert features.labels.tolist() == FakeImages().labels.tolist()
    assert set(backbone.model.batches) == {(8, 3, 8, 8)}  # the last batch is as full as the others
    assert verify_features(path) == []
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_everything_numbers_depend_on_is_recorded(tmp_path: Path) -> None:
    attributes = load_features(embed(tmp_path / "a.h5", dtype="float16", seed=3)).attributes
    expected = {
        "dataset": "gray",
        "split": "train",
        "source": "/gray",
        "class_names": ["dark", "light"],
        "n_listed": N,
        "backbone": "fake",
        "weights_origin": "made here",
        "weights_sha256": "0" * 64,
        "feature_point": "the end",
        "preprocessing": {"input_size": [8, 8], "mean": [0.5] * 3},
        "batch_size": 8,
        "dtype": "float16",
        "seed": 3,
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "precision": "float32",
    }
    assert expected.items() <= attributes.items()
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
            embed(path, images, **options)
        return
    features = load_features(embed(path, images, **options))
    kept = [row for row in range(n) if row not in images.bad]
    assert features.sample_ids == tuple(f"{row}.png" for row in kept)
    assert rows_read(path) == kept
    assert features.skipped == tuple((f"{row}.png", f"torn after {row} bytes") for row in sorted(images.bad))
    assert verify_features(path) == []


def test_a_bad_image_changes_no_other_row(tmp_path: Path) -> None:
    whole = load_features(embed(tmp_path / "a.h5"))
    holed = load_features(embed(tmp_path / "b.h5", FakeImages(bad=(3, 77)), on_error="skip"))
    kept = [row for row in range(N) if row not in (3, 77)]
    assert torch.equal(holed.all(), whole.rows(kept))


def test_memory_is_bounded_whatever_the_number_of_images(tmp_path: Path) -> None:
    """No image is read before its batch is one of the next few."""
    started = shared(N)
    ahead: list[int] = []

    class Watching(FakeModel):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            ahead.append(int(np.flatnonzero(started.copy()).max()) - 8 * len(self.batches))
            return super().forward(batch)

    embed(tmp_path / "a.h5", FakeImages(before=lambda row: started.__setitem__(row, 1)), FakeBackbone(Watching()))
    assert max(ahead) < 8 * 3


def test_the_next_images_are_read_while_the_model_runs(tmp_path: Path) -> None:
    """The model waits for an image of the batch after its own: without overlap, this would never end."""
    read = shared(16)

    class Waiting(FakeModel):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            deadline = time.monotonic() + 60
            while not self.batches and not read[15]:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            return super().forward(batch)

    embed(tmp_path / "a.h5", FakeImages(16, before=lambda row: read.__setitem__(row, 1)), FakeBackbone(Waiting()))


# --- errors


def test_an_unreadable_image_stops_and_can_be_skipped_afterwards(tmp_path: Path) -> None:
    images, path = FakeImages(bad=(100,)), tmp_path / "a.h5"
    for _ in range(2):  # a stop before the bad image is reached, and one at it
        with pytest.raises(DataError, match=r"^100\.png: torn after 100 bytes: .*--on-error skip\.$"):
            embed(path, images)
    assert not path.exists()
    backbone = FakeBackbone()
    embed(path, images, backbone, on_error="skip")
    assert len(backbone.model.batches) < N // 8  # what was done is not done again
    assert load_features(path).skipped == (("100.png", "torn after 100 bytes"),)


def test_bad_images_skipped_earlier_are_not_accepted_silently(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path / "a.h5", FakeImages(bad=(3,)), FakeBackbone(Interrupted(5)), on_error="skip")
    with pytest.raises(DataError, match=r"3\.png: torn"):
        embed(tmp_path / "a.h5", FakeImages(bad=(3,)))


def test_more_bad_images_than_allowed_stop_it_and_can_be_allowed_afterwards(tmp_path: Path) -> None:
    images, path = FakeImages(bad=(3, 50, 60)), tmp_path / "a.h5"
    expected = r"^3 of the images cannot be read, --max-bad allows 2 \(the last: 60\.png: torn after 60 bytes\): "
    for _ in range(2):
        with pytest.raises(DataError, match=expected):
            embed(path, images, on_error="skip", max_bad=2)
    with pytest.raises(DataError, match=r"^2 of the images cannot be read, --max-bad allows 0 "):
        embed(path, images, on_error="skip", max_bad=0)
    backbone = FakeBackbone()
    embed(path, images, backbone, on_error="skip", max_bad=3)
    assert len(backbone.model.batches) == -(-N // 8) - 7  # the seven blocks before the one with image 60 were kept
    assert len(load_features(path).skipped) == 3


def test_a_hanging_and_a_crashing_decoder_cost_only_their_images(tmp_path: Path) -> None:
    def before(row: int) -> None:
        if row == 20:
            time.sleep(600)
        if row == 70:
            os.kill(os.getpid(), signal.SIGSEGV)

    with pytest.raises(DataError, match=r"^20\.png: took more than 0\.2 s to read: ended: "):
        embed(tmp_path / "a.h5", FakeImages(before=before), timeout=0.2)
    features = load_features(embed(tmp_path / "a.h5", FakeImages(before=before), timeout=0.2, on_error="skip"))
    assert features.skipped == (
        ("20.png", "took more than 0.2 s to read: ended"),
        ("70.png", "its decoder crashed (signal 11)"),
    )
    assert rows_read(tmp_path / "a.h5") == [row for row in range(N) if row not in (20, 70)]


def test_a_bug_in_reading_is_told_and_not_skipped(tmp_path: Path) -> None:
    def before(row: int) -> None:
        if row == 20:
            raise KeyError("no such member")

    with pytest.raises(RuntimeError, match=r"(?s)reading image 20 failed, which is a bug.*KeyError: 'no such member'"):
        embed(tmp_path / "a.h5", FakeImages(before=before), on_error="skip")


def test_an_error_in_the_first_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        embed(tmp_path / "a.h5", FakeImages(bad=(0,)))
    assert list(tmp_path.iterdir()) == []


class NotANumber(FakeModel):
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        features = super().forward(batch)
        features[features[:, 0] == 9] = torch.nan
        return features


def test_features_that_are_not_finite_name_the_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^9\.png: its features hold NaN"):
        embed(tmp_path / "a.h5", backbone=FakeBackbone(NotANumber()))
    path = embed(tmp_path / "b.h5", FakeImages(bad=(9,)), FakeBackbone(NotANumber()), on_error="skip")
    assert verify_features(path) == []


def test_overflow_of_float16_says_to_use_float32(tmp_path: Path) -> None:
    backbone = FakeBackbone(FakeModel(1e3))
    with pytest.raises(DataError, match=r"^66\.png: a feature of \d+ does not fit float16 .*--dtype float32"):
        embed(tmp_path / "a.h5", backbone=backbone, dtype="float16")
    embed(tmp_path / "b.h5", backbone=backbone, dtype="float32")


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"dtype": "float64"},
        {"on_error": "ignore"},
        {"device": "x"},
        {"precision": "float16"},
        {"n_views": -1},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"max_bad": -1, "on_error": "skip"},
        {"max_bad": 3},
        {"seed": -1, "n_views": 1},
        {"seed": 2**63},
        {"seed": 1.5},
    ],
)
def test_settings_that_are_not_possible(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"expected|unknown"):
        embed(tmp_path / "a.h5", **options)
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    numpys = {"seed": np.int64(3), "batch_size": np.int32(8), "n_views": np.uint8(1)}
    plain = embed(tmp_path / "a.h5", **{name: int(value) for name, value in numpys.items()}).read_bytes()
    assert embed(tmp_path / "b.h5", **numpys).read_bytes() == plain
    largest = load_features(embed(tmp_path / "c.h5", seed=2**63 - 1, n_views=1))
    assert largest.attributes["seed"] == 2**63 - 1


def test_an_id_that_appears_twice(tmp_path: Path) -> None:
    class Twice(FakeImages):
        sample_ids = ("a", "a")

    with pytest.raises(DataError, match="'a' appears twice"):
        embed(tmp_path / "a.h5", Twice(2))
