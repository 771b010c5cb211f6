"""A folder of shards stands for the one file that it could be merged to; what does not belong in it is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import put_nan
from gray import FakeBackbone as Backbone
from gray import FakeImages, embed

from headclust import verbs
from headclust.embedding import EmbedSettings
from headclust.embedding.parts import plan_of
from headclust.embedding.shards import embed_shard, merge
from headclust.errors import ConflictError, FileFormatError, HeadclustError
from headclust.features import folder_writing, is_folder, load_features, staging_folder, verify_features, write_features
from headclust.features.folder import ChainedRows
from headclust.features.lock import writer_lock
from headclust.runs.inputs import newest_features
from headclust.shards import Shard

N, BAD = 26, (*range(8, 17), 25)  # 4 blocks, and no image of the second can be read
OPTIONS: dict[str, Any] = {"batch_size": 8, "device": "cpu", "on_error": "skip", "n_views": 1}


@pytest.fixture(autouse=True, scope="module")
def _one_decoder() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LOCAL_WORLD_SIZE", "99")
        yield


def shard(path: Path, number: int, of: int, **options: Any) -> bool:
    images, settings = FakeImages(N, BAD), EmbedSettings(**{**OPTIONS, **options})
    return embed_shard(images, Backbone(), path, Shard(number, of), settings, keep_shards=True)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The staging of four complete shards that nobody has merged, not to be changed."""
    path = tmp_path_factory.mktemp("complete") / "a.h5"
    with writer_lock(staging_folder(path)):
        for number in range(1, 5):
            shard(path, number, 4)
    return staging_folder(path)


def merge_to_folder(path: Path) -> None:
    images = FakeImages(N, BAD)
    settings = EmbedSettings(batch_size=8, on_error="skip", n_views=1)
    merge(images, path, settings, plan_of(images), keep_shards=True)


