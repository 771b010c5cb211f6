"""Decoding of an image file, or of its bytes, to an RGB image; errors are one-line reasons."""

from __future__ import annotations

import os
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BytesIO
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError, features

from headclust.errors import DataError, PassingError, one_line, unreadable
from headclust.images.color import profile_of, to_srgb
from headclust.images.heif import N_BYTES, NEEDS_AVIF, NEEDS_EXTRA, heif_is_installed, is_avif, is_heif
from headclust.images.jpeg import load_jpeg
from headclust.images.pixels import stored_pixels, tiff_kind, to_rgb

# Decoders that an untrusted file may reach. Pillow has others, in which most of its security fixes were. AVIF is common
# on the web, and Pillow's decoder reports the size of an image before decoding it.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)
# The size above which Pillow warns of a decompression bomb. Larger JPEGs, such as the 108 and 200 megapixels of phones,
# are decoded at half of their width and height or less, which takes less memory than this many pixels.
MAX_PIXELS = 1024**3 // 12
_MAX_JPEG_PIXELS = 3 * MAX_PIXELS
# Some decoders read the whole file into memory first. An uncompressed image of MAX_PIXELS fits.
MAX_BYTES = 2**30
_JPEG = ("JPEG", "MPO")  # MPO: several JPEGs in a file, as some cameras write
# Version of the rules by which a file becomes RGB pixels, recorded in feature files, so that one file never has rows of
# two versions. 1, which was not recorded: without color profiles, and at most MAX_PIXELS.
PIXEL_RULES = 2

_max_pixels: ContextVar[int | None] = ContextVar("max_pixels", default=None)

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


@contextmanager
def pixel_limit(max_pixels: int | None) -> Iterator[None]:
    """Let `decode` read images of up to this many pixels inside.

    When None, the limit is `MAX_PIXELS`, and three times that of a JPEG. JPEGs of more than `MAX_PIXELS` are decoded at
    a reduced size with any limit.
    """
    token = _max_pixels.set(max_pixels)
    try:
        yield
    finally:
        _max_pixels.reset(token)


def decode(source: str | bytes) -> Image.Image:
    """The image in a file, upright, as 8-bit sRGB.

    Of files with several frames or pages, the first; rotated by its EXIF orientation; transparent parts on white;
    9- to 16-bit gray scaled to 8 bits; colors converted by its ICC profile; palettes, CMYK and other color spaces
    without a profile converted by Pillow. JPEGs of more than `MAX_PIXELS` are decoded at a reduced size.

    Args:
        source: Path of a regular file in one of `FORMATS`, with any extension, or the bytes of a file.

    Raises:
        DataError: The reason in one line, without the path: truncated, empty, not an image, too many pixels, ...
        PassingError: The same, for reasons that can pass: no such file, no permission, a failing disk, no memory.
    """
    # Pillow also warns of damage; the error message is enough.
    with _opened(source) as file, warnings.catch_warnings(action="ignore"):
        try:
            with _open(file) as image:
                _check_pixels(image)
                return _to_srgb(image, file)
        except UnidentifiedImageError:
            raise DataError(_unidentified(file)) from None
        except _MALFORMED as error:
            raise unreadable(error, f"cannot be decoded: {_named(error)}") from None


def _to_srgb(image: Image.Image, file: BinaryIO) -> Image.Image:
    stored = stored_pixels(image, file)
    if image.format in _JPEG:
        file.seek(0)
        loaded = load_jpeg(image, file.read(), MAX_PIXELS)
    else:
        image.load()
        loaded = image
    turn = _turn(image)  # after decoding: the EXIF of a PNG may follow the pixels
    if turn is not None:
        loaded = loaded.transpose(turn)
    return to_srgb(to_rgb(loaded, stored), loaded, profile_of(image))


def _open(file: BinaryIO) -> Image.Image:
    """The image, opened and not decoded, without a limit of its size."""
    formats = _formats(file)
    try:
        return Image.open(file, formats=formats)
    except Image.DecompressionBombError:
        file.seek(0)
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_pixels(image: Image.Image) -> None:
    limit = _max_pixels.get() or (_MAX_JPEG_PIXELS if image.format in _JPEG else MAX_PIXELS)
    if image.width * image.height > limit:
        step = "make it smaller, or raise --max-pixels"
        raise DataError(f"{image.width} x {image.height} pixels: more than the {limit} allowed; {step}")


def _unidentified(file: BinaryIO) -> str:
    if kind := tiff_kind(file):
        return f"{kind} are not read, or damaged: convert the file to 8-bit RGB"
    file.seek(0)
    if is_heif(file.read(N_BYTES)):
        return "a damaged HEIF image"
    return f"not an image in a supported format ({', '.join(FORMATS)}), or a damaged one"


def _formats(file: BinaryIO) -> tuple[str, ...]:
    """The decoders to try for an open file.

    Raises:
        DataError: It is an HEIF or AVIF image, and their decoder is not installed.
    """
    start = file.read(N_BYTES)
    file.seek(0)
    if is_avif(start) and not features.check("avif"):
        raise DataError(f"an AVIF image, which {NEEDS_AVIF}")
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


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The turn that makes an image upright; None if it is, or if its EXIF is damaged, as in image viewers."""
    try:
        return _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except _MALFORMED:
        return None


def _opened(source: str | bytes) -> BinaryIO:
    """The open file to decode; raise unless it is a regular file of an allowed size."""
    if isinstance(source, bytes):
        _check_file(len(source))
        return BytesIO(source)
    try:
        # Non-blocking: opening a pipe that is named like an image would wait forever.
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise PassingError("no such file") from None
    except (OSError, ValueError) as error:
        raise unreadable(error, f"cannot be opened: {_named(error)}") from None
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
