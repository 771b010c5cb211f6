"""Images that are part of an installed library."""

from __future__ import annotations

import numpy as np
from PIL import Image

from headclust.images.datasets.imageset import ImageSet, check_split

_SPLITS = {"train": slice(0, 1437), "test": slice(1437, None), "all": slice(None)}


def open_digits(split: str | None) -> ImageSet:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels. Sample ids are row numbers in the whole set.

    Args:
        split: "train" or None (rows 0-1436), "test" (the rest) or "all".

    Raises:
        SettingError: The split does not exist.
    """
    split = check_split("digits", split, tuple(_SPLITS))
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = range(len(digits.images))[_SPLITS[split]]
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # gray levels 0..16
    return ImageSet(
        dataset="digits",
        split=split,
        source="digits",
        sample_ids=tuple(str(row) for row in rows),
        labels=digits.target[_SPLITS[split]].astype(np.int64),
        class_names=tuple(str(name) for name in digits.target_names),
        stamps=((0, 0),) * len(rows),
        read=lambda i: Image.fromarray(pixels[rows[i]]).convert("RGB"),
    )
