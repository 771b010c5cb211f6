import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest

from headclust.duplicates import NearestImages
from headclust.report import read_data, samples
from headclust.report.images import Source, Thumbnail, Thumbnails, find_source
from report.test_page import decoded

NAMES = ["a/IMG_1.jpg", "a/IMG_2.jpg", "a/IMG_20.jpg", "", "7|x", "7", "é\U0001f431", "é\U0001f436", "é", "two\nlines"]


def test_names_are_coded_without_loss():
    coded = samples.front_coded(NAMES)
    assert coded.startswith("0|a/IMG_1.jpg\n6|2.jpg\n7|0.jpg\n")
    assert decoded(coded) == [*NAMES[:-1], "two\\nlines"]
    # The two animals share the first half of a surrogate pair, which is no text of its own.
    assert "\n1|\U0001f436\n" in coded


def test_names_of_a_camera_take_few_bytes():
    names = [f"2023/holidays in the mountains/IMG_{row:05}.jpg" for row in range(20_000)]
    assert len(samples.front_coded(names)) < 12 * len(names)


def test_names_that_take_too_many_bytes_are_those_of_some_samples(monkeypatch):
    names = tuple(str(number) for number in np.random.default_rng(0).integers(10**12, 10**13, 500))
    crowd = SimpleNamespace(sample_ids=names)
    order = np.random.default_rng(1).permutation(500).tolist()
    assert samples.listed_rows(crowd, order).tolist() == list(range(500))
    monkeypatch.setattr(samples, "MAX_NAMES", 3_000)
    rows = samples.listed_rows(crowd, order)
    assert 100 < len(rows) < 250
    assert set(rows.tolist()) == set(order[: len(rows)])
    assert (np.diff(rows) > 0).all()
    assert len(samples.front_coded([names[row] for row in rows])) <= 3_000


def test_the_samples_of_a_page(data):
    near = NearestImages(np.arange(60), np.roll(np.arange(60), 1)[:, None], np.ones((60, 1), np.float32))
    made = Thumbnails(made={3: Thumbnail("data:image/webp;base64,AAAA", 20, 20), 4: Thumbnail("data:,", 20, 20)})
    rows = np.array([1, 2, 3, 9])
    page = samples.page_samples(data, rows, np.array([9, 2]), made, {4}, near)
    assert page["rows"] == [1, 2, 3, 9]
    assert page["clusters"] == data.clusters[rows].tolist()
    assert page["confidence"] == np.rint(1000 * data.confidence[rows]).tolist()
    assert page["nearest"] == {1: [], 2: [1], 3: [2], 9: []}  # of those in the page
    assert page["thumbs"] == {3: "AAAA"}
    assert samples.page_samples(data, np.arange(60), np.array([9, 2]), made, {4}, None)["rows"] is None


def test_addresses_of_files(data, shared, tmp_path):
    source = find_source(data)
    place = tmp_path / "a folder" / "report.html"
    files = samples.files_of(data, source, np.arange(60), place)
    relative, absolute = (Path(os.fsdecode(unquote_to_bytes(folder))) for folder in files["folders"])
    assert absolute == shared.folder
    assert Path(os.path.normpath(place.parent / relative)) == shared.folder
    assert files["folders"][0].startswith("./")
    assert files["folders"][1].startswith("/")
    names = {sample_id: address for row, address in files["addresses"].items() if (sample_id := data.sample_ids[row])}
    # Names that the page cannot spell have an address of their own.
    assert names == {
        "\x1b[31mred.png": "%1B%5B31mred.png",
        "two\nlines.png": "two%0Alines.png",
        "\u202egpj.png": "%E2%80%AEgpj.png",
        "caf\udce9.png": "caf%E9.png",
    }
    assert samples.files_of(data, source, np.arange(60), None)["folders"] == files["folders"][1:]


@pytest.mark.parametrize("source", ["digits", "no/such/folder", None])
def test_images_that_are_no_files_have_no_address(data, source):
    images = find_source(data)
    object.__setattr__(data.spaces[0], "attributes", {**data.spaces[0].attributes, "source": source})
    assert samples.files_of(data, images, np.arange(60), None) is None
    assert samples.files_of(data, Source(None, np.full(60, -1)), np.arange(60), None) is None


def test_row_numbers_are_no_files(data):
    source = find_source(data)
    numbers = replace(source.images, sample_ids=tuple(map(str, range(60))))
    assert samples.files_of(data, Source(numbers, np.arange(60)), np.arange(60), None) is None


def test_a_name_that_no_file_can_have(data):
    source = find_source(data)
    ids = ("a\ud800.jpg", *source.images.sample_ids[1:])
    files = samples.files_of(data, Source(replace(source.images, sample_ids=ids), source.rows), np.arange(60), None)
    assert files["addresses"][source.rows.tolist().index(0)] is None


def test_an_image_that_is_gone(world):
    (world.folder / "photo 040.png").unlink()
    data = read_data(world.run)
    row = data.sample_ids.index("photo 040.png")
    assert row not in samples.files_of(data, find_source(data), np.arange(60), None)["addresses"]
