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


def tiff(order: str, photometric: int, bits: int, values: list[int], *tags: tuple[int, int]) -> bytes:
    """An uncompressed TIFF of one row of gray, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf.

    Args:
        order: "II" or "MM", of the bytes.
        photometric: 0 if 0 is white, 1 if 0 is black.
        bits: Bits per pixel; packed unless they are 8, 16 or 32.
        values: The pixels.
        tags: More (tag, value), of type SHORT.
    """
    end = "<" if order == "II" else ">"
    if bits in (8, 16, 32):
        data = b"".join((value % 2**bits).to_bytes(bits // 8, "little" if end == "<" else "big") for value in values)
    else:
        text = "".join(f"{value:0{bits}b}" for value in values)
        data = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))
    entries = {256: len(values), 257: 1, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: 1, 279: len(data)}
    entries |= dict(tags)
    entries[273] = 14 + 12 * len(entries)
    body = b"".join(struct.pack(end + "HHIHH", tag, 3, 1, value, 0) for tag, value in sorted(entries.items()))
    return order.encode() + struct.pack(end + "HIH", 42, 8, len(entries)) + body + bytes(4) + data
