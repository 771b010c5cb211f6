"""Slight variants of images: the accuracy of fits on the images themselves, and what is taken for variants without any.

Command:  python benchmarks/bursts.py FEATURES ... [--photos FOLDER] [--methods consensus,spectral] [--every-row]
          python benchmarks/bursts.py FEATURES ... --natural
Setting:  --images rows of each labeled feature file are drawn, --draws times, and repeated as often as --times says.
          Each repetition but the first has normal noise of --noise times the median distance of a row to the nearest
          other one (0: exact copies). With --photos, a folder with one subfolder per class: of each image variants are
          made (JPEG of quality 60 to 90, a crop to 95 to 98 %, brightness +-5 to 10 %, a rotation by 1 to 3 degrees,
          blur; one or two of these), embedded with --model at 128 pixels. Draw and fit have the same seed.
          --every-row fits every different row, as without the search for variants.
Figure:   ACC in percent on the first row of each image, mean over draws. With --natural, per file: rows that a fit with
          the number of classes leaves out, rows it would leave out however few they are, and seconds of the search.
Expected: with any number of repetitions, within a point of the images once; of natural data nothing is left out.
          The numbers in headclust/graph/bursts.py were chosen with digits, CIFAR-10 and Fashion-MNIST, and variants of
          CIFAR-10 images and of photos, all by EfficientNet-Lite0; CIFAR-100 and Lite2 confirm them.
Result:   see docs/how-to/duplicates.md.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from script import answer, names
from tiny import feature_file

from headclust import verbs
from headclust.embedding import EmbedSettings
from headclust.errors import DataError
from headclust.features import Features, load_features
from headclust.features.rows import unit_length
from headclust.graph import bursts
from headclust.images.datasets import open_source
from headclust.methods import Recipe
from headclust.scoring import metrics

SIDE = 128  # pixels of the embedded images


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    files = parser.add_argument("features", metavar="FEATURES", type=Path, nargs="*", help="labeled feature files")
    parser.add_argument("--photos", type=Path, help="a folder with one subfolder per class")
    parser.add_argument("--model", default="efficientnet_lite0", help="of the photos")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--times", type=names, default=("2", "3", "12", "40"))
    parser.add_argument("--noise", type=names, default=("0", "0.2", "0.4"))
    parser.add_argument("--methods", type=names, default=("consensus", "spectral"))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--every-row", action="store_true", help="fit every different row")
    parser.add_argument("--natural", action="store_true", help="what is taken for variants in the files as they are")
    tiny = {"images": 40, "times": ("3",), "noise": ("0.2",), "methods": ("spectral",), "draws": 1}
    return answer("bursts", parser, run, arguments, made={files: lambda folder: [feature_file(folder)]}, **tiny)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    times = [int(count) for count in options.times]
    with ExitStack() as stack:
        if options.every_row:
            stack.enter_context(
                mock.patch.object(bursts, "find_bursts", lambda *spaces, **_: np.arange(spaces[0].n_samples))
            )
        for path in options.features:
            features = load_features(path)
            if options.natural:
                show_natural(path, features)
                continue
            name, images = path.parent.name, options.images
            show(f"{name}, once", options, partial(repeated, features, images, 1, 0.0))
            for noise, count in product(map(float, options.noise), times):
                made = partial(repeated, features, images, count, noise)
                show(f"{name}, noise {noise}, x {count}", options, made, count)
        if options.photos:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="headclust-bursts-"))
            everything = embedded(options.photos, Path(place), options.model, max(times))
            numbers = np.array([int(Path(name).stem.split("-")[1]) for name in everything.sample_ids])
            for count in (1, *times):
                part = everything.select(np.flatnonzero(numbers < count))
                show(f"{options.photos.name}, x {count}", options, lambda draw, part=part: part, count)


def show(name: str, options: argparse.Namespace, made: Callable[[int], Features], count: int = 1) -> None:
    """Print the accuracy of each method on the features of each draw, of which every `count`-th row is an image."""
    texts = []
    for method in options.methods:
        scores = []
        for draw in range(options.draws):
            features = made(draw)
            assert features.labels is not None
            labels = features.labels[::count]
            recipe = Recipe.of(method, settings={"n_clusters": len(np.unique(labels))})
            result = recipe.fit([features], draw)
            scores.append(100 * metrics.score(result.assignments[::count], labels)["accuracy"])
        texts.append(f"{method} {np.mean(scores):5.1f}")
    print(f"{name:40}" + "  ".join(texts), flush=True)


def repeated(features: Features, n_images: int, times: int, noise: float, draw: int) -> Features:
    """Random rows, each repeated with noise; the first of each repetition has none."""
    if features.labels is None:
        raise DataError("the features have no labels: nothing can be scored.")
    generator = np.random.default_rng(draw)
    chosen = np.sort(generator.permutation(features.n_samples)[:n_images])
    unit = unit_length(features.rows(chosen)).numpy().astype(np.float64)
    squared = np.maximum(2 - 2 * unit @ unit.T, 0)
    np.fill_diagonal(squared, np.inf)
    nearest = np.sqrt(squared.min(1))
    rows = np.repeat(unit, times, axis=0)
    # Noise of the length noise * nearest in expectation, over all columns.
    added = generator.normal(size=rows.shape) * noise * np.median(nearest) / np.sqrt(rows.shape[1])
    added[::times] = 0
    return Features.from_array((rows + added).astype(np.float32), labels=np.repeat(features.labels[chosen], times))


def embedded(source: Path, place: Path, model: str, times: int) -> Features:
    """Features of `CLASS/IMAGE-VARIANT.png`, where variant 0 is the image."""
    images, draw = open_source(str(source)), random.Random(0)
    for row, name in enumerate(images.sample_ids):
        folder = place / "images" / Path(name).parent
        folder.mkdir(parents=True, exist_ok=True)
        image = images.read(row)
        image.thumbnail((2 * SIDE, 2 * SIDE))
        for number, variant in enumerate(variants(image, times, draw)):
            variant.save(folder / f"{row:05d}-{number:03d}.png", compress_level=1)
    path = verbs.embed(
        model,
        str(place / "images"),
        output=place / "variants.h5",
        image_size=SIDE,
        settings=EmbedSettings(),
        offline=True,
    )
    assert isinstance(path, Path)
    return load_features(path)


def variants(image: Image.Image, times: int, draw: random.Random) -> Iterator[Image.Image]:
    """The image, and slight variants of it."""
    yield image
    for _ in range(times - 1):
        variant = image
        for change in draw.sample(CHANGES, draw.choice((1, 1, 2))):
            variant = change(variant, draw)
        yield variant


def encoded(image: Image.Image, draw: random.Random) -> Image.Image:
    """The image after JPEG."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=draw.randint(60, 90))
    return Image.open(stream).convert("RGB")


