"""Thumbnails, read back from where the images were embedded from."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headclust.errors import HeadclustError, one_line
from headclust.features import samples_sha256
from headclust.images.datasets import ImageSet
from headclust.images.datasets.reopen import reopen
from headclust.images.decoding import decoded_batches
from headclust.progress import bar
from headclust.report.data import ReportData

MOST = 2_400  # thumbnails in a page
MOST_BYTES = 9_000_000  # of all of them; a third more as base64
_BATCH = 32
_SECONDS = 20.0  # an image may take; it could be read once, so it is not waited for as long as then
_SIDES = ((700, 128), (1_500, 96), (MOST, 80))  # pixels of the longer side, for up to so many thumbnails
_SMALL, _TINY = 64, 16  # pixels up to which a picture is kept better, and exactly


@dataclass(frozen=True)
class Source:
    """The images of a report's samples.

    Attributes:
        images: Where they can be read; None where they are gone.
        rows: Row of each sample in `images`, -1 where it is not among them, int64 (n_samples,).
        problem: Why there are none, or what does not hold about them, a line; empty where all is well.
        subset: (limit, seed) with which the samples were drawn from `images`; None for all of them, or where unknown.
        classes: Whether they are those of some classes only.
    """

    images: ImageSet | None
    rows: NDArray[np.int64]
    problem: str = ""
    subset: tuple[int, int] | None = None
    classes: bool = False


@dataclass(frozen=True)
class Thumbnail:
    """A picture in the page: a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int

    @property
    def is_tiny(self) -> bool:
        """Whether its pixels are meant to be seen one by one."""
        return max(self.width, self.height) <= _TINY


@dataclass
class Thumbnails:
    """Thumbnails by row of the report, and the reasons of those that cannot be made."""

    made: dict[int, Thumbnail] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    problem: str = ""


def find_source(data: ReportData) -> Source:
    """Where the images of the samples can be read again; they are matched by sample id."""
    described, ids = data.described, data.sample_ids
    found = reopen(described.get("source"), described.get("split"), ids)
    images, rows = found.images, found.rows
    if images is None:
        return Source(None, rows, found.problem)
    missing = int((rows < 0).sum())
    if missing == len(ids):
        return Source(None, rows, f"{described['source']} holds none of the images that were embedded.")
    if missing:
        problem = f"{missing:,} of {len(ids):,} images are no longer in {described['source']}."
        return Source(images, rows, problem)
    return _recognized(data, images, rows)


def _recognized(data: ReportData, images: ImageSet, rows: NDArray[np.int64]) -> Source:
    """The source, held against what the feature file recorded of it."""
    if not data.spaces or "samples_sha256" not in data.described:
        return Source(images, rows)
    described, space = data.described, data.spaces[0]
    chosen = images
    classes = bool(space.class_names) and space.class_names != images.class_names
    try:
        if classes:
            chosen = images.of_classes(space.class_names)
        listed = described.get("n_listed", len(chosen))
        subset = (listed, described.get("seed", 0)) if listed < len(chosen) else None
        if subset:
            chosen = chosen.subset(*subset)
        if samples_sha256(chosen.sample_ids, chosen.stamps, chosen.labels) == described["samples_sha256"]:
            return Source(images, rows, subset=subset, classes=classes)
    except HeadclustError:
        pass
    problem = f"images in {described['source']} have changed since they were embedded: these are today's."
    return Source(images, rows, problem, classes=classes)


def make_thumbnails(source: Source, wanted: Sequence[int]) -> Thumbnails:
    """Thumbnails of some rows, in the order given, until there are `MOST` or `MOST_BYTES` of them.

    They are decoded in processes of their own, as when they were embedded.

    Args:
        source: Where the images are.
        wanted: Rows of the report, none twice.
    """
    thumbnails = Thumbnails()
    rows = [row for row in wanted if source.rows[row] >= 0][:MOST]
    if source.images is None or not rows:
        return thumbnails
    side = next(side for most, side in _SIDES if len(rows) <= most)
    total = 0
    try:
        for row, made in _decoded(source.images, source.rows, rows, side):
            if isinstance(made, str):
                thumbnails.failed[row] = made
                continue
            content = _encode(made)
            total += len(content)
            if total > MOST_BYTES:
                break
            height, width = made.shape[:2]
            uri = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
            thumbnails.made[row] = Thumbnail(uri, width, height)
    except HeadclustError as error:  # the source has gone meanwhile
        thumbnails.problem = one_line(error)
    return thumbnails


def _decoded(
    images: ImageSet, at: NDArray[np.int64], rows: Sequence[int], side: int
) -> Iterator[tuple[int, NDArray[np.uint8] | str]]:
    """(row, its pixels or why there are none)."""
    Image.init()  # here, so that no worker has to load the readers of rarer formats
    blocks = [range(start, min(start + _BATCH, len(rows))) for start in range(0, len(rows), _BATCH)]
    decode = _decoder(images, [int(at[row]) for row in rows], side)
    batches = decoded_batches(decode, blocks, (1, _BATCH, side + 1, side, 3), timeout=_SECONDS, tries=1)
    with closing(batches), bar("making thumbnails", len(rows)) as advance:
        for block, pixels, bad in batches:
            for slot, number in enumerate(block):
                if number in bad:
                    yield rows[number], bad[number]
                else:
                    width, height = pixels[0, slot, side, 0, :2].tolist()
                    yield rows[number], pixels[0, slot, :height, :width].copy()
            advance(len(block))


def _decoder(images: ImageSet, places: Sequence[int], side: int) -> Callable[[int, NDArray[np.uint8]], None]:
    """What puts a thumbnail in the upper left of its slot, and its size in the row below."""

    def decode(number: int, out: NDArray[np.uint8]) -> None:
        image = images.read(places[number])
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        out[0, : image.height, : image.width] = np.asarray(image)
        out[0, side, 0, :2] = image.width, image.height

    return decode


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    largest, stream = max(pixels.shape[:2]), BytesIO()
    quality = 90 if largest <= _SMALL else 74
    Image.fromarray(pixels).save(stream, "WEBP", quality=quality, method=4, lossless=largest <= _TINY)
    return stream.getvalue()
