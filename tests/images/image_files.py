"""Images as files, one of Pillow's writers or a chunk of PNG at a time."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

COLORS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [200, 100, 50], [0, 0, 0]]], np.uint8)


def saved(path: Path, image: Image.Image, **options) -> str:
    image.save(path, **options)
    return str(path)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(bits: int, color: int, row: bytes, *extra: bytes, size=(1, 1)) -> bytes:
    """A PNG file by the letter of its specification, https://www.w3.org/TR/png-3/: one filter byte a row."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
