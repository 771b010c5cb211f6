"""Share of damaged images that are noticed, and of intact ones that are refused, per format and kind of damage.

Command:  python benchmarks/damage.py PHOTOS --json
Setting:  each photo of a folder, stored in each format, with one block of --size bytes at a random place in the
          compressed data overwritten: by zeros, by random bytes, by a block from elsewhere in the file; or one bit
          changed; or padding added before the end of a JPEG, which is harmless.
Figure:   share of the files that are refused.
Expected: 0 for files without damage; for damage what docs/sources.md says.
Result:   see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from script import answer
from tiny import photos

from headclust.errors import DataError
from headclust.images.image_file import decode

FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    "JPEG": ("JPEG", {"quality": 85}),
    "JPEG, optimized": ("JPEG", {"quality": 85, "optimize": True}),
    "JPEG, progressive": ("JPEG", {"quality": 85, "progressive": True}),
    "JPEG, restarts": ("JPEG", {"quality": 85, "restart_marker_rows": 1}),
    "PNG": ("PNG", {"compress_level": 1}),
    "WebP": ("WEBP", {"quality": 85, "method": 1}),
    "AVIF": ("AVIF", {"quality": 75, "speed": 10}),
}
Change = Callable[[bytes, int, int, np.random.Generator], bytes]
CHANGES: dict[str, Change] = {
    "none": lambda data, place, size, generator: data,
    "padding": lambda data, place, size, generator: (
        data[:-2] + bytes(4) + data[-2:] if data[:2] == b"\xff\xd8" else data
    ),
    "zeros": lambda data, place, size, generator: data[:place] + bytes(size) + data[place + size :],
    "random": lambda data, place, size, generator: data[:place] + generator.bytes(size) + data[place + size :],
    "moved": lambda data, place, size, generator: data[:place] + data[-size - 50 : -50] + data[place + size :],
    "bit": lambda data, place, size, generator: data[:place] + bytes((data[place] ^ 16,)) + data[place + 1 :],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--json", action="store_true", help="print the JSON object in one line")
    parser.add_argument("--size", type=int, default=1024, help="bytes that are overwritten")
    parser.add_argument("--limit", type=int, default=100, help="photos to use")
    return answer("damage", parser, run, arguments, made={folder: photos})


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    images = [decode(str(path)) for path in sorted(options.photos.iterdir())[: options.limit]]
    shares = {name: shares_of(images, form, more, options.size) for name, (form, more) in FORMATS.items()}
    print(json.dumps({"n_photos": len(images), "refused": shares}, indent=None if options.json else 2))


def shares_of(images: list[Image.Image], form: str, more: dict[str, object], size: int) -> dict[str, float]:
    """Per kind of damage, the share of files in a format that are refused."""
    generator = np.random.default_rng(0)
    refused, n_files = dict.fromkeys(CHANGES, 0), 0
    for image in images:
        data = io.BytesIO()
        image.save(data, form, **more)
        file = data.getvalue()
        if len(file) < 3 * size + 1000:
            continue
        n_files += 1
        place = int(generator.integers(1000, len(file) - 2 * size - 100))
        for name, change in CHANGES.items():
            try:
                decode(change(file, place, size, generator))
            except DataError:
                refused[name] += 1
    return {name: count / n_files for name, count in refused.items()}


if __name__ == "__main__":
    sys.exit(main())