@pytest.fixture(scope="module")
def pair(complete: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same features in a folder of shards and in a file, not to be changed."""
    place = tmp_path_factory.mktemp("folder")
    shutil.copytree(complete, staging_folder(place / "a.h5"))
    merge_to_folder(place / "a.h5")
    return place / "a.h5", embed(place / "whole.h5", FakeImages(N, BAD), **OPTIONS)


@pytest.fixture
def folder(pair: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the folder."""
    return Path(shutil.copytree(pair[0], tmp_path / "a.h5"))


def test_a_folder_is_the_file_that_it_stands_for(pair: tuple[Path, Path]) -> None:
    folder, file = pair
    assert is_folder(folder)
    assert sorted(file.name for file in folder.iterdir()) == ["0-8.h5", "24-26.h5", "8-24.h5", "manifest.json"]
    ours, whole = load_features(folder), load_features(file)
    assert ours.sha256 == whole.sha256
    assert ours.attributes == whole.attributes
    assert (ours.sample_ids, ours.skipped, ours.left_out) == (whole.sample_ids, whole.skipped, whole.left_out)
    assert np.array_equal(ours.labels, whole.labels)
    rows = np.random.default_rng(0).integers(0, whole.n_samples, 40)
    for view in (None, 0):
        for index in (slice(None), slice(5, 11), slice(-3, None), slice(4, 4), slice(0, 20, 3), rows, rows > 9):
            index = index if not (isinstance(index, np.ndarray) and index.dtype == bool) else rows[:16] > 9
            assert np.array_equal(ours.values(index, view), whole.values(index, view))
    assert np.array_equal(ours.select(rows).all(), whole.select(rows).all())
    assert ours.select(rows).sha256 == whole.select(rows).sha256
    assert verify_features(folder) == []
    assert verbs.info(folder) == verbs.info(file)
    assert verbs.verify(folder) == []


def test_rows_out_of_range_are_refused() -> None:
    chain = ChainedRows([np.zeros((2, 3), np.float32), np.ones((1, 3), np.float32)])
    assert chain[np.array([-1, 0])].tolist() == [[1, 1, 1], [0, 0, 0]]
    for row in (3, -4):
        with pytest.raises(IndexError):
            chain[np.array([row])]


def test_it_is_fitted_and_found_like_a_file(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: Any) -> None:
    folder, file = pair
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "features" / "gray-train"
    place.mkdir(parents=True)
    shutil.copytree(folder, place / "a.h5")
    assert newest_features() == Path("features/gray-train/a.h5")
    run = verbs.fit([folder], method="kmeans", clusters=2, output=tmp_path / "run")
    (recorded,) = json.loads((run / "config.json").read_text())["features"]
    assert recorded["sha256"] == load_features(file).sha256


def test_the_same_command_leaves_it_alone(folder: Path, capsys: Any) -> None:
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert shard(folder, 1, 4)
    assert embed(folder, FakeImages(N, BAD), **OPTIONS) == folder
    with pytest.raises(ConflictError, match="is a folder of shards, which is not replaced: delete it"):
        embed(folder, FakeImages(N, BAD), overwrite=True, **OPTIONS)
    with pytest.raises(ConflictError, match="is a folder of shards, which is not replaced"):
        write_features(folder, [[1.0]], sample_ids=["a"], dataset="a", backbone="b", overwrite=True)
    with pytest.raises(ConflictError, match=r"made with other settings .seed"):
        shard(folder, 1, 4, seed=1)
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    embed(folder, FakeImages(N, BAD), **OPTIONS)
    assert "is finished already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("moment", "calls"),
    [
        *(("write_parts", 1), ("write_parts", 2), ("discard_shard", 1), ("discard_shard", 2), ("discard_shard", 4)),
        *(("content_sha256", 1), ("sync_folder", 1)),
    ],
)
def test_a_merge_that_is_stopped_goes_on(
    pair: Any, complete: Path, tmp_path: Path, monkeypatch: Any, moment: str, calls: int
) -> None:
    path, left = tmp_path / "a.h5", [calls]
    shutil.copytree(complete, staging_folder(path))
    real = getattr(folder_writing, moment)

    def stop(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(folder_writing, moment, stop)
        with pytest.raises(KeyboardInterrupt):
            merge_to_folder(path)
    if moment != "sync_folder":  # the folder has its name then
        with pytest.raises(ConflictError, match="is being merged to a folder of shards: finish it with --merge"):
            embed(path, FakeImages(N, BAD), **OPTIONS)
    merge_to_folder(path)
    assert load_features(path).sha256 == load_features(pair[1]).sha256
    assert verify_features(path) == []
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_a_full_disk_is_foreseen(complete: Path, tmp_path: Path, monkeypatch: Any) -> None:
    path, images = tmp_path / "a.h5", FakeImages(N, BAD)
    shutil.copytree(complete, staging_folder(path))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    settings = EmbedSettings(batch_size=8, on_error="skip", n_views=1)
    with pytest.raises(HeadclustError, match=r"0.0 MB are free: free some, or use --keep-shards, which takes"):
        merge(images, path, settings, plan_of(images))
    merge_to_folder(path)
    assert is_folder(path)


def edit(folder: Path, change: Any) -> None:
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    change(content)
    manifest.write_text(json.dumps(content))


HOSTILE = [
    (lambda c: c["files"][0].update(name="../../secret.h5"), "it names '../../secret.h5'"),
    (lambda c: c["files"][0].update(name="/etc/passwd"), "it names '/etc/passwd'"),
    (lambda c: c["files"][0].update(name=7), "it names '7'"),
    (lambda c: c["files"][0].update(n_samples="8"), "expected FIRST-LAST.h5 and a number of rows"),
    (lambda c: c["files"][0].update(n_samples=10**18), "is not the file of the manifest"),
    (lambda c: c["files"][0].update(sha256="0" * 64), "is not the file of the manifest"),
    (lambda c: c["files"][0].update(sha256=[1]), "is not the file of the manifest"),
    (lambda c: c["files"][0].update(more=1), "is no manifest of shards"),
    (lambda c: c["files"].append(c["files"][0]), "it names no file, or one twice"),
    (lambda c: c.update(files=[]), "it names no file, or one twice"),
    (lambda c: c.update(files=7), "is no manifest of shards"),
    (lambda c: c.update(format="zarr"), "its format is 'zarr'"),
    (lambda c: c.update(format_version=2), "version 2"),
    (lambda c: c["files"][0].update(name="90-99.h5"), "90-99.h5 is missing"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_a_manifest_that_does_not_fit_is_one_line(folder: Path, change: Any, message: str) -> None:
    edit(folder, change)
    with pytest.raises(FileFormatError, match=message):
        load_features(folder)
    assert len(verify_features(folder)) == 1


@pytest.mark.parametrize("text", ["", "[", "null", "7", "[" * 100_000, "\xff"])
def test_a_manifest_that_is_no_json_is_one_line(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FileFormatError, match="is no manifest of shards"):
        load_features(folder)


def test_files_in_another_order_have_another_checksum(folder: Path) -> None:
    edit(folder, lambda content: content["files"].reverse())
    load_features(folder)
    (problem,) = verify_features(folder)
    assert "its content has sha256" in problem


def test_a_damaged_row_and_a_cut_file_are_found(folder: Path) -> None:
    file = folder / "8-24.h5"
    put_nan(file, 0)
    problems = verify_features(folder)
    assert [word in " ".join(problems) for word in ("8-24.h5", "NaN", "its content has sha256")] == [True] * 3
    file.write_bytes(file.read_bytes()[:4000])
    with pytest.raises(FileFormatError, match=r"8-24\.h5"):
        load_features(folder)


def test_a_file_of_other_features_is_refused(folder: Path) -> None:
    name = json.loads((folder / "manifest.json").read_text())["files"][0]["name"]
    other = write_features(folder / name, [[1.0]], sample_ids=["a"], dataset="a", backbone="b", overwrite=True)

    def change(content: Any) -> None:
        content["files"][0].update(sha256=load_features(other).sha256, n_samples=1)

    edit(folder, change)
    with pytest.raises(FileFormatError, match="does not belong to the others"):
        load_features(folder)
