"""The share of copies of photos that are found, and the images that are no copies and are taken for some.

Command:  python benchmarks/duplicates.py PHOTOS --json
          python benchmarks/duplicates.py --features FILE
Setting:  Of PHOTOS, a folder of different photos, copies of each of the --photos first ones are made, of the kinds in
          `KINDS`, and all are embedded with --model without views. The groups are those of the report and of
          `headclust export --duplicates`. With --features, images without made copies, as of
          CIFAR: their groups are printed, to be looked at.
Figure:   `found`: share of the copies of a kind that are in the group of their photo. `false`: groups that hold images
          of more than one photo, and `strangers`: images in such groups. `cosine`: the 1 %, 5 % and 50 % quantiles
          of the cosine similarity of copy and photo, `likeness` those of their pixels. `different`: the largest
          likeness of a photo and the other one with the most similar features.
Expected: 95 % or more of all copies that keep 90 % of the image, and no false group.
Result:   see docs/how-to/duplicates.md.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from script import answer
from tiny import photos as tiny_photos

from headclust import verbs
from headclust.duplicates import Duplicates, find_duplicates, find_nearest
from headclust.duplicates.sketch import likenesses, sketch
from headclust.embedding import EmbedSettings
from headclust.features import Features, load_features
from headclust.images.datasets import ImageSet, open_source
from headclust.images.datasets.reopen import reopen

QUANTILES = (0.01, 0.05, 0.5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = parser.add_argument("folder", metavar="PHOTOS", type=Path, nargs="?")
    parser.add_argument("--photos", type=int, default=100, help="photos that copies are made of")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--features", type=Path, help="features of images without made copies")
    parser.add_argument("--keep", type=Path, help="folder for the copies and their features, which are kept")
    parser.add_argument("--json", action="store_true", help="print lines of JSON")
    return answer("duplicates", parser, run, arguments, made={folder: tiny_photos}, photos=1)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    if options.features:
        show_groups(load_features(options.features))
        return
    place = options.keep or Path(tempfile.mkdtemp(prefix="headclust-copies-"))
    try:
        make_copies(options.folder, place / "images", options.photos)
        path = verbs.embed(
            options.model,
            str(place / "images"),
            labels="none",
            output=place / f"{options.model}.h5",
            settings=EmbedSettings(),
            offline=True,
        )
        assert isinstance(path, Path)
        show(open_source(str(place / "images")), load_features(path), as_json=options.json)
    finally:
        if options.keep is None:
            shutil.rmtree(place, ignore_errors=True)


def encoded(image: Image.Image, quality: int) -> Image.Image:
    """The image after JPEG of a quality."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def fitted(image: Image.Image, side: int) -> Image.Image:
    """The image with at most this many pixels of its longer side."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def cropped(image: Image.Image, share: float, draw: random.Random) -> Image.Image:
    """The image without this share of its width and height, at a random place."""
    width, height = (round(side * (1 - share)) for side in image.size)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def squared(image: Image.Image) -> Image.Image:
    """The image with its longer side cut by 15 %, from one end."""
    width, height = image.size
    return image.crop((0, 0, *((round(width * 0.85), height) if width >= height else (width, round(height * 0.85)))))


def enhanced(image: Image.Image) -> Image.Image:
    """A brighter image of more contrast."""
    return ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(1.2)).enhance(1.15)


KINDS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "re-encoded, quality 40": lambda image, draw: encoded(image, 40),
    "640 pixels, quality 75": lambda image, draw: encoded(fitted(image, 640), 75),
    "320 pixels, quality 50": lambda image, draw: encoded(fitted(image, 320), 50),
    "cropped by 5 %": lambda image, draw: encoded(cropped(image, 0.05, draw), 85),
    "cropped by 10 %": lambda image, draw: encoded(cropped(image, 0.1, draw), 85),
    "cropped by 20 %": lambda image, draw: encoded(cropped(image, 0.2, draw), 85),
    "cut by 15 % at one end": lambda image, draw: encoded(squared(image), 85),
    "brighter": lambda image, draw: encoded(enhanced(image), 85),
    "gray": lambda image, draw: encoded(image.convert("L").convert("RGB"), 85),
}


def make_copies(source: Path, target: Path, n_photos: int) -> None:
    """Write `PHOTO/KIND.png` for the first photos, and `PHOTO/photo.png` for all; files that exist stay."""
    images, draw = open_source(str(source), labels="none"), random.Random(0)
    for row in range(len(images)):
        folder = target / f"{row:04d}"
        if (folder / "photo.png").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        image = images.read(row)
        for name, change in KINDS.items() if row < n_photos else ():
            change(image, draw).save(folder / f"{name}.png", compress_level=1)
        image.save(folder / "photo.png", compress_level=1)


def show(images: ImageSet, features: Features, *, as_json: bool) -> None:
    """Print the figures of made copies."""
    photos, kinds = zip(*(Path(name).with_suffix("").parts for name in features.sample_ids), strict=True)
    original = {photo: row for row, (photo, kind) in enumerate(zip(photos, kinds, strict=True)) if kind == "photo"}
    duplicates = groups_of(images, features)
    group_of = {row: number for number, group in enumerate(duplicates.groups) for row in group.rows}
    sketches = {row: sketch(images.read(row)) for row in range(len(images))}
    unit = features.all().numpy()
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for kind in KINDS:
        pairs = [(row, original[photo]) for row, photo in enumerate(photos) if kinds[row] == kind]
        shown = {
            "found": np.mean([group_of.get(a, -1) == group_of.get(b, -2) for a, b in pairs]),
            "cosine": np.quantile([unit[a] @ unit[b] for a, b in pairs], QUANTILES),
            "likeness": np.quantile([likenesses(sketches, [pair])[pair] for pair in pairs], QUANTILES),
        }
        show_row(kind, shown, as_json=as_json)
    mixed = [group for group in duplicates.groups if len({photos[row] for row in group.rows}) > 1]
    # The photo with the most similar features, of each photo.
    own = np.array(list(original.values()))
    similar = unit[own] @ unit[own].T - 2 * np.eye(len(own))
    nearest = [*zip(own, own[similar.argmax(1)], strict=True)] if len(own) > 1 else []
    different = max(likenesses(sketches, nearest).values(), default=0.0)
    shown = {"groups": len(duplicates.groups), "false": len(mixed), "different": different}
    show_row("all", {**shown, "strangers": sum(len(group.rows) for group in mixed)}, as_json=as_json)
    for group in mixed[:20]:
        print("  false:", ", ".join(features.sample_ids[row] for row in group.rows))


def groups_of(images: ImageSet, features: Features) -> Duplicates:
    """The groups, as the report makes them."""
    row_of = {name: row for row, name in enumerate(images.sample_ids)}
    rows = np.array([row_of.get(name, -1) for name in features.sample_ids], np.int64)
    return find_duplicates(features, find_nearest(features, {}, every=True), images, rows)


def show_groups(features: Features) -> None:
    """Print the groups among images without made copies."""
    recorded = features.attributes
    reopened = reopen(recorded["source"], recorded["split"], features.sample_ids, recorded)
    nearest = find_nearest(features, {}, every=True)
    duplicates = find_duplicates(features, nearest, reopened.images, reopened.rows)
    print(
        f"{features.n_samples:,} images: {len(duplicates.groups):,} groups, {len(duplicates.copies):,} copies; "
        f"{duplicates.n_not_compared:,} pairs not compared"
    )
    for group in duplicates.groups:
        print(f"{group.similarity:.3f}", ", ".join(features.sample_ids[row] for row in group.rows))


def show_row(name: str, figures: dict[str, object], *, as_json: bool) -> None:
    """Print a row."""
    plain = {key: np.round(value, 3).tolist() for key, value in figures.items()}  # type: ignore[call-overload]
    print(
        json.dumps({"kind": name, **plain})
        if as_json
        else f"{name:26}" + "  ".join(f"{k} {v}" for k, v in plain.items())
    )


if __name__ == "__main__":
    raise SystemExit(main())
