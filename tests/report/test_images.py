import io
import os
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
from gray import embed
from PIL import Image

from headclust import runs, verbs, write_features
from headclust.images.datasets import open_source
from headclust.report import read_data
from headclust.report.images import Source, Thumbnails, find_source, make_thumbnails
from report.conftest import SIDE, color_of, make_photos


def pixels_of(thumbnail):
    kind, _, content = thumbnail.uri.partition(";base64,")
    assert kind == "data:image/webp"
    image = Image.open(io.BytesIO(b64decode(content)))
    assert image.size == (thumbnail.width, thumbnail.height)
    return np.asarray(image.convert("RGB"), float)


def test_every_sample_gets_its_own_image(shared):
    data = read_data(shared.run)
    # The feature file has the samples in another order than the folder.
    source = find_source(data)
    assert source.problem == ""
    assert data.sample_ids != source.images.sample_ids
    made = make_thumbnails(source, range(60)).made
    assert len(made) == 60
    for row, thumbnail in made.items():
        number = shared.number(data.sample_ids[row])
        assert np.abs(pixels_of(thumbnail).mean((0, 1)) - color_of(number)).max() < 10
        assert (thumbnail.width, thumbnail.height) == (SIDE, SIDE // 2 if number % 2 else SIDE)


def test_images_come_back_without_the_feature_file(world):
    world.features.unlink()
    data = read_data(world.run)
    source = find_source(data)
    made = make_thumbnails(source, [3]).made
    number = world.number(data.sample_ids[3])
    assert np.abs(pixels_of(made[3]).mean((0, 1)) - color_of(number)).max() < 10


def test_a_folder_that_is_gone(world):
    world.folder.rename(world.root / "elsewhere")
    source = find_source(read_data(world.run))
    assert source.images is None
    assert "no such file or folder" in source.problem
    assert make_thumbnails(source, range(60)) == Thumbnails()


def test_features_that_do_not_say_where_they_are_from(tmp_path, blobs):
    ids = [f"i{row}" for row in range(120)]
    features = write_features(tmp_path / "x.h5", blobs.features, sample_ids=ids, dataset="x", backbone="y")
    run = verbs.fit([features], method="kmeans", clusters=2, output=tmp_path / "run")
    source = find_source(read_data(run))
    assert source.images is None
    assert "were imported" in source.problem


def test_some_images_are_gone_and_some_are_broken(world):
    data = read_data(world.run)
    gone, broken = (data.sample_ids.index(f"photo 0{number}.png") for number in (40, 41))
    (world.folder / "photo 040.png").unlink()
    (world.folder / "photo 041.png").write_bytes(b"torn")
    source = find_source(data)
    assert source.problem == f"1 of 60 images are no longer in {world.folder}."
    thumbnails = make_thumbnails(source, range(60))
    assert set(range(60)) - set(thumbnails.made) == {gone, broken}
    assert set(thumbnails.failed) == {broken}
    assert "not an image" in thumbnails.failed[broken]


def test_another_folder_in_its_place(world):
    data = read_data(world.run)
    world.folder.rename(world.root / "elsewhere")
    world.folder.mkdir()
    Image.new("RGB", (4, 4)).save(world.folder / "other.png")
    source = find_source(data)
    assert source.images is None or (source.rows < 0).all()
    assert "holds none of the images" in source.problem


@pytest.fixture
def embedded(tmp_path):
    """A function that embeds a folder of pictures, or some of them, fits a run and returns its report data."""
    make_photos(tmp_path / "photos")

    def embed_some(limit=None, seed=0, **settings):
        images = open_source(str(tmp_path / "photos"))
        chosen = images.subset(limit, seed) if limit else images
        path = embed(tmp_path / "x.h5", chosen, seed=seed, overwrite=True, **settings)
        run = verbs.fit([path], method="kmeans", clusters=2, output=tmp_path / "run", overwrite=True)
        assert runs.is_run(run)
        return read_data(run)

    return embed_some


def test_a_subset_is_recognized(embedded):
    source = find_source(embedded(20, 7))
    assert (source.problem, source.subset) == ("", (20, 7))
    source = find_source(embedded())
    assert (source.problem, source.subset) == ("", None)


def test_images_that_have_changed_are_reported(embedded, tmp_path):
    data = embedded()
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "photo 030.png")
    assert "have changed since" in find_source(data).problem
    data = embedded(20, 7)
    os.utime(tmp_path / "photos" / data.sample_ids[0], ns=(1, 1))
    assert "have changed since" in find_source(data).problem


