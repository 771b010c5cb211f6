"""Groups of copies: which images are alike, how pairs become groups, which is the best."""

import io
import itertools
import random

import numpy as np
import pytest
from conftest import make_blobs
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from headclust.duplicates import find_duplicates, find_nearest
from headclust.duplicates.find import MIN_LIKENESS, SURE_SIMILARITY
from headclust.duplicates.groups import Facts, best_first, link
from headclust.duplicates.sketch import likenesses, sharpness, sketch
from headclust.features import Features
from headclust.images.datasets import open_source


@pytest.fixture(scope="module")
def photos():
    """A temple and a flower, 320 x 213 pixels."""
    return [Image.fromarray(pixels).reduce(2) for pixels in load_sample_images().images]


def encoded(image, quality):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def likeness(first, second):
    return likenesses({0: first, 1: second}, [(0, 1)])[0, 1]


COPIES = {
    "the same": lambda image: image,
    "re-encoded": lambda image: encoded(image, 40),
    "at half the size": lambda image: encoded(image.reduce(2), 75),
    "a tenth cut off": lambda image: image.crop((9, 12, 297, 204)),
    "one side cut off": lambda image: image.crop((0, 0, 272, 213)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "gray": lambda image: image.convert("L").convert("RGB"),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
def test_copies_are_alike(photos, change):
    for photo in photos:
        pair = sketch(photo), sketch(change(photo))
        assert likeness(*pair) >= MIN_LIKENESS
        assert likeness(*pair) == pytest.approx(likeness(*pair[::-1]), abs=1e-5)


def test_likeness_of_many_pairs_is_that_of_each(photos):
    sketches = dict(enumerate([sketch(change(photo)) for photo in photos for change in COPIES.values()]))
    pairs = [*itertools.combinations(sketches, 2)]
    each = {(a, b): likeness(sketches[a], sketches[b]) for a, b in pairs}
    assert likenesses(sketches, pairs) == pytest.approx(each, abs=1e-6)


def test_other_images_are_not_alike(photos):
    first, second = map(sketch, photos)
    assert likeness(first, second) < 0.8
    assert likeness(first, first[:, ::-1].copy()) < MIN_LIKENESS  # mirrored
    flat = np.full_like(first, 200)
    assert likeness(flat, first) == likeness(flat, flat) == 0  # one color shows nothing to compare


def test_smooth_images_are_alike_only_if_their_detail_is():
    # As handwritten digits: one shape of light, and a faint grain that differs.
    generator, place = np.random.default_rng(0), np.linspace(-2, 2, 96)
    light = 150 * np.exp(-(place[:, None] ** 2) - place**2) + 50
    grain = [np.kron(generator.integers(-4, 5, (24, 24)), np.ones((4, 4))) for _ in range(2)]
    first, second = ((light + each).astype(np.uint8) for each in grain)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.98
    assert likeness(first, second) < MIN_LIKENESS < likeness(first, first)


def test_rows_and_columns_are_fitted_alike(photos):
    for photo in photos:
        pixels = [np.asarray(sketch(image)) for image in (photo, photo.crop((13, 0, 302, 213)))]
        turned = [each.T.copy() for each in pixels]
        assert likeness(*turned) == pytest.approx(likeness(*pixels), abs=0.01)


def test_sharpness_falls_when_an_image_is_enlarged_but_not_with_its_contrast(photos):
    photo = photos[0]
    assert sharpness(photo.reduce(4).resize(photo.size)) < sharpness(photo) / 2
    assert sharpness(ImageEnhance.Contrast(photo).enhance(0.6)) == pytest.approx(sharpness(photo), rel=0.1)
    assert sharpness(Image.new("RGB", (2, 500))) == 0


def test_a_hub_joins_one_group_only():
    # 0 is like all others, which are not like one another, but for 1 and 2, and 3 and 4.
    alike = {(0, n) for n in range(1, 7)} | {(1, 2), (3, 4)}

    def is_alike(a, b):
        return (min(a, b), max(a, b)) in alike

    order = [(1, 2), (3, 4), *((0, n) for n in range(1, 7))]
    assert sorted(link(order, is_alike)) == [[0, 1, 2], [3, 4]]
    chain = [(n, n + 1) for n in range(9)]
    assert max(map(len, link(chain, lambda a, b: abs(a - b) == 1))) == 2


def test_copies_of_one_image_are_one_group():
    assert link([(n, n + 1) for n in range(9)], lambda a, b: True) == [list(range(10))]
    assert link([], lambda a, b: True) == []


@pytest.mark.parametrize(
    ("facts", "best", "reason"),
    [
        ([Facts(100, 9.0, 9, 1), Facts(400, 1.0, 1, 9)], 1, "it has the most pixels"),
        ([Facts(100, 1.0, 9, 1), Facts(100, 2.0, 1, 9)], 1, "it is the sharpest"),
        ([Facts(100, 1.0, 5, 1), Facts(100, 1.001, 9, 9)], 1, "its file is the largest"),
        ([Facts(100, 1.0, 5, 9), Facts(100, 1.0, 5, 1)], 1, "its file is the oldest"),
        ([Facts(100, 1.0, 5, 9), Facts(100, 1.0, 5, 9)], 1, "it is the first by name"),
    ],
)
def test_the_best_image(facts, best, reason):
    ordered, why = best_first([0, 1], facts.__getitem__, ["b.jpg", "a.jpg"])
    assert (ordered[0], why) == (best, reason)


def rows():
    """Forty directions, three of them repeated: 5 and 30 are equal, 7 and 12 nearly, 20 and 21 differ in length."""
    features = np.random.default_rng(0).normal(size=(40, 24)).astype(np.float32)
    features[30] = features[5]
    features[12] = features[7] + 0.02 * features[8]
    features[21] = 7 * features[20]
    return features


def found(features, **options):
    return find_duplicates(features, find_nearest(features, {}, **options))


def test_without_images_features_decide():
    duplicates = found(Features.from_array(rows()))
    assert {tuple(sorted(group.rows)) for group in duplicates.groups} == {(5, 30), (7, 12), (20, 21)}
    assert all(group.similarity >= SURE_SIMILARITY for group in duplicates.groups)
    assert (duplicates.n_searched, duplicates.by_pixels, len(duplicates.copies)) == (40, False, 3)
    assert found(Features.from_array(make_blobs(1).features)).groups == ()
    assert found(Features.from_array(np.zeros((6, 3)))).groups == ()  # rows of zeros show nothing
    # Equal rows are one group, however many there are, and are found in a sample too.
    many = Features.from_array(np.concatenate([rows(), *[rows()[:1]] * 30]))
    assert max(len(group.rows) for group in found(many).groups) == 31
    assert max(len(group.rows) for group in found(many, max_searched=10).groups) == 31


def test_pixels_tell_copies_from_similar_images(photos, tmp_path):
    draw = random.Random(0)
    for name, change in COPIES.items():
        change(photos[0]).save(tmp_path / f"copy {name}.png")
    for number in range(3):  # noise, with features as similar as those of the copies
        pixels = Image.frombytes("L", (8, 8), bytes(draw.randrange(256) for _ in range(64)))
        pixels.resize((320, 213), Image.Resampling.BICUBIC).convert("RGB").save(tmp_path / f"other {number}.png")
    (tmp_path / "torn.png").write_bytes(b"torn")
    images = open_source(str(tmp_path))
    features = np.eye(len(images)) * 0.3 + 1
    space = Features.from_array(features, images.sample_ids)
    duplicates = find_duplicates(space, find_nearest(space, {}), images, np.arange(len(images)))
    (group,) = [group for group in duplicates.groups if len(group.rows) > 2]
    names = {images.sample_ids[row] for row in group.rows}
    assert names == {f"copy {name}.png" for name in COPIES}
    assert images.sample_ids[group.best] not in ("copy at half the size.png", "copy a tenth cut off.png")
    assert duplicates.by_pixels
