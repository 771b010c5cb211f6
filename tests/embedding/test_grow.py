"""A feature file grows by the images that came later; its other rows keep their bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gray import FakeBackbone, FakeImages, Interrupted, embed, rows_read

from headclust.embedding import EmbedSettings
from headclust.embedding.grow import added_images, compare, followed_source, grow
from headclust.errors import ConflictError, DataError
from headclust.features import Features, load_features, staging_folder, verify_features
from headclust.images.datasets import ImageSet

N, FIRST = 50, 21  # 21 is no multiple of the batch size: new rows go into a batch that has old ones


def images(
    n: int = N, bad: tuple[int, ...] = (), edited: tuple[int, ...] = (), without: tuple[int, ...] = ()
) -> ImageSet:
    fake = FakeImages(n, bad=bad)
    rows = [row for row in range(n) if row not in without]
    return ImageSet(
        dataset="gray",
        split="train",
        source="/gray",
        sample_ids=tuple(fake.sample_ids[row] for row in rows),
        labels=fake.labels[rows],
        class_names=fake.class_names,
        stamps=tuple((11, 20) if row in edited else (10, 20) for row in rows),
        read=lambda row: fake.read(rows[row]),
    )


def grown(
    path: Path, now: ImageSet, backbone: FakeBackbone | None = None, way: Any = added_images, **options: Any
) -> Features:
    base = load_features(path)
    settings = EmbedSettings(**{"device": "cpu", "on_error": "skip", **options})
    return grow(way(base, now, compare(base, now)), backbone or FakeBackbone(), path, settings)


@pytest.mark.parametrize("options", [{}, {"n_views": 2, "dtype": "float16", "seed": 3}])
def test_new_rows_are_those_of_embedding_all_at_once(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = load_features(embed(tmp_path / "whole.h5", images(), **options))
    path = embed(tmp_path / "a.h5", images(FIRST), **options)
    before, backbone = load_features(path), FakeBackbone()
    after = grown(path, images(), backbone)
    assert (after.sample_ids, after.n_views) == (whole.sample_ids, whole.n_views)
    for view in (None, *range(whole.n_views)):
        assert after.source(view)[:].tobytes() == whole.source(view)[:].tobytes()
    np.testing.assert_array_equal(after.labels, whole.labels)
    np.testing.assert_array_equal(after.stamps, whole.stamps)
    assert verify_features(path) == []
    assert not staging_folder(path).exists()
    # The batch of rows 16 to 23 and those after it, once per view.
    assert len(backbone.model.batches) == (1 + whole.n_views) * (7 - FIRST // 8)
    # The file that it has grown from is its first rows, with its checksum.
    first = after.first(FIRST)
    assert (first.sha256, first.sample_ids, first.n_samples) == (before.sha256, before.sample_ids, FIRST)
    np.testing.assert_array_equal(first.all().numpy(), whole.all().numpy()[:FIRST])
    np.testing.assert_array_equal(first.rows([-1, 0]).numpy(), first.all().numpy()[[-1, 0]])
    assert first.rows(slice(-3, None)).shape[0] == 3


def test_growing_twice_keeps_every_state(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5", images(FIRST))
    states = [load_features(path).sha256]
    for n in (30, N):
        grown(path, images(n))
        states.append(load_features(path).sha256)
    after = load_features(path)
    assert [after.first(n).sha256 for n in (FIRST, 30, N)] == states
    assert rows_read(path) == list(range(N))
    assert not compare(after, images())


def test_a_stopped_growth_goes_on_and_the_old_file_stays_until_then(tmp_path: Path) -> None:
    expected = grown(embed(tmp_path / "b.h5", images(FIRST)), images()).sha256
    path = embed(tmp_path / "a.h5", images(FIRST))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        grown(path, images(), replace(FakeBackbone(), model=Interrupted(3)))
    assert path.read_bytes() == before
    backbone = FakeBackbone()
    assert grown(path, images(), backbone).sha256 == expected
    assert 0 < len(backbone.model.batches) < 5


def test_new_images_that_cannot_be_read_are_left_out_and_tried_again_when_replaced(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5", images(FIRST, bad=(4,)), on_error="skip")
    after = grown(path, images(bad=(4, 30)))
    assert [image.sample_id for image in after.left_out] == ["4.png", "30.png"]
    assert rows_read(path) == [row for row in range(N) if row not in (4, 30)]
    assert not compare(after, images(bad=(4, 30)))
    mended = grown(path, images(bad=(4,), edited=(30,)))
    assert [image.sample_id for image in mended.left_out] == ["4.png"]
    assert rows_read(path)[-1] == 30  # added last
    with pytest.raises(DataError, match=r"^51\.png: torn"):
        grown(path, images(52, bad=(51,), edited=(30,)), on_error="fail")


def test_edited_and_removed_images_are_told_and_followed(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5", images(FIRST))
    base, now = load_features(path), images(25, edited=(3, 24), without=(7,))
    differences = compare(base, now)
    assert [now.sample_ids[row] for row in differences.changed] == ["3.png"]
    assert [base.sample_ids[row] for row in differences.removed] == ["7.png"]
    assert [now.sample_ids[row] for row in differences.new] == ["21.png", "22.png", "23.png", "24.png"]
    kept = grown(path, now)
    assert rows_read(path) == list(range(25))
    assert len(compare(kept, now).changed) == 1  # the row is still that of the earlier content
    followed = grown(path, now, way=followed_source)
    assert set(followed.sample_ids) == set(now.sample_ids)
    assert rows_read(path) == [*(row for row in range(25) if row not in (3, 7)), 3]
    assert followed.attributes["grown_from"] == []
    assert not compare(followed, now)
    assert verify_features(path) == []
    removed = images(25, edited=(3, 24), without=(7, 8))
    backbone = FakeBackbone()
    assert grown(path, removed, backbone, followed_source).n_samples == 23
    assert backbone.model.batches == []


def test_images_that_were_not_looked_for_are_not_missing(tmp_path: Path) -> None:
    base = load_features(embed(tmp_path / "a.h5", images(FIRST)))
    differences = compare(base, images(5), lambda name: int(name.removesuffix(".png")) < 7)
    assert [base.sample_ids[row] for row in differences.removed] == ["5.png", "6.png"]


def test_another_model_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5", images(FIRST))
    before = path.read_bytes()
    with pytest.raises(ConflictError, match=r"weights_sha256: 000.* there, 111.* here.*--overwrite"):
        grown(path, images(), replace(FakeBackbone(), weights_sha256="1" * 64))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_rows_of_another_machine_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = embed(tmp_path / "a.h5", images(FIRST))
    own = load_features(path).attributes
    monkeypatch.setattr("headclust.embedding.parts.description", lambda device: {"device": "another", "threads": 96})
    machines = grown(path, images()).attributes["machines"]
    assert machines == [[0, own["device"], own["threads"], own["versions"]], [FIRST, "another", 96, own["versions"]]]


def test_a_file_of_an_older_version_without_stamps(tmp_path: Path) -> None:
    base = replace(load_features(embed(tmp_path / "a.h5", images(FIRST))), stamps=None)
    same = compare(base, images())
    assert (same.is_certain, len(same.new), len(same.changed)) == (True, N - FIRST, 0)
    assert not compare(base, images(edited=(3,))).is_certain
