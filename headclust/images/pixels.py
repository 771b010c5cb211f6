"""Pixels of any kind (deep gray, inverted, transparent, premultiplied) as 8-bit RGB on white."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from headclust.errors import DataError

# TIFF 6.0: a tag, and values of PhotometricInterpretation and SampleFormat.
_MAX_SAMPLE_VALUE = 281
_WHITE_IS_ZERO = 0
_SIGNED = 2
# Largest gray level of 12 bits. Images of 16 bits that nowhere exceed it are nearly black, unless they hold fewer bits.
_TWELVE_BITS = 0xFFF

# Kinds of gray that Pillow's decoders unpack, but its table of TIFF files lacks: 12 bits, 16 bits inverted.
for _order, _photometric, _bits, _modes in (
    (b"MM", 1, 12, ("I;16", "I;12")),
    (b"II", _WHITE_IS_ZERO, 12, ("I;16", "I;12")),
    (b"MM", _WHITE_IS_ZERO, 12, ("I;16", "I;12")),
    (b"MM", _WHITE_IS_ZERO, 16, ("I;16B", "I;16B")),
):
    TiffImagePlugin.OPEN_INFO.setdefault((_order, _photometric, (1,), 1, (_bits,), ()), _modes)


@dataclass(frozen=True)
class Stored:
    """Facts about the pixels of a file that Pillow does not keep when it decodes them.

    Attributes:
        white: Value of white in deep gray, 255 to 65535; None if the file does not record it.
        inverted: In deep gray, 0 is white.
        significant: Bits per pixel that were used before an encoder scaled them to 16; None if not recorded.
        is_16_bit: Each channel has 16 bits in the file.
        signed: 8-bit gray has values from -128 to 127.
        guessed_alpha: Alpha that is zero everywhere is no alpha: the file does not say what its fourth channel is.
    """

    white: int | None = None
    inverted: bool = False
    significant: int | None = None
    is_16_bit: bool = False
    signed: bool = False
    guessed_alpha: bool = False


def stored_pixels(image: Image.Image, file: BinaryIO | None) -> Stored:
    """Facts about the pixels of an opened image, before it is decoded; scale its transparent value to its pixels.

    Args:
        image: An image that Pillow has opened and not decoded.
        file: Its file, whose position is kept; None if it is not open.
    """
    raw_mode = _raw_mode(image)
    deep = ";16" in raw_mode or image.mode.startswith("I")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _stored_tiff(image, deep)
    if image.format == "PNG":
        _scale_transparent(image, raw_mode)
        return Stored(significant=_png_significant_bits(file) if deep and file else None, is_16_bit=deep)
    if image.format == "PPM":
        return Stored(white=0xFFFF)  # Pillow scales its largest value to this
    return Stored(guessed_alpha=image.format == "BMP")


def to_rgb(image: Image.Image, stored: Stored = Stored()) -> Image.Image:
    """`image` as 8-bit RGB, transparent parts on white.

    Args:
        image: A decoded image of any mode.
        stored: Facts about its file.

    Raises:
        DataError: The pixels have no known range: floating point, signed, beyond 16 bits, or 16 bits of which only the
            lower 12 are used.
    """
    if image.mode.startswith("I"):
        return _from_deep_gray(np.asarray(image), stored, image.info.get("transparency"))
    if image.mode == "F":
        raise DataError("floating-point pixels have no defined range: convert the file to 8 or 16 bits")
    if stored.signed and np.asarray(image).max() > 127:
        raise DataError("signed pixels, with values below 0: convert the file to 8 or 16 bits without sign")
    if image.mode == "La":  # premultiplied: what is missing to full alpha is white
        value, alpha = np.asarray(image, np.uint16).transpose(2, 0, 1)
        return Image.fromarray(np.minimum(value + 255 - alpha, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "RGBA" and stored.guessed_alpha and not np.asarray(image.getchannel(3)).any():
        rgb = image.convert("RGB")
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        rgb = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    else:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
    if stored.is_16_bit:
        # Alpha of fewer bits makes an image nearly white, while all its channels are nearly black.
        channels = image if image.has_transparency_data else rgb
        _check_depth(min(int(np.asarray(rgb).max()), int(np.asarray(channels).max())) << 8)
    return rgb


def tiff_kind(file: BinaryIO) -> str:
    """The kind of pixels of a TIFF file, in words, for one that Pillow cannot read; empty for other files."""
    try:
        file.seek(0)
        header = file.read(16)
        if not TiffImagePlugin._accept(header):
            return ""
        directory = TiffImagePlugin.ImageFileDirectory_v2(header[:16] if header[2] == 43 else header[:8])
        file.seek(directory.next)
        directory.load(file)
        if TiffImagePlugin.PHOTOMETRIC_INTERPRETATION not in directory:  # cut off, as a rule
            return ""
        bits = ", ".join(map(str, directory.get(TiffImagePlugin.BITSPERSAMPLE, (1,))))
        photometric = directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION]
        return f"TIFF pixels of {bits} bits with photometric interpretation {photometric}"
    except Exception:  # whatever is wrong with it: the caller describes it as damaged
        return ""


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name of the layout of the pixels in the file; empty without one."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _stored_tiff(image: TiffImagePlugin.TiffImageFile, deep: bool) -> Stored:
    tags = image.tag_v2
    bits, most = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0], tags.get(_MAX_SAMPLE_VALUE)
    most = most[0] if isinstance(most, tuple) else most
    white = None
    if 8 < bits < 16:
        white = 2**bits - 1
    elif bits == 16 and isinstance(most, int) and 0xFF <= most < 0xFFFF and (most + 1) & most == 0:
        white = most  # all ones: the range of the values, not the brightest of this image
    return Stored(
        white=white,
        inverted=tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO,
        is_16_bit=deep,
        signed=bits == 8 and tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == _SIGNED,
        guessed_alpha=TiffImagePlugin.EXTRASAMPLES not in tags,
    )


def _scale_transparent(image: Image.Image, raw_mode: str) -> None:
    """Scale the transparent value of a PNG, which counts in the bits of the file, as Pillow scales the pixels."""
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = transparent * (85 if raw_mode == "L;2" else 17)
    elif isinstance(transparent, tuple) and ";16" in raw_mode:
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


def _png_significant_bits(file: BinaryIO) -> int | None:
    """The bits in a PNG's sBIT chunk; of several channels, the most."""
    position = file.tell()
    file.seek(8)
    try:
        while (start := file.read(8))[4:] not in (b"IDAT", b"PLTE", b""):
            size = int.from_bytes(start[:4])
            if start[4:] == b"sBIT":
                return max(file.read(min(size, 4)), default=None)
            file.seek(size + 4, 1)
        return None
    finally:
        file.seek(position)


