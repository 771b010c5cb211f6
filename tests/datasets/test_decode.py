"""Every kind of image and of trouble a folder can hold."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headclust.datasets.decode import MAX_PIXELS, decode, to_rgb
from headclust.errors import DataError

COLORS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [200, 100, 50], [0, 0, 0]]], np.uint8)


def saved(path: Path, image: Image.Image, **options) -> str:
    image.save(path, **options)
    return str(path)


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
    wanted = np.array([red, green, blue]) * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(found - wanted).max() <= 1


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


def test_integers_beyond_16_bits_are_refused(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray(np.array([[70000, 0]], np.int32)))
    with pytest.raises(DataError, match="from 0 to 70000: wanted 0 to 65535"):
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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
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


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_first_frame_of_animated_images(tmp_path, name):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    options = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    assert pixels(str(tmp_path / name))[0, 0].tolist() == [255, 0, 0]


def test_multi_picture_jpeg_from_cameras(tmp_path):
    frames = [Image.new("RGB", (16, 16), color) for color in ("white", "black")]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert pixels(str(tmp_path / "a.jpg")).min() > 250


def reason(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        decode(str(path))
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) not in text
    return text


def test_missing_file(tmp_path):
    assert reason(tmp_path / "a.jpg") == "no such file"


def test_a_folder_in_place_of_a_file(tmp_path):
    assert reason(tmp_path) == "cannot be decoded: IsADirectoryError: Is a directory"


def test_empty_file(tmp_path):
    (tmp_path / "a.jpg").touch()
    assert reason(tmp_path / "a.jpg") == "empty file (0 bytes)"


def test_not_an_image(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>")
    assert "not an image in a format that is read here (JPEG, PNG," in reason(tmp_path / "a.jpg")


@pytest.mark.parametrize("form", ["ICO", "PCX", "TGA", "EPS", "PDF", "JPEG2000"])
def test_formats_off_the_list_are_refused_whatever_their_name(tmp_path, form):
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a.png", format=form)
    assert "not an image" in reason(tmp_path / "a.png")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_truncated_at_any_length(tmp_path, form):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (24, 24, 3), dtype=np.uint8))
    data = io.BytesIO()
    noise.save(data, format=form)
    whole = data.getvalue()
    for length in np.linspace(1, len(whole) * 0.9, 25).astype(int):
        (tmp_path / "a").write_bytes(whole[:length])
        reason(tmp_path / "a")


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"]), st.data())
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_bytes_give_an_image_or_a_reason(tmp_path_factory, form, data):
    noise = Image.fromarray(np.random.default_rng(2).integers(0, 255, (9, 7, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, format=form)
    damaged = bytearray(buffer.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=8)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a"
    path.write_bytes(damaged)
    with contextlib.suppress(DataError):
        assert decode(str(path)).mode == "RGB"


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [100_000, 12_000])
def test_decompression_bombs(tmp_path, side):
    (tmp_path / "a.png").write_bytes(png_of_size(side, side))
    assert "pixels" in reason(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_where_warnings_are_only_shown(tmp_path):
    (tmp_path / "a.png").write_bytes(png_of_size(12_000, 12_000))
    assert reason(tmp_path / "a.png") == f"12000 x 12000 pixels: more than the {MAX_PIXELS} allowed"


def test_a_text_chunk_that_inflates_without_end(tmp_path):
    body = b"a\0\0" + zlib.compress(b"x" * 80_000_000)
    data = png_of_size(1, 1)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    reason(tmp_path / "a.png")
