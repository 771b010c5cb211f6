"""Conversion of colors to sRGB, and the check for damage: seconds, and effect on features.

Command:  python benchmarks/color.py PHOTOS --json
Setting:  JPEG photos of a folder, one thread, interleaved, median of --repeats. For the features: each photo, stored
          without loss in a wider color space with its profile, by EfficientNet-Lite0.
Figure:   `srgb_over_none`, seconds of decoding with an sRGB profile divided by those without a profile;
          `wide_over_none`, the same with the profile of Display P3; `ours_over_pillow`, seconds without a profile, with
          the check for damage, divided by those of Pillow alone; and per color space the cosine distance between the
          features of the stored photo and of the original (mean, largest), with its profile used and ignored.
Expected: 1 for sRGB, at most 1 for the check, and a distance near 0 with the profile used.
Result:   see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms
from script import answer
from tiny import photos

from headclust import EmbedImages
from headclust.images.color import adobe_rgb, matrix_profile
from headclust.images.image_file import decode

D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
SPACES = {
    "Display P3": matrix_profile([(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)], D65, 2.2),
    "Adobe RGB": adobe_rgb(),
    "ProPhoto RGB": matrix_profile([(0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)], D50, 1.8),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = parser.add_argument("photos", type=Path, help="folder of JPEG photos in sRGB")
    parser.add_argument("--json", action="store_true", help="print the JSON object in one line")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=int, default=100, help="photos to use")
    parser.add_argument("--image-size", type=int, help="input size of the model [its own]")
    return answer("color", parser, run, arguments, made={folder: photos}, repeats=1, image_size=64)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    paths = sorted(options.photos.iterdir())[: options.limit]
    images = [decode(str(path)) for path in paths]
    report = {
        **ratios(images, options.repeats),
        "distances": distances(images, options.image_size),
        "n_photos": len(images),
    }
    print(json.dumps(report, indent=None if options.json else 2))


def ratios(images: list[Image.Image], repeats: int) -> dict[str, float]:
    """Seconds of decoding the photos in several ways, divided by those of the plain way; medians over repeats."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    files = {
        name: [stored(image, "JPEG", profile) for image in images]
        for name, profile in (("none", None), ("srgb", srgb), ("wide", SPACES["Display P3"]))
    }
    ways: dict[str, Callable[[], None]] = {
        "none": lambda: [decode(file) for file in files["none"]] and None,
        "srgb": lambda: [decode(file) for file in files["srgb"]] and None,
        "wide": lambda: [decode(file) for file in files["wide"]] and None,
        "pillow": lambda: [Image.open(io.BytesIO(file)).convert("RGB") for file in files["none"]] and None,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.process_time()
            way()
            seconds[name].append(time.process_time() - start)

    def ratio(name: str, base: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[name], seconds[base], strict=True))

    return {
        "srgb_over_none": ratio("srgb", "none"),
        "wide_over_none": ratio("wide", "none"),
        "ours_over_pillow": ratio("none", "pillow"),
    }


def distances(images: list[Image.Image], image_size: int | None) -> dict[str, dict[str, list[float]]]:
    """Per color space, mean and largest cosine distance from the original's features, with and without the profile."""
    embed = EmbedImages(device="cpu", offline=True, image_size=image_size)
    original = normalized(embed.transform(images))
    measured = {}
    for name, profile in SPACES.items():
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        wide = [ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), space) for image in images]
        used = [decode(stored(image, "PNG", profile)) for image in wide]
        ignored = [decode(stored(image, "PNG", None)) for image in wide]
        measured[name] = {
            kind: [float(distance.mean()), float(distance.max())]
            for kind, read in (("used", used), ("ignored", ignored))
            for distance in (1 - (normalized(embed.transform(read)) * original).sum(axis=1),)
        }
    return measured


def normalized(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length, (n, dim)."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def stored(image: Image.Image, form: str, profile: bytes | None) -> bytes:
    """The file of an image with a profile."""
    data = io.BytesIO()
    options = {"quality": 92} if form == "JPEG" else {"compress_level": 1}
    image.save(data, form, icc_profile=profile, **options)
    return data.getvalue()


if __name__ == "__main__":
    sys.exit(main())
