"""Conversion of colors to sRGB by the profile of an image (ICC), as viewers do."""

from __future__ import annotations

import struct
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageCms

# Largest profile that is read, in bytes: those of printers have up to 3 MB.
_MAX_PROFILE = 8 * 2**20
# Largest difference, of 255, of a profile that counts as sRGB itself: versions of sRGB differ by rounding.
_SAME = 3
_PIXEL_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of a profile's color space
_GRAY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
# Cameras set to Adobe RGB store no profile, but this value in the EXIF of interoperability (DCF 2.0), as a rule.
_INTEROPERABILITY, _INDEX, _ADOBE_RGB = 0xA005, 1, "R03"
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_srgb(rgb: Image.Image, loaded: Image.Image, profile: bytes | None) -> Image.Image:
    """An image in sRGB: converted by its profile, or unchanged without one, or with one that is broken.

    An image in sRGB is returned as it is.

    Args:
        rgb: The image as 8-bit RGB.
        loaded: The same image as it was decoded, for its mode and inks.
        profile: Its ICC profile.
    """
    space, transform = _transform(profile) if profile and len(profile) <= _MAX_PROFILE else ("", None)
    gray = loaded.mode in _GRAY_MODES
    if transform is None or gray != (space == "GRAY") or (loaded.mode == "CMYK") != (space == "CMYK"):
        return rgb
    if loaded.mode in ("LAB", "HSV"):
        return rgb
    source = loaded if space == "CMYK" else rgb.getchannel(0) if gray else rgb
    return ImageCms.applyTransform(source, transform) or rgb


def profile_of(image: Image.Image) -> bytes | None:
    """The ICC profile of a decoded image; that of Adobe RGB if its EXIF names it; None without either.

    (Pillow decodes a PNG to find its EXIF, and an error of that would be lost in here.)
    """
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        return profile
    try:
        exif = image.getexif()
        named = _INTEROPERABILITY in exif.get_ifd(0x8769) and exif.get_ifd(_INTEROPERABILITY).get(_INDEX) == _ADOBE_RGB
    except Exception:  # damaged EXIF does not cost the image
        return None
    return adobe_rgb() if named else None


@cache
def adobe_rgb() -> bytes:
    """The profile of Adobe RGB (1998)."""
    return matrix_profile([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)], (0.3127, 0.3290), 563 / 256)


def matrix_profile(primaries: list[tuple[float, float]], white: tuple[float, float], gamma: float) -> bytes:
    """An ICC profile (version 2) of an RGB color space.

    Args:
        primaries: Chromaticity (x, y) of red, green and blue.
        white: Chromaticity of white.
        gamma: Exponent of the curve, 0 to 255.
    """

    def xyz(x: float, y: float) -> np.ndarray:
        return np.array([x / y, 1.0, (1 - x - y) / y])

    # Columns: XYZ of each primary, scaled so that their sum is white.
    columns = np.stack([xyz(*primary) for primary in primaries], axis=1)
    columns *= np.linalg.solve(columns, xyz(*white))
    # Adapted from its white to D50, the white of profiles (Bradford).
    scale = np.diag(_BRADFORD @ _D50 / (_BRADFORD @ xyz(*white)))
    columns = np.linalg.inv(_BRADFORD) @ scale @ _BRADFORD @ columns

    def xyz_tag(values: np.ndarray) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv" + struct.pack(">IIHH", 0, 1, round(gamma * 256), 0)
    tags = {b"wtpt": xyz_tag(_D50)}
    tags |= {bytes((letter,)) + b"XYZ": xyz_tag(column) for letter, column in zip(b"rgb", columns.T, strict=True)}
    tags |= {bytes((letter,)) + b"TRC": curve for letter in b"rgb"}
    offset, table, body = 132 + 12 * len(tags), b"", b""
    for name, tag in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(tag))
        body += tag
    header = struct.pack(">I4sI4s4s4s12x4s28x", offset + len(body), b"", 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    header += xyz_tag(_D50)[8:] + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + body


@lru_cache(maxsize=32)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """The color space of a profile, and the transform from it to sRGB; None if there is nothing to convert."""
    import io

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        mode = _PIXEL_MODES[space]
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
        return "", None
    return space, None if _changes_little(transform, mode) else transform


def _changes_little(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """True if a transform changes a grid of all colors by rounding only."""
    if mode == "CMYK":
        return False
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    before = Image.fromarray(grid) if mode == "RGB" else Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    after = ImageCms.applyTransform(before, transform)
    difference = np.asarray(after, np.int16) - np.asarray(before.convert("RGB"), np.int16)
    return int(np.abs(difference).max()) <= _SAME
