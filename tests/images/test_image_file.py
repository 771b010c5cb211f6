"""Every kind of image a file can hold."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import COLORS, chunk, png, saved
from PIL import Image

from headclust.errors import DataError
from headclust.images.image_file import decode
from headclust.images.pixels import to_rgb


def pixels(path: str) -> np.ndarray:
    image = decode(path)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm"])
def test_lossless_formats_give_the_pixels_that_were_saved(tmp_path, name):
    assert np.array_equal(pixels(saved(tmp_path / name, Image.fromarray(COLORS))), COLORS)


def test_lossless_webp(tmp_path):
    assert np.array_equal(pixels(saved(tmp_path / "a.webp", Image.fromarray(COLORS), lossless=True)), COLORS)


def test_jpeg_is_what_pillow_decodes(tmp_path):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8))
    path = saved(tmp_path / "a.jpg", photo)
    assert np.array_equal(pixels(path), np.asarray(Image.open(path)))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.gif", "a.jpg", "a.avif"])
def test_bytes_decode_as_files_do(tmp_path, name):
    path = saved(tmp_path / name, Image.fromarray(np.repeat(COLORS, 8, axis=0)))
    assert np.array_equal(np.asarray(decode(Path(path).read_bytes())), pixels(path))


def test_avif_is_near_what_was_saved(tmp_path):
    assert (
        np.abs(pixels(saved(tmp_path / "a.avif", Image.new("RGB", (9, 7), "red"))).astype(int) - [255, 0, 0]).max() < 4
    )


def test_an_extension_that_lies_is_no_obstacle(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(COLORS).save(path, format="PNG")
    assert np.array_equal(pixels(str(path)), COLORS)


def test_gray_becomes_three_equal_channels(tmp_path):
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    found = pixels(saved(tmp_path / "a.png", Image.fromarray(gray)))
    assert np.array_equal(found, np.repeat(gray[..., None], 3, axis=2))


def test_one_bit_images_are_black_and_white(tmp_path):
    bits = np.array([[True, False], [False, True]])
    found = pixels(saved(tmp_path / "a.png", Image.fromarray(bits)))
    assert np.array_equal(found[..., 0], bits * np.uint8(255))


def test_palette(tmp_path):
    palette = Image.fromarray(COLORS).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    assert np.array_equal(pixels(saved(tmp_path / "a.png", palette)), COLORS)


def test_palette_with_a_transparent_color_shows_white(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    found = pixels(saved(tmp_path / "a.png", palette, transparency=0))
    assert found.tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_palette_with_alpha_bytes(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    found = pixels(saved(tmp_path / "a.png", palette, transparency=bytes([0, 255])))
    assert found.tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_rgb_with_a_transparent_color_shows_white(tmp_path):
    found = pixels(saved(tmp_path / "a.png", Image.fromarray(COLORS), transparency=(255, 0, 0)))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(found[0, 1:], COLORS[0, 1:])


@given(st.tuples(*[st.integers(0, 255)] * 4))
@settings(max_examples=50, deadline=None)
def test_alpha_is_composited_on_white(color):
    red, green, blue, alpha = color
    found = np.asarray(to_rgb(Image.new("RGBA", (1, 1), color)))[0, 0].astype(float)
    expected = np.array([red, green, blue]) * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(found - expected).max() <= 1


def test_gray_with_alpha(tmp_path):
    image = Image.merge("LA", [Image.new("L", (1, 1), 40), Image.new("L", (1, 1), 0)])
    assert pixels(saved(tmp_path / "a.png", image)).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path, name):
    deep = np.array([[0, 257, 32768, 65535]], np.uint16)
    assert pixels(saved(tmp_path / name, Image.fromarray(deep)))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_pgm(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 65535, 257))
    assert pixels(str(tmp_path / "a.pgm"))[0, :, 0].tolist() == [255, 1]


def test_sixteen_bit_colors():
    found = np.asarray(decode(png(16, 2, b"\0" + struct.pack(">3H", 65535, 257, 0))))
    assert found.tolist() == [[[255, 1, 0]]]


def test_sixteen_bit_gray_with_alpha():
    found = np.asarray(decode(png(16, 4, b"\0" + struct.pack(">4H", 0, 65535, 0, 0), size=(2, 1))))
    assert found[..., 0].tolist() == [[0, 255]]


def test_sixteen_bit_gray_with_a_transparent_value():
    # Once shown as it was, although everything transparent is shown on white.
    transparent = chunk(b"tRNS", struct.pack(">H", 257))
    found = np.asarray(decode(png(16, 0, b"\0" + struct.pack(">3H", 257, 514, 65535), transparent, size=(3, 1))))
    assert found[..., 0].tolist() == [[255, 2, 255]]


def test_four_bit_gray():
    assert np.asarray(decode(png(4, 0, b"\0\x0f", size=(2, 1))))[..., 0].tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("mode", "color", "expected"), [("YCbCr", (200, 128, 128), 200), ("LAB", (255, 128, 128), 255)]
)
def test_tiff_in_other_color_spaces(tmp_path, mode, color, expected):
    found = pixels(saved(tmp_path / "a.tif", Image.new(mode, (2, 2), color)))
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_cmyk_tiff(tmp_path):
    path = saved(tmp_path / "a.tif", Image.new("CMYK", (2, 2), (0, 255, 255, 0)))
    assert pixels(path)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(tmp_path, compression):
    assert np.array_equal(pixels(saved(tmp_path / "a.tif", Image.fromarray(COLORS), compression=compression)), COLORS)


@pytest.mark.parametrize("size", [(1, 1), (1, 30_000), (30_000, 1)])
def test_extreme_sizes(tmp_path, size):
    assert pixels(saved(tmp_path / "a.png", Image.new("RGB", size, "red"))).shape == (size[1], size[0], 3)


def test_integers_beyond_16_bits_are_refused(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray(np.array([[70000, 0]], np.int32)))
    with pytest.raises(DataError, match="from 0 to 70000: expected 0 to 65535"):
        decode(path)


def test_floating_point_is_refused(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray(np.ones((2, 2), np.float32)))
    with pytest.raises(DataError, match="floating-point"):
        decode(path)


def test_cmyk_jpeg(tmp_path):
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red
    red = pixels(saved(tmp_path / "a.jpg", cmyk, quality=95)).reshape(-1, 3).mean(0)
    assert red[0] > 240
    assert red[1:].max() < 15


def test_ycck_jpeg_as_adobe_writes_it(tmp_path):
    # Adobe stores inverted inks and, with transform 2, all but K as YCbCr (Adobe technical note 5116).
    saved(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=100)
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    assert data[data.find(b"Adobe") + 11] == 0
    data[data.find(b"Adobe") + 11] = 2
    y, cb, cr, k = 255, 0, 0, 255  # what is stored, once taken for YCbCr and K
    rgb = np.clip([y + 1.402 * (cr - 128), y - 0.344 * (cb - 128) - 0.714 * (cr - 128), y + 1.772 * (cb - 128)], 0, 255)
    expected = (255 - rgb) * k / 255  # the light left by inks stored as 255 - ink
    assert np.abs(np.asarray(decode(bytes(data)))[8, 8] - expected).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.jpg", "a.avif"])
def test_exif_orientation_is_applied_as_pillow_does(tmp_path, orientation, name):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path / name, Image.fromarray(COLORS), exif=exif, **options)
    with Image.open(path) as image:
        assert np.array_equal(pixels(path), np.asarray(ImageOps.exif_transpose(image).convert("RGB")))
    assert pixels(path).shape == ((2, 3, 3) if orientation < 5 else (3, 2, 3))


def test_damaged_exif_does_not_cost_the_image(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(COLORS), exif=b"Exif\0\0XX nonsense")
    assert np.array_equal(pixels(path), COLORS)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif", "a.avif"])
def test_first_frame_of_animated_images(tmp_path, name):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    options = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    assert np.abs(pixels(str(tmp_path / name))[0, 0].astype(int) - [255, 0, 0]).max() <= (3 if name == "a.avif" else 0)


def test_multi_picture_jpeg_from_cameras(tmp_path):
    frames = [Image.new("RGB", (16, 16), color) for color in ("white", "black")]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert pixels(str(tmp_path / "a.jpg")).min() > 250
