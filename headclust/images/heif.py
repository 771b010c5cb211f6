"""HEIF images (HEIC: the photos of iPhones), read with pillow-heif: the extra `heif`."""

from __future__ import annotations

from functools import cache

HEIF_EXTENSIONS = (".heic", ".heif", ".hif")
# Brands of the first box of an HEIF file: ISO/IEC 23008-12, and those of HEVC still images.
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# Of the start of a file, where the brands are.
N_BYTES = 64
NEEDS_EXTRA = "needs the extra `heif`: pip install 'headclust[heif]'"


@cache
def heif_is_installed() -> bool:
    """True if pillow-heif is installed; Pillow reads HEIF from then on."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def is_heif(start: bytes) -> bool:
    """True if a file that starts with these `N_BYTES` bytes is an HEIF image, and no AVIF image, which is similar."""
    return start[4:8] == b"ftyp" and start[8:12] in _BRANDS and b"avif" not in start