def _from_deep_gray(values: np.ndarray, stored: Stored, transparent: object) -> Image.Image:
    low, high = int(values.min()), int(values.max())
    white = stored.white or 0xFFFF
    if low < 0 or high > 0xFFFF:
        raise DataError(f"integer pixels from {low} to {high}: expected 0 to 65535")
    if high > white:  # the record is wrong
        white = 0xFFFF
    if stored.white is None:
        if stored.significant is None:
            _check_depth(high)
        elif _is_right_aligned(values, high, stored.significant):
            white = 2**stored.significant - 1
    gray = (values.astype(np.uint32) * 255 + white // 2) // white
    if stored.inverted:
        gray = 255 - gray
    if isinstance(transparent, int):
        gray[values == transparent] = 255
    return Image.fromarray(gray.astype(np.uint8)).convert("RGB")


def _is_right_aligned(values: np.ndarray, high: int, significant: int) -> bool:
    """True if 16-bit values use their lower `significant` bits; an encoder should have scaled them to all 16."""
    if not 8 <= significant < 16 or high >= 2**significant:
        return False
    # Scaled values are near multiples of the factor.
    return bool((values % 2 ** (16 - significant) > 1).any())


def _check_depth(high: int) -> None:
    """Raise if pixels of 16 bits seem to hold fewer.

    Raises:
        DataError: The brightest pixel `high`, of 65535, is nearly black, and nothing says that this is so.
    """
    if 0 < high <= _TWELVE_BITS:
        raise DataError(
            f"16-bit pixels of at most {high}, nearly black: perhaps fewer bits, whose number is not recorded; "
            "convert the file to 8 bits"
        )
