"""HEIF images (HEIC: the photos of iPhones), read with pillow-heif: the extra `heif`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

HEIF_EXTENSIONS = (".heic", ".heif", ".hif")
# Brands of the first box of an HEIF file: ISO/IEC 23008-12, and those of HEVC still images.
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# Of the start of a file, where the brands are.
N_BYTES = 64
NEEDS_EXTRA = "needs the extra `heif`: pip install 'headclust[heif]'"
NEEDS_AVIF = "needs a Pillow with AVIF, as pip installs it"


@cache
def heif_is_installed() -> bool:
    """True if pillow-heif is installed; Pillow reads HEIF from then on."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def needing_extra(names: Iterable[str]) -> str:
    """The number of HEIF images among files, and the extra that they need, as a phrase; empty if it is installed."""
    count = sum(name.lower().endswith(HEIF_EXTENSIONS) for name in names)
    if not count or heif_is_installed():
        return ""
    return f"{count:,} of them {'is' if count == 1 else 'are'} HEIC, which {NEEDS_EXTRA}"


def is_avif(start: bytes) -> bool:
    """True if a file that starts with these `N_BYTES` bytes is an AVIF image."""
    return start[4:8] == b"ftyp" and b"avif" in start


def is_heif(start: bytes) -> bool:
    """True if a file that starts with these `N_BYTES` bytes is an HEIF image, and no AVIF image, which is similar."""
    return start[4:8] == b"ftyp" and start[8:12] in _BRANDS and b"avif" not in start
