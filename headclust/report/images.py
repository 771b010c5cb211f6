"""Thumbnails, read from the source that the images were embedded from."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headclust.errors import HeadclustError, one_line
from headclust.features import Features, differences, samples_as_recorded
from headclust.images.datasets import ImageSet
from headclust.images.datasets.reopen import reopen
from headclust.images.decoding import decoded_batches
from headclust.images.heif import needing_extra
from headclust.progress import bar
from headclust.report.data import ReportData

MAX_THUMBNAILS = 20_000  # per page, unless the user sets another number
MAX_LARGE = 2_400  # the first of them, which are larger than the others
MAX_BYTES = 9_000_000  # of the large ones together; a third more as base64
MAX_SMALL_BYTES = 12_000_000  # of the others
_BATCH = 32
_TIMEOUT = 20.0  # seconds per image; less than when embedding, as the image could be read then
_SIDES = ((700, 128), (1_500, 96), (MAX_LARGE, 80))  # (largest number of large ones, pixels of the longer side)
_SMALL_SIDE, _SMALL_QUALITY = 64, 40  # of the others; 0.6 kB per photo
_SMALL, _TINY = 64, 16  # pixels of the longer side up to which the quality is higher, and the encoding lossless


@dataclass(frozen=True)
class Source:
    """The images of a report's samples.

    Attributes:
        images: The image source; None if it cannot be opened.
        rows: Row of each sample in `images`, -1 if it is not among them, int64 (n_samples,).
        problem: Reason why there are no images, or how they differ from those embedded, in one line; empty if neither.
        subset: (limit, seed) with which the samples were drawn from `images`; None for all of them, or if unknown.
        classes: True if the samples are those of some classes only.
    """

    images: ImageSet | None
    rows: NDArray[np.int64]
    problem: str = ""
    subset: tuple[int, int] | None = None
    classes: bool = False


@dataclass(frozen=True)
class Thumbnail:
    """A thumbnail in the page: its data URI, and its size in pixels."""

    uri: str
    width: int
    height: int

    @property
    def is_tiny(self) -> bool:
        """True if it is so small that the page enlarges it without smoothing."""
        return max(self.width, self.height) <= _TINY


@dataclass
class Thumbnails:
    """Thumbnails by row of the report, reasons of those that failed, and the reason of an early end (empty if none)."""

    made: dict[int, Thumbnail] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    problem: str = ""


def find_source(data: ReportData) -> Source:
    """The source of the samples' images; samples and images are matched by sample id."""
    return open_images(data.provenance, data.sample_ids, data.spaces[0] if data.spaces else None)


def open_images(provenance: Mapping[str, Any], ids: Sequence[str], space: Features | None) -> Source:
    """The source of images, listed as it is now.

    Args:
        provenance: The attributes of the samples' feature file, or what a run's config records of it.
        ids: The samples.
        space: Their feature file, with whose checksum of the samples the images are compared; None without one.
    """
    reopened = reopen(provenance.get("source"), provenance.get("split"), ids, provenance)
    images, rows = reopened.images, reopened.rows
    if images is None:
        return Source(None, rows, reopened.problem)
    n_missing = int((rows < 0).sum())
    hint = needing_extra(ids[row] for row in np.flatnonzero(rows < 0).tolist())
    hint = f" {hint}." if hint else ""
    if n_missing == len(ids):
        return Source(None, rows, f"{provenance['source']} holds none of the images that were embedded.{hint}")
    if n_missing:
        problem = f"{n_missing:,} of {len(ids):,} images are no longer in {provenance['source']}.{hint}"
        return Source(images, rows, problem)
    if space is None or "samples_sha256" not in provenance:
        return Source(images, rows)
    return _compared(provenance, space, images, rows)


def _compared(provenance: Mapping[str, Any], space: Features, images: ImageSet, rows: NDArray[np.int64]) -> Source:
    """The source, compared with the checksum of the samples in the feature file."""
    chosen = images
    classes = bool(space.class_names) and space.class_names != images.class_names
    try:
        if classes:
            chosen = images.of_classes(space.class_names)
        n_listed = provenance.get("n_listed", len(chosen))
        subset = (n_listed, provenance.get("seed", 0)) if n_listed < len(chosen) else None
        if subset:
            chosen = chosen.subset(*subset)
        samples = samples_as_recorded(space.left_out, chosen.sample_ids, chosen.stamps, chosen.labels)
        if samples == provenance["samples_sha256"]:
            return Source(images, rows, subset=subset, classes=classes)
    except HeadclustError:
        pass
    if space.stamps is not None and not len(
        differences(space, images.sample_ids, images.stamps, images.labels).changed
    ):
        return Source(images, rows)  # there are more images by now
    problem = f"images in {provenance['source']} have changed since they were embedded: shown as they are now."
    return Source(images, rows, problem, classes=classes)


