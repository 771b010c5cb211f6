"""Decoding of an image file, or of its bytes, to an RGB image; errors are one-line reasons."""

from __future__ import annotations

import os
import stat
import struct
import warnings
import zlib
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from headclust.errors import DataError, one_line
from headclust.images.heif import N_BYTES, NEEDS_EXTRA, heif_is_installed, is_heif

# Decoders that an untrusted file may reach. Pillow has others, in which most of its security fixes were. AVIF is common
# on the web, and Pillow's decoder reports the size of an image before decoding it.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)
# The size above which Pillow warns of a decompression bomb.
MAX_PIXELS = 1024**3 // 12
# Some decoders read the whole file into memory first. An uncompressed image of MAX_PIXELS fits.
MAX_BYTES = 2**30

# Errors of Pillow's decoders on malformed files: OSError (truncated, unreadable, unknown), SyntaxError (broken PNG and
# TIFF structure), ValueError (impossible sizes, oversized text chunks), EOFError (missing frames), RuntimeError (AVIF
# frames that do not decode), and the rest from damaged headers. DecompressionBombError is a subclass of none of these.
_MALFORMED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    ZeroDivisionError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 0x0112


def decode(source: str | bytes) -> Image.Image:
    """The image in a file, upright, as 8-bit RGB.

    Of files with several frames or pages, the first; rotated by its EXIF orientation; transparent parts on white;
    16-bit gray scaled to 8 bits; palettes, gray, CMYK and other color spaces converted by Pillow.

    Args:
        source: Path of a regular file in one of `FORMATS`, with any extension, or the bytes of a file.

    Raises:
        DataError: The reason in one line, without the path: truncated, empty, not an image, too many pixels, ...
    """
    # Pillow also warns of damage; the error message is enough.
    with _opened(source) as file, warnings.catch_warnings(action="ignore"):
        try:
            with Image.open(file, formats=_formats(file)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(f"{image.width} x {image.height} pixels: more than the {MAX_PIXELS} allowed")
                image.load()
                return to_rgb(_upright(image))
        except UnidentifiedImageError:
            raise DataError(f"not an image in a supported format ({', '.join(FORMATS)}), or a damaged one") from None
        except Image.DecompressionBombError as error:
            raise DataError(f"too many pixels: {_named(error)}") from None
        except _MALFORMED as error:
            raise DataError(f"cannot be decoded: {_named(error)}") from None


def _formats(file: BinaryIO) -> tuple[str, ...]:
    """The decoders to try for an open file.

    Raises:
        DataError: It is an HEIF image, and their decoder is not installed.
    """
    start = file.read(N_BYTES)
    file.seek(0)
    if not is_heif(start):
        return FORMATS
    if not heif_is_installed():
        raise DataError(f"an HEIF image, which {NEEDS_EXTRA}")
    return ("HEIF",)


def check_size(size: int) -> None:
    """Raise if a file is too large to be read as an image.

    Raises:
        DataError: `size` is more than `MAX_BYTES`.
    """
    if size > MAX_BYTES:
        raise DataError(f"a file of {size} bytes: more than the {MAX_BYTES} allowed")


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` as 8-bit RGB, transparent parts on white.

    Raises:
        DataError: The pixels have no defined range: integers beyond 16 bits, floating point.
    """
    if image.mode.startswith("I"):
        return _from_16_bit(np.asarray(image), image.info.get("transparency"))
    if image.mode == "F":
        raise DataError("floating-point pixels have no defined range: convert the file to 8 or 16 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(values: np.ndarray, transparent: object) -> Image.Image:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise DataError(f"integer pixels from {low} to {high}: expected 0 to 65535")
    gray = (values.astype(np.uint32) * 255 + 0x7FFF) // 0xFFFF
    if isinstance(transparent, int):
        gray[values == transparent] = 255
    return Image.fromarray(gray.astype(np.uint8)).convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """The image rotated by its EXIF orientation; unchanged if EXIF is missing or damaged, as in image viewers."""
    try:
        turn = _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except _MALFORMED:
        return image
    return image if turn is None else image.transpose(turn)


def _opened(source: str | bytes) -> BinaryIO:
    """The open file to decode; raise unless it is a regular file of an allowed size."""
    if isinstance(source, bytes):
        _check_file(len(source))
        return BytesIO(source)
    try:
        # Non-blocking: opening a pipe that is named like an image would wait forever.
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be opened: {_named(error)}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DataError("not a regular file")
        _check_file(status.st_size)
    except DataError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _check_file(size: int) -> None:
    if size == 0:
        raise DataError("empty file (0 bytes)")
    check_size(size)


def _named(error: BaseException) -> str:
    kind, text = type(error).__name__, one_line(error)
    return kind if text == kind else f"{kind}: {text}"