def test_a_file_that_was_left_out_may_have_been_replaced(embedded, tmp_path):
    broken = tmp_path / "photos" / "broken.png"
    broken.write_bytes(b"no image")
    data = embedded(on_error="skip")
    Image.new("RGB", (9, 9)).save(broken)
    assert find_source(data).problem == ""


def test_images_are_looked_for_without_the_network(data, monkeypatch):
    calls = []

    def open_it(source, split, **options):
        calls.append((split, options["offline"]))
        return open_source(source, split, **options)

    monkeypatch.setattr("headclust.images.datasets.reopen.open_source", open_it)
    find_source(data)
    assert calls == [("all", True)]


def source_of(*images):
    """A source of these images."""
    digits = open_source("digits", "all")
    image_set = replace(digits, sample_ids=tuple(map(str, range(len(images)))), read=lambda row: images[row].copy())
    return Source(image_set, np.arange(len(images)))


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def test_shapes_and_sizes():
    made = make_thumbnails(source_of(noise(900, 300), noise(3, 2_000), noise(8, 8), noise(2_000, 1)), range(4)).made
    assert [(made[row].width, made[row].height) for row in range(4)] == [(128, 43), (1, 128), (8, 8), (128, 1)]
    assert [made[row].is_tiny for row in range(4)] == [False, False, True, False]
    assert np.array_equal(pixels_of(made[2]), np.asarray(noise(8, 8)))  # tiny images are encoded without loss


def bytes_of(thumbnails):
    return sum(len(b64decode(thumbnail.uri.partition(",")[2])) for thumbnail in thumbnails)


def test_thumbnails_are_bounded_in_number_and_bytes(monkeypatch):
    monkeypatch.setattr("headclust.report.images.MAX_LARGE", 4)
    source = source_of(*(noise(90, 90, seed) for seed in range(12)))
    rows = [11, 3, 5, *range(6, 11), 0, 1]
    made = make_thumbnails(source, rows).made
    assert list(made) == rows
    assert [made[row].width for row in rows] == [90] * 4 + [64] * 6
    assert list(make_thumbnails(source, rows, 5).made) == rows[:5]
    assert make_thumbnails(source, rows, 0) == Thumbnails()
    small = bytes_of(made[row] for row in rows[4:7])
    monkeypatch.setattr("headclust.report.images.MAX_SMALL_BYTES", small)
    assert list(make_thumbnails(source, rows).made) == rows[:7]
    # Large ones that no longer fit become small ones.
    monkeypatch.setattr("headclust.report.images.MAX_BYTES", bytes_of(made[row] for row in rows[:2]))
    made = make_thumbnails(source, rows).made
    assert [made[row].width for row in made][:3] == [90, 90, 64]
    assert len(made) < 7


def test_the_worst_page_stays_small():
    from headclust.report import images

    assert (images.MAX_BYTES + images.MAX_SMALL_BYTES) * 4 / 3 < 28.1e6


def test_a_source_that_goes_while_it_is_read(world):
    data = read_data(world.run)
    source = find_source(data)
    world.folder.rename(world.root / "elsewhere")
    thumbnails = make_thumbnails(source, range(60))
    assert thumbnails.made == {}
    assert "no longer exists" in thumbnails.problem
