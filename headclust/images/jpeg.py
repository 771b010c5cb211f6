"""Decoding of JPEG files that notices damage, and reduces images that are too large.

A damaged JPEG still decodes: it has no checksum, libjpeg only warns, and Pillow hides its warnings. What can be noticed
is compressed data that end before the image does, codes that do not exist, a marker in the middle of the data, and a
block of zeros that no picture leads to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import ceil

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from headclust.errors import DataError

# Warnings of libjpeg that mean lost pixels. The others are harmless and common: some cameras write padding before a
# marker, or tags of unknown versions.
_LOSSES = ("premature end of data segment", "bad Huffman code", "bad arithmetic code", "instead of RST")
_SEQUENTIAL, _TABLES, _SCAN, _END = (0xC0, 0xC1), 0xC4, 0xDA, 0xD9
_END_MARKER = bytes((0xFF, _END))
_NO_FRAMES = (_TABLES, 0xC8, 0xCC)
# Compressed data end at a marker that is neither an escaped FF nor a restart.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def load_jpeg(image: Image.Image, data: bytes, max_pixels: int) -> Image.Image:
    """The decoded image; if it has more than `max_pixels`, at 1/2, 1/4 or 1/8 of its width and height.

    Args:
        image: The image, opened by Pillow and not decoded.
        data: Its file.
        max_pixels: Most pixels to decode.

    Raises:
        DataError: Pixels are lost.
    """
    factor = next((n for n in (1, 2, 4) if image.width * image.height <= max_pixels * n * n), 8)
    pixels = _decode_strictly(image.mode, data, only_check=factor > 1)
    if pixels is not None:
        return Image.fromarray(pixels)
    if factor > 1:
        image.draft(image.mode, (image.width // factor, image.height // factor))
    image.load()
    return image


def _decode_strictly(mode: str, data: bytes, *, only_check: bool) -> NDArray[np.uint8] | None:
    """Pixels uint8 (height, width[, 3]), the same as Pillow's; None if Pillow has to decode them.

    Raises:
        DataError: Pixels are lost.
    """
    structure = _Structure(data)
    for start, end, zeros in structure.scans:
        if zeros and data.find(bytes(zeros), start, end) >= 0:
            raise DataError(f"damaged: a block of {zeros} or more zeros in the JPEG data")
    only_check = only_check or mode not in ("L", "RGB")
    colors = mode if mode == "CMYK" else "RGB" if mode == "RGB" and not only_check else "GRAY"
    smallest = {"min_height": 1, "min_width": 1, "min_factor": 8} if only_check else {}
    try:
        # A missing end marker is no damage if the image is complete.
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data[: structure.end] + _END_MARKER, colors, **smallest)
    except ValueError as error:
        if any(loss in str(error) for loss in _LOSSES):
            raise DataError(f"damaged: {str(error).removeprefix('Corrupt JPEG data: ')} in the JPEG data") from None
        return None
    return None if only_check else pixels[..., 0] if colors == "GRAY" else pixels


@dataclass
class _Structure:
    """The parts of a JPEG file in which damage is searched.

    Attributes:
        data: The file.
        sequential: The compression is baseline or extended: each block of pixels is coded once, completely.
        blocks: Number of 8 x 8 blocks per unit of the scan, per component.
        zero_codes: Per (class, table): length in bits and symbol of the code that consists of zeros.
        scans: Start and end of the compressed data of each scan, and the number of zero bytes in a row that no picture
            leads to (0 if some could).
        end: Where the image ends.
    """

    data: bytes = field(repr=False)
    sequential: bool = False
    blocks: dict[int, int] = field(default_factory=dict)
    zero_codes: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    scans: list[tuple[int, int, int]] = field(default_factory=list)
    end: int = 0

    def __post_init__(self) -> None:
        self.end = len(self.data)
        position = 2
        try:
            while (position := self.data.find(0xFF, position)) >= 0:
                marker, position = self.data[position + 1], position + 1
                if marker == _END or (self.scans and not 0xC0 <= marker <= 0xFE and marker != 0xFF):
                    self.end = position - 1
                    return
                if 0xC0 <= marker <= 0xFE and not 0xD0 <= marker <= 0xD8:
                    position = self._read(marker, position + 1)
        except (IndexError, ValueError, StopIteration):  # a segment ends early or has no codes: the decoder decides
            return

    def _read(self, marker: int, position: int) -> int:
        """Read the segment at `position`; return its end, or that of the compressed data after it."""
        after = position + int.from_bytes(self.data[position : position + 2])
        segment = self.data[position + 2 : after]
        if marker == _TABLES:
            self._read_tables(segment)
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            self.sequential = marker in _SEQUENTIAL
            for number in range(segment[5]):
                component, sampling = segment[6 + 3 * number : 8 + 3 * number]
                self.blocks[component] = (sampling >> 4) * (sampling & 15)
        elif marker == _SCAN:
            match = _AFTER_SCAN.search(self.data, after)
            end = match.start() if match else len(self.data)
            self.scans.append((after, end, self._impossible_zeros(segment)))
            if self.sequential and segment[0] == len(self.blocks):  # nothing that follows belongs to the image
                self.end = end
                return len(self.data)
            return end
        return after

    def _read_tables(self, segment: bytes) -> None:
        while segment:
            lengths = segment[1:17]
            shortest = next(i for i, count in enumerate(lengths) if count)
            self.zero_codes[segment[0] >> 4, segment[0] & 15] = shortest + 1, segment[17]
            segment = segment[17 + sum(lengths) :]

    def _impossible_zeros(self, scan: bytes) -> int:
        """The number of zero bytes in a row that no picture leads to, in the data of a scan; 0 if some could.

        Zeros decode to the first code of the tables, again and again. If for a component that is a coefficient, and not
        the end of a block, then all coefficients of its blocks are equal: two whole units of such blocks are no
        picture.
        """
        n_parts = scan[0]
        first, last = scan[1 + 2 * n_parts : 3 + 2 * n_parts]
        if first == 0 and not self.sequential:  # the mean of each block only: equal means are natural
            return 0
        bits, impossible = 0, False
        for number in range(n_parts):
            component, tables = scan[1 + 2 * number : 3 + 2 * number]
            length, symbol = self.zero_codes.get((1, tables & 15), (0, 0))
            run, size = symbol >> 4, symbol & 15
            impossible |= size > 0 and run == 0
            n_codes = ceil((last - max(first, 1) + 1) / (run + 1)) if size else 1
            dc_bits = sum(self.zero_codes.get((0, tables >> 4), (0, 0))) if first == 0 else 0
            bits += (self.blocks.get(component, 1) if n_parts > 1 else 1) * (dc_bits + n_codes * (length + size))
        return ceil(2 * bits / 8) + 1 if impossible else 0
