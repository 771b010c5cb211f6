"""HEIF images, the photos of iPhones: read with the extra `heif`, and named as such without it."""

from io import BytesIO

import pytest
from PIL import Image

from headclust.errors import DataError
from headclust.export import find_images
from headclust.images import heif, image_file
from headclust.images.datasets import open_source

START = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_without_the_extra_the_reason_names_it(monkeypatch):
    monkeypatch.setattr(image_file, "heif_is_installed", lambda: False)
    with pytest.raises(
        DataError, match=r"^an HEIF image, which needs the extra `heif`: pip install 'headclust\[heif\]'$"
    ):
        image_file.decode(START + bytes(100))


def test_an_avif_image_with_the_general_brand_is_no_heif_image():
    assert not heif.is_heif(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf")


@pytest.fixture
def photo():
    heif_library = pytest.importorskip("pillow_heif")
    stream = BytesIO()
    image = Image.new("RGB", (64, 48), (200, 60, 20))
    heif_library.from_pillow(image).save(stream, quality=95)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["IMG_0001.HEIC", "a.heif", "b.hif", "renamed.jpg"])
def test_with_the_extra_they_are_images(tmp_path, photo, name):
    (tmp_path / name).write_bytes(photo)
    images = open_source(str(tmp_path))
    assert images.sample_ids == (name,)
    image = images.read(0)
    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert all(abs(value - expected) < 8 for value, expected in zip(image.getpixel((9, 9)), (200, 60, 20), strict=True))


def test_a_damaged_one_is_refused_in_one_line(photo):
    for content in (photo[:100], photo[: len(photo) // 2], START + bytes(100)):
        with pytest.raises(DataError) as caught:
            image_file.decode(content)
        assert "\n" not in str(caught.value)
        assert "HEIF" in str(caught.value) or str(caught.value).startswith("cannot be decoded")


def test_without_the_extra_every_way_to_name_one_names_it(tmp_path, monkeypatch, capsys):
    for module in ("headclust.images.heif", "headclust.images.datasets.ignored"):
        monkeypatch.setattr(f"{module}.heif_is_installed", lambda: False)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    photo = tmp_path / "IMG_0001.HEIC"
    photo.write_bytes(START)
    extra = r"needs the extra `heif`: pip install 'headclust\[heif\]'"
    with pytest.raises(DataError, match=rf"IMG_0001\.HEIC is HEIC, which {extra}\.$"):
        open_source(str(photo))
    assert open_source(str(tmp_path)).sample_ids == ("a.jpg",)
    assert "1 image that needs the extra `heif` (pip install 'headclust[heif]'): 1 .heic" in capsys.readouterr().err
    # Images that were embedded with the extra.
    find_images(str(tmp_path), "all", ["a.jpg", "IMG_0001.HEIC", "gone.jpg"])
    assert "not found: 2; 1 of them is HEIC, which needs the extra `heif`" in capsys.readouterr().err


def test_avif_without_its_decoder_is_named(monkeypatch):
    monkeypatch.setattr(image_file.features, "check", lambda name: name != "avif")
    with pytest.raises(DataError, match=r"^an AVIF image, which needs a Pillow with AVIF"):
        image_file.decode(b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf")
