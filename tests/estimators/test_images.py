import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline

from headclust import EmbedImages, HeadClustering, HeadclustError, load_features, verbs
from headclust.embedding import EmbedSettings
from headclust.images.color import matrix_profile

MODEL = "efficientnet_lite0"
SMALL = {"model": MODEL, "image_size": 64, "batch_size": 8, "device": "cpu", "offline": True}


@pytest.fixture(scope="module")
def embed():
    """A loaded transformer, the same for all tests of this file: not to be changed."""
    return EmbedImages(**SMALL).fit(["any.png"])


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Twelve pictures, stripes across, stripes down and noise in turns, the same for all tests: not to be changed."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    made = []
    for number in range(12):
        pixels = generator.integers(0, 40, (48, 48, 3))
        if number % 3 == 2:
            pixels = generator.integers(0, 255, (48, 48, 3))
        else:
            where = slice(number % 5, None, 8)
            pixels[(where, slice(None)) if number % 3 else (slice(None), where)] += 200
        made.append(folder / f"{number:02d}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(made[-1])
    return made


@pytest.fixture(scope="module")
def rows(paths, tmp_path_factory):
    """What `headclust embed` makes of them."""
    file = verbs.embed(
        MODEL,
        str(paths[0].parent),
        image_size=64,
        output=tmp_path_factory.mktemp("features") / "photos.h5",
        settings=EmbedSettings(batch_size=8, device="cpu"),
    )
    return load_features(file).all().numpy()


def test_the_rows_are_those_of_embed(embed, paths, rows):
    assert np.array_equal(embed.transform(paths), rows)


def test_rows_are_in_the_order_of_the_list(embed, paths, rows):
    order = [7, 0, 7, 11]
    found = embed.transform([paths[row] for row in order])
    assert np.array_equal(found, rows[order])
    assert (found.dtype, found.shape) == (np.float32, (4, 1280))


@pytest.mark.parametrize(
    "same",
    [
        lambda paths: [str(path) for path in paths],
        lambda paths: np.array([str(path) for path in paths]),
        lambda paths: np.array(paths, dtype=object)[:, None],
        lambda paths: [Image.open(path) for path in paths],
        lambda paths: [np.asarray(Image.open(path)) for path in paths],
        lambda paths: np.stack([np.asarray(Image.open(path)) for path in paths]),
        lambda paths: [path if row % 2 else Image.open(path) for row, path in enumerate(paths)],
    ],
    ids=["str", "array", "column", "PIL", "arrays", "one array", "mixed"],
)
def test_what_x_may_be(embed, paths, rows, same):
    assert np.array_equal(embed.transform(same(paths)), rows)


def test_series_of_paths(embed, paths, rows):
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(list(map(str, paths)), index=range(50, 62))
    assert np.array_equal(embed.transform(series), rows)
    assert np.array_equal(embed.transform(series.to_frame()), rows)


def test_images_are_turned_as_their_files_would_be(embed, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :20] = 255
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    by_path, loaded = embed.transform([tmp_path / "turned.png", Image.open(tmp_path / "turned.png")])
    assert np.array_equal(by_path, loaded)
    assert not np.array_equal(by_path, embed.transform([Image.fromarray(pixels)])[0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"shopping: milk", "not an image in a supported format"),
        (b"<!DOCTYPE html><html></html>", "not an image in a supported format"),
        (None, "no such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(embed, paths, tmp_path, content, reason):
    bad = tmp_path / "=1+1\n\x1b[2J<b>.jpg"
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        embed.transform([*paths, bad])
    assert isinstance(caught.value, HeadclustError)
    assert r"image 12, " in str(caught.value)
    assert r"=1+1\n\x1b[2J<b>.jpg" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_truncated_image_is_refused_however_it_comes(embed, paths, tmp_path):
    whole, torn = paths[2].read_bytes(), tmp_path / "02.png"
    torn.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"image 2, .*02\.png: cannot be decoded"):
        embed.transform([*paths[:2], torn, *paths[3:]])
    with Image.open(torn) as image, pytest.raises(ValueError, match=r"X\[0\]: cannot be decoded"):
        embed.transform([image])


@pytest.mark.parametrize(
    ("x", "line"),
    [
        ("photos", "X is a str: expected a list of paths or images"),
        (os.curdir.encode(), "X is a bytes"),
        (Image.new("RGB", (9, 9)), "X is a Image"),
        (None, "X is a NoneType"),
        (5, "X is a int"),
        ({"a.png": 1}, "X is a dict"),
        ([], "X holds no images"),
        ([3], r"X\[0\] is int: expected a path"),
        # A single image was taken for gray images, one per row of pixels.
        (np.zeros((9, 8, 3), np.uint8), r"X is one image, uint8 of shape \(9, 8, 3\): put it in a list, \[X\]"),
        (np.zeros((9, 8, 4), np.uint8), "X is one image"),
        (np.zeros((9, 8), np.uint8), "X is one image"),
        (np.zeros((9, 8, 3)), "X is one image, float64"),
        (torch.zeros(3, 9, 8, dtype=torch.uint8), "X is one image, torch.uint8"),
        (list(np.zeros((9, 8, 3), np.uint8)), r"X\[0\] is uint8 of shape \(8, 3\).* Is X one image\?"),
        (np.zeros((2, 3, 9, 8), np.uint8), "Channels come last"),
        (np.zeros((2, 9, 8, 3)), r"Values from 0 to 1 become these by \(255 \* X\)"),
        ([torch.zeros(9, 8, 3, requires_grad=True)], r"X\[0\] is no array: Can't call numpy"),
        ([np.zeros((9, 9, 3))], r"X\[0\] is float64 of shape \(9, 9, 3\)"),
        ([np.zeros((9, 9, 4), np.uint8)], r"X\[0\] is uint8 of shape \(9, 9, 4\)"),
        ([np.zeros((0, 9, 3), np.uint8)], r"X\[0\] is uint8 of shape \(0, 9, 3\)"),
    ],
)
def test_what_x_may_not_be(embed, x, line):
    for call in (embed.transform, clone(embed).fit):
        with pytest.raises(ValueError, match=line):
            call(x)


def test_images_in_memory_are_read_like_files(embed, tmp_path):
    wide = matrix_profile([(0.73, 0.27), (0.16, 0.84), (0.04, 0.0001)], (0.3457, 0.3585), 1.8)
    colors = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(colors).save(tmp_path / "wide.png", icc_profile=wide)
    Image.fromarray((colors[..., 0] * 16).astype(np.uint16)).save(tmp_path / "deep.tif", tiffinfo={281: 4095})
    for path in tmp_path.iterdir():
        assert np.array_equal(embed.transform([path]), embed.transform([Image.open(path)]))
    plain = embed.transform([colors])
    assert not np.array_equal(embed.transform([tmp_path / "wide.png"]), plain)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"model": "efficientnet_lite9"}, "unknown model"),
        ({"batch_size": 0}, "batch size 0"),
        ({"timeout": 0}, "timeout 0 s"),
        ({"image_size": 0}, "image size 0"),
        ({"weights": "none.safetensors"}, "none.safetensors"),
        ({"device": "abacus"}, "unknown device"),
        ({"precision": "float8"}, "precision 'float8'"),
        ({"model": 3}, "model is 3: expected a backbone's name"),
        ({"model": None}, "model is None"),
        ({"weights": 3}, "weights is 3: expected a path"),
        ({"image_size": "a"}, "image_size is 'a': expected a number of pixels"),
        ({"batch_size": "4"}, "batch_size is '4': expected a whole number"),
        ({"timeout": "x"}, "timeout is 'x': expected a number of seconds"),
        ({"device": 3}, "device is 3"),
    ],
)
def test_parameters_that_cannot_be(paths, options, line):
    for call in (EmbedImages.fit, EmbedImages.transform):
        with pytest.raises(ValueError, match=line) as caught:
            call(EmbedImages(**{**SMALL, **options}), paths)
        assert isinstance(caught.value, HeadclustError)


