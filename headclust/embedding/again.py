"""Another try of the images that a finished feature file leaves out, if their reasons can pass.

Only these are decoded and embedded, each in its own slot of its own batch; all other rows are copied from the file. So
the new file has the bytes of a run in which they could be read from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.embedding.settings import EmbedSettings
from headclust.errors import DataError, HeadclustError, Reason
from headclust.features import Features, load_features, samples_as_recorded, stored_rows, worth_trying
from headclust.features.preflight import is_up_to_date
from headclust.images.decoding import decoded_batches
from headclust.images.image_file import pixel_limit

if TYPE_CHECKING:
    from headclust.images.datasets import ImageSet

_BATCH = 64  # images per batch of a trial

Pixels = NDArray[np.uint8]
Rows = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Earlier:
    """A finished feature file of the same images, and the images that it leaves out.

    Attributes:
        features: The file.
        bad: Row in the list of images, and reason, of each image that it leaves out, in order.
        again: The rows among these that are worth another try.
    """

    features: Features
    bad: Mapping[int, Reason]
    again: frozenset[int]

    @cached_property
    def lasting(self) -> dict[int, Reason]:
        """The images that are not tried again."""
        return {row: reason for row, reason in self.bad.items() if row not in self.again}

    def touches(self, rows: Iterable[int]) -> bool:
        """True if one of these rows is tried again."""
        return not self.again.isdisjoint(rows)

    def stored(self, rows: range) -> Rows:
        """The stored rows of a block, (1 + n_views, rows, dim); zero for images that are left out."""
        good = np.array([row not in self.bad for row in rows])
        start = rows.start - int(np.searchsorted(self._bad_rows, rows.start))
        stored = stored_rows(self.features, slice(start, start + int(good.sum())))
        values = np.zeros((len(stored), len(rows), stored.shape[2]), stored.dtype)
        values[:, good] = stored
        return values

    def merged(self, rows: range, fresh: Rows, bad: Mapping[int, Reason]) -> Rows:
        """The stored rows of a block, with the `fresh` ones of the images that were tried again and are not `bad`."""
        values = self.stored(rows)
        mended = [row - rows.start for row in rows if row in self.again and row not in bad]
        values[:, mended] = fresh[:, mended]
        return values

    def decoder(self, decode: Callable[[int, Pixels], None]) -> Callable[[int, Pixels], None]:
        """`decode` for the images that are tried again; the slots of all others are black."""

        def decode_some(row: int, out: Pixels) -> None:
            if row in self.again:
                decode(row, out)
            else:
                out[:] = 0

        return decode_some

    @cached_property
    def _bad_rows(self) -> NDArray[np.int64]:
        return np.array(sorted(self.bad), np.int64)


def earlier(images: ImageSet, features: Features) -> Earlier:
    """A feature file of these images, with the rows of the images that it leaves out."""
    if not features.left_out:
        return Earlier(features, {}, frozenset())
    row_of = {name: row for row, name in enumerate(images.sample_ids)}
    bad = {row_of[image.sample_id]: image.reason for image in features.left_out if image.sample_id in row_of}
    stamps = {images.sample_ids[row]: images.stamps[row] for row in bad}
    again = worth_trying(features.left_out, stamps)
    return Earlier(features, dict(sorted(bad.items())), frozenset(row_of[name] for name in again))


def finished_before(images: ImageSet, path: Path, plan: Mapping[str, Any], settings: EmbedSettings) -> Earlier | None:
    """The finished feature file of this plan at `path`; None if there is none, or it is to be made anew.

    Raises:
        HeadclustError: `path` is something else, or cannot be read.
    """
    if not is_up_to_date(path, comparable_plan(images, path, plan), overwrite=settings.overwrite):
        return None
    return earlier(images, load_features(path))


def comparable_plan(images: ImageSet, path: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan, with the checksum of the samples as a finished file at `path` would record it."""
    try:
        left_out = load_features(path).left_out
    except HeadclustError:  # there is none, or the caller's check raises with the better message
        return dict(plan)
    return {**plan, "samples_sha256": samples_as_recorded(left_out, images.sample_ids, images.stamps, images.labels)}


def try_reading(
    images: ImageSet, rows: Iterable[int], settings: EmbedSettings, *, everything: bool = False
) -> tuple[bool, dict[int, Reason]]:
    """True if one of the images can be read now, and the reasons of those that cannot.

    Args:
        images: All images.
        rows: Those to try.
        settings: Their limits of time and pixels count.
        everything: Try all of them; by default, stop after the batch with the first that can be read.
    """
    listed, readable = sorted(rows), False
    blocks = [range(start, min(start + _BATCH, len(listed))) for start in range(0, len(listed), _BATCH)]
    reasons: dict[int, Reason] = {}

    def read(number: int, _: Pixels) -> None:
        with pixel_limit(settings.max_pixels):
            images.read(listed[number])

    trial = decoded_batches(read, blocks, (1, _BATCH, 1, 1, 3), timeout=settings.timeout)
    with closing(trial) as batches:
        for block, _, bad in batches:
            reasons.update({listed[i]: reason for i, reason in bad.items()})
            readable = readable or len(bad) < len(block)
            if readable and not everything:
                break
    return readable, reasons


def still_bad(images: ImageSet, bad: Mapping[int, Reason], settings: EmbedSettings) -> Mapping[int, Reason]:
    """`bad`, without images that can be read by now if the settings allow fewer.

    Raises:
        DataError: More images are unreadable than the settings allow.
    """
    try:
        settings.check_unreadable(images.sample_ids, bad)
    except DataError:
        passing = {row for row, reason in bad.items() if reason.passing}
        _, reasons = try_reading(images, passing, settings, everything=True)
        bad = {row: reasons.get(row, bad[row]) for row in bad if row not in passing or row in reasons}
        settings.check_unreadable(images.sample_ids, bad)
    return bad


def finished_message(images: ImageSet, path: Path, earlier: Earlier) -> str:
    """The message for a file that is finished already."""
    left_out = f" ({left_out_count(images, earlier.bad)})" if earlier.bad else ""
    step = f"only {len(earlier.again)} of these are tried again" if earlier.again else "nothing to do"
    return f"{path} is finished already, with the same settings{left_out}: {step}."


def left_out_count(images: Sized, bad: Mapping[int, Reason]) -> str:
    """The number of images that are left out, as part of a sentence."""
    return f"{len(bad)} of {len(images)} images cannot be read and are listed as skipped"
