"""Find copies among samples: candidates by their features, in neighbor lists, then a comparison of their pixels."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headclust.duplicates.groups import UNKNOWN, DuplicateGroup, Duplicates, Facts, best_first, link
from headclust.duplicates.nearest import NearestImages
from headclust.duplicates.sketch import SIDE, likenesses, sharpness, sketch
from headclust.features import Features
from headclust.features.rows import distinct_rows
from headclust.images.datasets import ImageSet
from headclust.images.decoding import decoded_batches
from headclust.progress import bar

# Cosine similarity of the features from which the pixels of two images are compared, and from which two images are
# copies if their pixels cannot be. benchmarks/duplicates.py measures both, and `MIN_LIKENESS`.
MIN_SIMILARITY, SURE_SIMILARITY = 0.8, 0.97
MIN_LIKENESS = 0.96  # of two sketches
_MOST_IMAGES = 5_000  # to be decoded, those of the most similar pairs
_BATCH, _TIMEOUT = 32, 20.0  # images; seconds per image
_FACTS = struct.Struct("<QdQ")  # pixels, sharpness, and a mark that the slot was written


@dataclass
class _Pixels:
    """Sketches and facts of images by row, and the likeness of pairs that were compared."""

    sketches: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    facts: dict[int, Facts] = field(default_factory=dict)
    compared: dict[tuple[int, int], float] = field(default_factory=dict)

    def compare(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Compare pairs of rows, the smaller first, if both were read."""
        self.compared |= likenesses(self.sketches, [pair for pair in pairs if self.sketches.keys() >= {*pair}])

    def likeness(self, first: int, second: int) -> float:
        """Likeness of two images; -1 if one of them was not read."""
        pair = (min(first, second), max(first, second))
        if pair not in self.compared:
            self.compare([pair])
        return self.compared.get(pair, -1.0)


def find_duplicates(
    space: Features, nearest: NearestImages, images: ImageSet | None = None, image_rows: NDArray[np.int64] | None = None
) -> Duplicates:
    """Groups of copies among samples.

    Copies are images with equal features, and images whose features have a cosine similarity of at least
    `MIN_SIMILARITY` and whose pixels have a likeness of at least `MIN_LIKENESS` (see `sketch.likenesses`). Without the
    images, a cosine similarity of `SURE_SIMILARITY` decides.

    Args:
        space: Features of the samples.
        nearest: Their nearest images.
        images: Their images; None if they are not available.
        image_rows: Row of each sample in `images`, -1 where it is missing, int64 (n_samples,).
    """
    first, copy_of = distinct_rows(space)
    equal = _equal_rows(space, first, copy_of)
    pairs = _candidates(nearest, first, copy_of)
    at_hand = images is not None and image_rows is not None
    listed, n_not_compared = _bounded(pairs, equal) if at_hand else ([], 0)
    pixels = _Pixels()
    if images is not None and image_rows is not None:
        _read(pixels, images, image_rows, listed)
        pixels.compare(pairs)

    def certainty(a: int, b: int) -> float:
        """Likeness or similarity of two images, minus what copies have at least."""
        if at_hand:
            return pixels.likeness(a, b) - MIN_LIKENESS
        return pairs.get((min(a, b), max(a, b)), 0.0) - SURE_SIMILARITY

    similar = {pair: similarity for pair, similarity in pairs.items() if certainty(*pair) >= 0}
    order = sorted(similar, key=lambda pair: (-certainty(*pair), pair))
    linked = link(order, lambda a, b: certainty(a, b) >= 0)
    group_of = {row: number for number, group in enumerate(linked) for row in group}
    members = [[row for head in group for row in equal.get(head, [head])] for group in linked]
    members += [rows for head, rows in equal.items() if head not in group_of]
    groups = [_group(rows, similar, pixels, copy_of, first, space.sample_ids) for rows in members]
    groups.sort(key=lambda group: (-group.similarity, group.rows))
    return Duplicates(tuple(groups), len(nearest.rows), at_hand, n_not_compared)


def _equal_rows(space: Features, first: NDArray[np.int64], copy_of: NDArray[np.int64]) -> dict[int, list[int]]:
    """Rows with equal features, by the first of them; rows of zeros show nothing and are left out."""
    counts = np.bincount(copy_of)
    equal: dict[int, list[int]] = {}
    for number in np.flatnonzero(counts > 1).tolist():
        row = int(first[number])
        if bool(space.rows([row]).any()):
            equal[row] = np.flatnonzero(copy_of == number).tolist()
    return equal


