"""Pixels of every depth and kind of transparency, by the letter of their formats."""

import io
import struct

import numpy as np
import pytest
from image_files import chunk, png, tiff
from PIL import Image

from headclust.errors import DataError
from headclust.images.image_file import decode
from headclust.images.pixels import to_rgb

ORDERS = pytest.mark.parametrize("order", ["II", "MM"])


def gray(data: bytes) -> list[int]:
    pixels = np.asarray(decode(data))
    assert (pixels == pixels[..., :1]).all()
    return pixels[0, :, 0].tolist()


@ORDERS
@pytest.mark.parametrize(("photometric", "expected"), [(1, [0, 128, 255]), (0, [255, 127, 0])])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_gray_of_any_depth_and_sense(order, photometric, expected, bits):
    # 12 bits came out nearly black; 16 bits, where 0 is white, as a negative, or refused.
    white = 2**bits - 1
    found = gray(tiff(order, photometric, bits, [0, round(128 / 255 * white), white]))
    assert found == expected


@ORDERS
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 4])
def test_few_bits(order, photometric, bits):
    expected = [0, 255] if photometric else [255, 0]
    assert gray(tiff(order, photometric, bits, [0, 2**bits - 1])) == expected


@ORDERS
@pytest.mark.parametrize(("photometric", "expected"), [(1, [0, 128, 255]), (0, [255, 127, 0])])
def test_twelve_bits_in_sixteen_with_their_range(order, photometric, expected):
    assert gray(tiff(order, photometric, 16, [0, 2056, 4095], (281, 4095))) == expected


def test_a_range_that_is_the_brightest_pixel_only_is_no_range():
    assert gray(tiff("II", 1, 16, [0, 32896, 40000], (281, 40000))) == [0, 128, 156]
    assert gray(tiff("II", 1, 16, [0, 65535], (281, 4095))) == [0, 255]


@ORDERS
def test_twelve_bits_in_sixteen_without_a_record_are_not_guessed(order):
    with pytest.raises(DataError, match="16-bit pixels of at most 4095, nearly black: perhaps fewer bits"):
        gray(tiff(order, 1, 16, [0, 2048, 4095]))
    assert gray(tiff(order, 1, 16, [0, 0])) == [0, 0]  # black at any depth


def test_dark_colors_of_sixteen_bits():
    with pytest.raises(DataError, match="nearly black"):
        decode(png(16, 2, b"\0" + struct.pack(">3H", 4095, 100, 0)))
    assert np.asarray(decode(png(16, 2, b"\0" + struct.pack(">3H", 4096, 100, 0)))).tolist() == [[[16, 0, 0]]]


def test_alpha_of_few_bits_is_no_white_image():
    # 10 bits in 16, in all channels: 3 of 255 in alpha, so nearly white on white.
    for color, values in ((6, (1023, 500, 0, 1023)), (4, (500, 1023))):
        with pytest.raises(DataError, match="nearly black: perhaps fewer bits"):
            decode(png(16, color, b"\0" + struct.pack(f">{len(values)}H", *values)))
    assert gray(png(16, 4, b"\0" + struct.pack(">2H", 100, 0))) == [255]
    assert gray(png(16, 4, b"\0" + struct.pack(">2H", 0, 65535))) == [0]


@pytest.mark.parametrize("bits", [10, 14])
def test_depths_that_pillow_does_not_know(bits):
    with pytest.raises(DataError, match=f"TIFF pixels of {bits} bits .*convert the file to 8-bit RGB"):
        decode(tiff("II", 1, bits, [0, 1023]))


def test_signed_pixels():
    with pytest.raises(DataError, match="signed pixels"):
        decode(tiff("II", 1, 8, [-1, 5], (339, 2)))
    assert gray(tiff("II", 1, 8, [0, 127], (339, 2))) == [0, 127]
    with pytest.raises(DataError, match="integer pixels from -5"):
        decode(tiff("MM", 1, 16, [-5, 5], (339, 2)))


SIGNIFICANT = chunk(b"sBIT", b"\x0c")


def test_png_with_significant_bits_that_were_not_scaled():
    row = b"\0" + struct.pack(">3H", 0, 2056, 4095)
    assert gray(png(16, 0, row, SIGNIFICANT, size=(3, 1))) == [0, 128, 255]


def test_png_with_significant_bits_that_were_scaled():
    # As the specification demands; this one is dark.
    row = b"\0" + struct.pack(">3H", 0, 257 << 4, 255 << 4)
    assert gray(png(16, 0, row, SIGNIFICANT, size=(3, 1))) == [0, 16, 16]
    row = b"\0" + struct.pack(">2H", 16, 255 << 4)
    assert gray(png(16, 0, row, SIGNIFICANT, size=(2, 1))) == [0, 16]


@pytest.mark.parametrize(("bits", "row", "value"), [(1, b"\0\x40", 0), (2, b"\0\x10", 0), (4, b"\0\x50", 5)])
def test_a_transparent_gray_counts_in_the_bits_of_the_file(bits, row, value):
    # It was compared with pixels that had been scaled to 8 bits.
    first = row[1] >> (8 - bits)
    transparent = chunk(b"tRNS", struct.pack(">H", first))
    found = gray(png(bits, 0, row, transparent, size=(2, 1)))
    second = (row[1] >> (8 - 2 * bits)) % 2**bits
    assert found == [255, second * 255 // (2**bits - 1)]


def test_another_transparent_gray_hides_nothing():
    # Value 2 of 4 bits is 34 of 8: a gray of 2 does not occur.
    transparent = chunk(b"tRNS", struct.pack(">H", 2))
    assert gray(png(4, 0, b"\0\x3f", transparent, size=(2, 1))) == [51, 255]


def bitmap(size: int, pixel: bytes) -> bytes:
    """A BMP of version 4 or 5, of one pixel, with an alpha mask: https://learn.microsoft.com/windows/win32/gdi."""
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", size, 1, 1, 1, 32, 3, 4, 0, 0, 0, 0) + masks
    header = header.ljust(size, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + size + 4, 0, 0, 14 + size) + header + pixel


@pytest.mark.parametrize("size", [108, 124])
def test_a_bitmap_whose_alpha_was_never_set(size):
    assert np.asarray(decode(bitmap(size, bytes((30, 20, 10, 0))))).tolist() == [[[10, 20, 30]]]
    assert np.asarray(decode(bitmap(size, bytes((30, 20, 10, 255))))).tolist() == [[[10, 20, 30]]]


def test_alpha_that_a_png_records_is_meant():
    data = io.BytesIO()
    Image.new("RGBA", (1, 1), (10, 20, 30, 0)).save(data, "PNG")
    assert np.asarray(decode(data.getvalue())).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize(("mode", "color"), [("La", (50, 100)), ("RGBa", (50, 50, 50, 100))])
def test_premultiplied_alpha(mode, color):
    # 50 of 100 covered by half gray, the rest white: 50 + 155.
    assert abs(to_rgb(Image.new(mode, (1, 1), color)).getpixel((0, 0))[0] - 205) <= 1


def test_premultiplied_gray_in_a_file():
    data = io.BytesIO()
    Image.new("LA", (2, 2), (50, 100)).save(data, "TIFF")
    straight, premultiplied = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))
    assert straight in data.getvalue()
    assert gray(data.getvalue().replace(straight, premultiplied))[0] == 205