def make_thumbnails(source: Source, rows: Sequence[int], limit: int = MAX_THUMBNAILS) -> Thumbnails:
    """Thumbnails of some rows, in the order given: large ones up to `MAX_LARGE` and `MAX_BYTES`, then small ones.

    Images are decoded in worker processes, as for embedding.

    Args:
        source: The images.
        rows: Rows of the report, each at most once.
        limit: Thumbnails at most, at least 0.
    """
    thumbnails = Thumbnails()
    if source.images is None:
        return thumbnails
    rows = [row for row in rows if source.rows[row] >= 0][:limit]
    large = rows[:MAX_LARGE]
    side = next(side for count, side in _SIDES if len(large) <= count)
    try:
        _add(thumbnails, source, large, side, MAX_BYTES)
        rest = [row for row in rows if row not in thumbnails.made and row not in thumbnails.failed]
        _add(thumbnails, source, rest, _SMALL_SIDE, MAX_SMALL_BYTES, _SMALL_QUALITY)
    except HeadclustError as error:  # the source became unavailable while it was read
        thumbnails.problem = one_line(error)
    return thumbnails


def _add(
    thumbnails: Thumbnails, source: Source, rows: Sequence[int], side: int, max_bytes: int, quality: int | None = None
) -> None:
    """Make thumbnails of `rows` until they reach `max_bytes`."""
    assert source.images is not None
    total = 0
    for row, pixels in _decoded(source.images, source.rows, rows, side) if rows else ():
        if isinstance(pixels, str):
            thumbnails.failed[row] = pixels
            continue
        content = encode_webp(pixels, quality)
        total += len(content)
        if total > max_bytes:
            return
        height, width = pixels.shape[:2]
        uri = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
        thumbnails.made[row] = Thumbnail(uri, width, height)


def _decoded(
    images: ImageSet, image_rows: NDArray[np.int64], rows: Sequence[int], side: int
) -> Iterator[tuple[int, NDArray[np.uint8] | str]]:
    """Pairs of a row and its pixels, or the reason why it cannot be read."""
    Image.init()  # in the parent, so that no worker has to load the readers of rarer formats
    blocks = [range(start, min(start + _BATCH, len(rows))) for start in range(0, len(rows), _BATCH)]
    decode = _decoder(images, [int(image_rows[row]) for row in rows], side)
    batches = decoded_batches(decode, blocks, (1, _BATCH, side + 1, side, 3), timeout=_TIMEOUT, tries=1)
    with closing(batches), bar("making thumbnails", len(rows)) as advance:
        for block, pixels, bad in batches:
            for slot, number in enumerate(block):
                if number in bad:
                    yield rows[number], bad[number]
                else:
                    width, height = pixels[0, slot, side, 0, :2].tolist()
                    yield rows[number], pixels[0, slot, :height, :width].copy()
            advance(len(block))


def _decoder(images: ImageSet, image_rows: Sequence[int], side: int) -> Callable[[int, NDArray[np.uint8]], None]:
    """A function that writes a thumbnail to the upper left of its slot, and its size to the row below."""

    def decode(number: int, out: NDArray[np.uint8]) -> None:
        image = images.read(image_rows[number])
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        out[0, : image.height, : image.width] = np.asarray(image)
        out[0, side, 0, :2] = image.width, image.height

    return decode


def encode_webp(pixels: NDArray[np.uint8], quality: int | None = None) -> bytes:
    """The pixels as WebP, of the given quality, or of one that depends on their number."""
    largest, stream = max(pixels.shape[:2]), BytesIO()
    quality = quality or (90 if largest <= _SMALL else 74)
    Image.fromarray(pixels).save(stream, "WEBP", quality=quality, method=4, lossless=largest <= _TINY)
    return stream.getvalue()