def _candidates(
    nearest: NearestImages, first: NDArray[np.int64], copy_of: NDArray[np.int64]
) -> dict[tuple[int, int], float]:
    """Cosine similarity of pairs with similar features; a row stands for all that are equal to it."""
    similarity_of: dict[tuple[int, int], float] = {}
    for index, place in np.argwhere(nearest.similarities >= MIN_SIMILARITY).tolist():
        rows = (int(first[copy_of[row]]) for row in (nearest.rows[index], nearest.indices[index, place]))
        low, high = sorted(rows)
        if low != high:
            similarity_of.setdefault((low, high), min(1.0, float(nearest.similarities[index, place])))
    return similarity_of


def _bounded(pairs: Mapping[tuple[int, int], float], equal: Mapping[int, Sequence[int]]) -> tuple[list[int], int]:
    """The rows to decode, at most `_MOST_IMAGES`: equal ones and those of the most similar pairs.

    Also the number of pairs that are left out.
    """
    rows = dict.fromkeys(row for group in equal.values() for row in group)
    left_out = 0
    for pair in sorted(pairs, key=lambda pair: (-pairs[pair], pair)):
        if len(rows) + sum(row not in rows for row in pair) > _MOST_IMAGES:
            left_out += 1
        else:
            rows.update(dict.fromkeys(pair))
    return [*rows], left_out


def _group(
    rows: Sequence[int],
    similar: Mapping[tuple[int, int], float],
    pixels: _Pixels,
    copy_of: NDArray[np.int64],
    first: NDArray[np.int64],
    names: Sequence[str],
) -> DuplicateGroup:
    ordered, reason = best_first(rows, lambda row: pixels.facts.get(row, UNKNOWN), names)
    heads = sorted({int(first[copy_of[row]]) for row in rows})
    similarities = [similar[a, b] for a in heads for b in heads if (a, b) in similar]
    return DuplicateGroup(tuple(ordered), min(similarities, default=1.0), reason)


# -- The images --------------------------------------------------------------------------------------------------------


def _read(pixels: _Pixels, images: ImageSet, image_rows: NDArray[np.int64], rows: Sequence[int]) -> None:
    """Add the sketches and facts of rows whose images can be read."""
    rows = [row for row in rows if image_rows[row] >= 0]
    for row, slot in _decoded(images, [int(image_rows[row]) for row in rows], rows):
        n_pixels, sharp, _ = _FACTS.unpack(slot[SIDE, : _FACTS.size, 0].tobytes())
        size, time = images.stamps[int(image_rows[row])]
        pixels.sketches[row] = slot[:SIDE, :, 0].copy()
        pixels.facts[row] = Facts(n_pixels, sharp, size, time)


def _decoded(images: ImageSet, numbers: Sequence[int], rows: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Pairs of a row and its slot, uint8 (SIDE + 1, SIDE, 3); without images that cannot be read."""
    if not rows:
        return
    Image.init()  # in the parent, so that no worker has to load the readers of rarer formats
    blocks = [range(start, min(start + _BATCH, len(rows))) for start in range(0, len(rows), _BATCH)]
    shape = (1, _BATCH, SIDE + 1, SIDE, 3)
    batches = decoded_batches(_decoder(images, numbers), blocks, shape, timeout=_TIMEOUT, tries=1)
    with closing(batches), bar("reading similar images", len(rows)) as advance:
        for block, slots, bad in batches:
            yield from ((rows[number], slots[0, slot]) for slot, number in enumerate(block) if number not in bad)
            advance(len(block))


def _decoder(images: ImageSet, numbers: Sequence[int]) -> Callable[[int, NDArray[np.uint8]], None]:
    """A function that writes the sketch of an image to its slot, and its facts to the row below."""

    def decode(number: int, out: NDArray[np.uint8]) -> None:
        image = images.read(numbers[number])
        out[0, :SIDE, :, 0] = sketch(image)
        facts = _FACTS.pack(image.width * image.height, sharpness(image), 1)
        out[0, SIDE, : len(facts), 0] = np.frombuffer(facts, np.uint8)

    return decode