def cropped(image: Image.Image, draw: random.Random) -> Image.Image:
    """A part of the image at a random place, enlarged to its size."""
    width, height = (round(side * draw.uniform(0.95, 0.98)) for side in image.size)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height)).resize(image.size, Image.Resampling.BICUBIC)


def brightened(image: Image.Image, draw: random.Random) -> Image.Image:
    """A brighter or a darker image."""
    return ImageEnhance.Brightness(image).enhance(1 + draw.choice((-1, 1)) * draw.uniform(0.05, 0.1))


def rotated(image: Image.Image, draw: random.Random) -> Image.Image:
    """The image, turned by a few degrees."""
    return image.rotate(draw.choice((-1, 1)) * draw.uniform(1, 3), Image.Resampling.BICUBIC)


def blurred(image: Image.Image, draw: random.Random) -> Image.Image:
    """The image, slightly out of focus."""
    return image.filter(ImageFilter.GaussianBlur(draw.uniform(0.002, 0.005) * min(image.size)))


CHANGES = (encoded, cropped, brightened, rotated, blurred)


def show_natural(path: Path, features: Features) -> None:
    """Print how many rows a fit would leave out."""
    assert features.labels is not None
    n_clusters = len(np.unique(features.labels[features.labels >= 0]))
    start = time.perf_counter()
    first = bursts.find_bursts(features, n_clusters=n_clusters)
    seconds = time.perf_counter() - start
    with mock.patch.object(bursts, "_SHARE", 0.0):
        however_few = bursts.find_bursts(features, n_clusters=n_clusters)
    out, more = (features.n_samples - len(np.unique(rows)) for rows in (first, however_few))
    name = path.parent.name
    print(f"{name:20} {features.n_samples:7,} rows: {out} left out, {more} however few, {seconds:.2f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
