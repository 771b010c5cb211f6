"""Damage in JPEG files is noticed, and harmless oddities are read."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from headclust.errors import DataError
from headclust.images import image_file
from headclust.images.image_file import MAX_PIXELS, decode, pixel_limit

OPTIONS = {
    "baseline": {},
    "optimized": {"optimize": True},
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "restarts": {"restart_marker_rows": 1},
    "coarse": {"quality": 5},
}


def scene(mode: str = "RGB") -> Image.Image:
    """Smooth gradients, texture and edges, as in a photo."""
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 255, (24, 32, 3), dtype=np.uint8)).resize((384, 288), 3)
    fine = Image.fromarray(generator.integers(0, 255, (288, 384, 3), dtype=np.uint8))
    image = Image.blend(coarse, fine, 0.15)
    ImageDraw.Draw(image).rectangle((100, 80, 220, 200), fill="navy", outline="white")
    return image.convert(mode)


def jpeg(image: Image.Image, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", **{"quality": 85, **options})
    return data.getvalue()


def scan_start(data: bytes) -> int:
    return data.index(b"\xff\xda") + 14


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_pixels_are_those_of_pillow(options, mode):
    data = jpeg(scene(mode), **options)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(decode(data)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_block_of_zeros(options):
    # Half of the rows of such an image were wrong, without a word.
    data = bytearray(jpeg(scene(), **{**options, "quality": 60}))
    middle = (scan_start(data) + len(data)) // 2
    if "progressive" in options:  # of its scans, most hold more than the mean colors
        middle = len(data) * 3 // 4
    data[middle : middle + 1024] = bytes(1024)
    with pytest.raises(DataError, match="damaged: "):
        decode(bytes(data))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_block_of_something_else(options):
    data = bytearray(jpeg(scene(), **{**options, "quality": 60}))
    middle = (scan_start(data) + len(data)) // 2
    data[middle : middle + 2048] = np.random.default_rng(3).bytes(2048)
    with pytest.raises(DataError, match=r"damaged: |cannot be decoded: "):
        decode(bytes(data))


def test_a_missing_piece():
    data = jpeg(scene())
    start = scan_start(data) + 3000
    with pytest.raises(DataError, match="damaged: premature end of data segment in the JPEG data"):
        decode(data[:start] + data[start + 512 :])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_harmless_oddities_are_read(options):
    data = jpeg(scene(), **options)
    pixels = np.asarray(decode(data))
    oddities = {
        "padding before the end, as some cameras write": data[:-2] + bytes(3) + data[-2:],
        "fill bytes": data[:-2] + b"\xff\xff\xff" + data[-2:],
        "garbage before the end": data[:-2] + b"maker notes" + data[-2:],
        "no end": data[:-2],
        "data after the end": data + bytes(5000),
        "another image after the end": data + data,
        "an unknown segment": data[:2] + b"\xff\xef\0\x05abc" + data[2:],
        "an unknown Adobe version": data[:2] + b"\xff\xee\0\x0eAdobe\x01\0\0\0\0\0\x01" + data[2:],
    }
    for name, odd in oddities.items():
        assert np.array_equal(np.asarray(decode(odd)), pixels), name


@pytest.mark.parametrize("marker", [0xC4, 0xC0, 0xDA], ids=["tables", "frame", "scan"])
def test_a_segment_that_is_cut_or_empty_is_an_image_or_a_reason(marker):
    """Once a table of codes whose lengths were damaged ended with StopIteration."""
    data = jpeg(scene())
    start = data.index(bytes([0xFF, marker])) + 2
    for length in range(20):  # bytes of the segment; those after it stay
        cut = data[:start] + (2 + length).to_bytes(2) + bytes(length) + data[start:]
        for damaged in (cut, data[:start] + (2 + length).to_bytes(2) + data[start + 2 :]):
            with contextlib.suppress(DataError):
                assert decode(damaged).mode == "RGB"


def test_padding_before_restarts():
    # Webcams write it; libjpeg warns of extraneous bytes.
    data = jpeg(scene(), restart_marker_rows=1)
    place = data.index(b"\xff\xd3", scan_start(data))
    assert np.array_equal(np.asarray(decode(data[:place] + b"\0\0" + data[place:])), np.asarray(decode(data)))


@pytest.mark.parametrize("quality", [1, 30, 75, 100])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}], ids=str)
def test_flat_and_drawn_images_are_no_damage(quality, options):
    # Their data do have long runs of zeros.
    text = Image.new("RGB", (600, 400), "white")
    ImageDraw.Draw(text).text((300, 200), "headclust", fill="black")
    checks = Image.fromarray(np.kron(np.indices((50, 75)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8) * 255)
    pixelwise = Image.fromarray((np.indices((400, 600)).sum(0) % 2).astype(np.uint8) * 255)
    ramp = Image.linear_gradient("L").resize((600, 400))
    for image in (Image.new("RGB", (1600, 1200)), text, checks, pixelwise, ramp, ramp.convert("RGB")):
        decode(jpeg(image, quality=quality, **options))


def test_large_images_are_decoded_at_a_reduced_size(monkeypatch):
    # Phones write 108 and 200 megapixels, which were refused.
    data = jpeg(scene())
    full = np.asarray(decode(data))
    monkeypatch.setattr(image_file, "MAX_PIXELS", 384 * 288 - 1)
    monkeypatch.setattr(image_file, "_MAX_JPEG_PIXELS", 10**6)
    half = np.asarray(decode(data))
    assert half.shape == (144, 192, 3)
    assert np.abs(half - full.reshape(144, 2, 192, 2, 3).mean((1, 3))).mean() < 3
    monkeypatch.setattr(image_file, "MAX_PIXELS", 100)
    assert decode(data).size == (48, 36)
    middle = (scan_start(data) + len(data)) // 2
    with pytest.raises(DataError, match="damaged: a block of"):
        decode(data[:middle] + bytes(1024) + data[middle + 1024 :])
    monkeypatch.setattr(image_file, "_MAX_JPEG_PIXELS", 384 * 288 - 1)
    with pytest.raises(DataError, match=r"384 x 288 pixels: more than the 110591 allowed; .*--max-pixels"):
        decode(data)
    with pixel_limit(384 * 288):
        assert decode(data).size == (48, 36)


def sized(width: int, height: int) -> bytes:
    """A JPEG with another size in its header."""
    data = bytearray(jpeg(Image.new("L", (8, 8))))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = height.to_bytes(2) + width.to_bytes(2)
    return bytes(data)


def test_a_bomb_is_still_refused():
    assert 2 * MAX_PIXELS < 16_320 * 12_240  # of a phone, which Pillow itself refuses
    with pytest.raises(DataError, match="damaged: premature end of data segment"):
        decode(sized(16_320, 12_240))
    for side in (20_000, 65_500):
        with pytest.raises(DataError, match=f"{side} x {side} pixels: more than the 268435455 allowed"):
            decode(sized(side, side))
