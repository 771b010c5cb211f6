"""Images that were embedded once, found again by their sample ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headclust.errors import HeadclustError, one_line
from headclust.filenames import as_written
from headclust.images.datasets import open_source
from headclust.images.datasets.imageset import ImageSet


@dataclass(frozen=True)
class Reopened:
    """A source as it is today, and where samples are in it.

    Attributes:
        images: What it lists; None where it cannot be opened.
        rows: Row of each sample in `images`, -1 where it is not among them, int64 (n_samples,).
        problem: Why it cannot be opened, a line; empty where it can.
    """

    images: ImageSet | None
    rows: NDArray[np.int64]
    problem: str = ""


def reopen(source: object, split: str | None, sample_ids: Sequence[str]) -> Reopened:
    """The images of samples. Only what the source lists is found: no sample id leads anywhere else.

    Nothing is downloaded.

    Args:
        source: As a feature file has it; anything but a text where it is not known.
        split: Its split.
        sample_ids: As a feature file or an assignments file has them.
    """
    nowhere = np.full(len(sample_ids), -1, np.int64)
    if not isinstance(source, str):
        return Reopened(None, nowhere, "the features were made elsewhere, and do not say where the images are.")
    try:
        images = open_source(source, split, offline=True)
    except HeadclustError as error:
        return Reopened(None, nowhere, one_line(error))
    there = {as_written(name): row for row, name in enumerate(images.sample_ids)}
    return Reopened(images, np.array([there.get(as_written(name), -1) for name in sample_ids], np.int64))