def test_nothing_is_opened_or_learned_in_fit(paths, rows):
    embed = EmbedImages(**SMALL)
    assert np.array_equal(embed.transform(paths), rows)  # without a fit
    assert embed.fit(["no", "such", "files"]) is embed
    assert len(embed.get_feature_names_out()) == 1280
    assert len(embed.weights_sha256_) == 64


def test_a_changed_parameter_is_not_passed_over(paths, rows):
    embed = EmbedImages(**SMALL).fit(paths)
    assert not np.array_equal(embed.set_params(image_size=96).fit_transform(paths), rows)
    assert np.array_equal(embed.set_params(image_size=64).fit_transform(paths), rows)


def test_a_pickle_holds_no_weights_and_refuses_others(embed, paths, rows):
    written = pickle.dumps(embed)
    assert len(written) < 2_000
    twin = pickle.loads(written)
    assert np.array_equal(twin.transform(paths), rows)
    other = pickle.loads(written)
    other.weights_sha256_ = "0" * 64
    with pytest.raises(ValueError, match="fit again"):
        other.transform(paths)


def test_from_paths_to_groups_in_one_pipeline(paths):
    method = {"method": "kmeans", "settings": {"normalize": "l2"}}
    pipeline = make_pipeline(EmbedImages(**SMALL), HeadClustering(3, device="cpu", **method))
    assert adjusted_rand_score(pipeline.fit_predict(paths), np.arange(12) % 3) == 1
    assert list(pipeline.predict(paths[:3])) == list(pipeline[-1].labels_[:3])
    assert pipeline.transform(paths).shape == (12, 3)
    assert list(pipeline.get_feature_names_out()) == [f"headclustering{i}" for i in range(3)]


def test_the_default_groups_a_list_of_paths(paths):
    pipeline = make_pipeline(EmbedImages(**SMALL), HeadClustering(3, settings={"pairs.length": 20}, device="cpu"))
    assert set(pipeline.fit_predict(paths)) <= {0, 1, 2}
