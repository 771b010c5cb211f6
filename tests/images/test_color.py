"""Colors are converted to sRGB by the profile of an image."""

import io

import numpy as np
import pytest
from image_files import COLORS, chunk, png
from PIL import Image, ImageCms

from headclust.images.color import adobe_rgb, matrix_profile, profile_of, to_srgb
from headclust.images.image_file import decode

D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
SRGB_PRIMARIES = [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)]
PROPHOTO = matrix_profile([(0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)], D50, 1.8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY_MODES = ["L", "LA"]


def stored(image: Image.Image, form: str = "PNG", **options) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def expected(primaries, white, gamma, color) -> np.ndarray:
    """A color in sRGB, from the definitions of the two spaces (IEC 61966-2-1), without adaptation of the white."""

    def to_xyz(primaries):
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
        return columns * np.linalg.solve(columns, [white[0] / white[1], 1, (1 - sum(white)) / white[1]])

    linear = np.linalg.solve(to_xyz(SRGB_PRIMARIES), to_xyz(primaries) @ (np.array(color) / 255) ** gamma).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("color", [(255, 255, 255), (200, 100, 50), (30, 60, 90), (120, 200, 120), (0, 0, 0)])
def test_adobe_rgb_against_its_definition(color):
    pixels = np.full((8, 8, 3), color, np.uint8)
    found = np.asarray(decode(stored(Image.fromarray(pixels), icc_profile=adobe_rgb())))
    primaries = [(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)]
    assert np.abs(found[0, 0] - expected(primaries, D65, 563 / 256, color)).max() <= 2


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_profiles_in_every_format(form):
    image = Image.new("RGB", (32, 32), (150, 120, 90))
    options = {"lossless": True} if form == "WEBP" else {}
    found = np.asarray(decode(stored(image, form, icc_profile=PROPHOTO, **options)))[16, 16]
    wide = np.asarray(decode(stored(image, icc_profile=PROPHOTO)))[16, 16]
    assert np.abs(found.astype(int) - wide).max() <= 4
    assert np.abs(wide.astype(int) - [150, 120, 90]).max() > 20


@pytest.mark.parametrize("profile", [SRGB, matrix_profile(SRGB_PRIMARIES, D65, 2.4), b""], ids=["sRGB", "2.4", "none"])
def test_srgb_changes_no_pixel(profile):
    colors = np.random.default_rng(0).integers(0, 255, (50, 50, 3), dtype=np.uint8)
    same = np.array_equal(np.asarray(decode(stored(Image.fromarray(colors), icc_profile=profile))), colors)
    assert same == (profile in (SRGB, b""))  # a plain power is another curve in the shadows


@pytest.mark.parametrize("profile", [b"nonsense", SRGB[:200], PROPHOTO[:300], PROPHOTO + b"x" * 2**24, bytes(500)])
def test_a_broken_or_huge_profile_does_not_cost_the_image(profile):
    found = np.asarray(decode(stored(Image.fromarray(COLORS), "TIFF", icc_profile=profile)))
    assert np.array_equal(found, COLORS)


@pytest.mark.parametrize("mode", GRAY_MODES)
def test_a_profile_of_another_kind_of_image_is_ignored(mode):
    image = Image.new(mode, (2, 2), (100, 255)[: len(mode)] if len(mode) > 1 else 100)
    assert np.asarray(decode(stored(image, icc_profile=PROPHOTO)))[0, 0].tolist() == [100, 100, 100]


def gray_profile(gamma: int) -> bytes:
    """A profile of gray with the curve of a power."""
    profile = matrix_profile(SRGB_PRIMARIES, D50, gamma)
    return profile.replace(b"RGB XYZ ", b"GRAYXYZ ").replace(b"rTRC", b"kTRC")


def test_gray_with_a_linear_profile():
    data = png(8, 0, b"\0\x00\x37\xff", size=(3, 1))
    plain = Image.open(io.BytesIO(data))
    found = np.asarray(decode(stored(plain, icc_profile=gray_profile(1))))[0]
    # 55 of 255 in linear light is half gray: sRGB 128.
    assert np.abs(found[:, 0].astype(int) - [0, 128, 255]).max() <= 1
    deep = Image.fromarray(np.array([[0, 55 * 257, 65535]], np.uint16))
    assert np.array_equal(np.asarray(decode(stored(deep, icc_profile=gray_profile(1))))[0], found)


def test_transparent_parts_stay_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    assert np.asarray(decode(stored(image, icc_profile=PROPHOTO)))[0, 0].tolist() == [255, 255, 255]


def test_cameras_that_name_adobe_rgb_without_a_profile():
    # DCF option file: the color space is not calibrated, and the index of interoperability is R03.
    image = Image.new("RGB", (32, 32), (200, 100, 50))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    named = decode(stored(image, "JPEG", exif=exif, quality=100))
    with_profile = decode(stored(image, "JPEG", icc_profile=adobe_rgb(), quality=100))
    assert np.array_equal(np.asarray(named), np.asarray(with_profile))
    assert np.asarray(named)[0, 0, 0] > 215
    exif.get_ifd(0x8769)[0xA005] = {1: "R98"}  # sRGB
    assert abs(int(np.asarray(decode(stored(image, "JPEG", exif=exif, quality=100)))[0, 0, 0]) - 200) <= 2


def test_cmyk_with_a_profile_that_cannot_be_used():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert np.asarray(decode(stored(image, "TIFF", icc_profile=PROPHOTO)))[0, 0].tolist() == [255, 0, 0]


def test_gamma_and_chromaticities_of_png_are_not_used():
    # Viewers differ; writers mean sRGB as a rule.
    row, gamma = b"\0\x64\x32\x14", chunk(b"gAMA", (100_000).to_bytes(4))
    assert np.asarray(decode(png(8, 2, row, gamma))).tolist() == [[[100, 50, 20]]]


def test_lab_is_converted_without_its_profile():
    image = Image.new("LAB", (2, 2), (128, 128, 128))
    assert to_srgb(image.convert("RGB"), image, PROPHOTO).getpixel((0, 0)) == image.convert("RGB").getpixel((0, 0))
    assert profile_of(image) is None
