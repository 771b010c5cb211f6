"""What rows, ids and labels must be before they are kept, and the one line that says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError
from headclust.features.format import FEATURE_DTYPES, JSON_ATTRIBUTES, LABEL_DTYPE, OWN_ATTRIBUTES
from headclust.progress import printable

# Numbers that have to agree with what is in the file.
_COUNTED = ("n_listed", "n_views")


def feature_array(features: Any) -> NDArray[np.floating[Any]]:
    """Features (n_samples, feature_dim) as they are stored: float16 and float32 are kept, other numbers become float32.

    Raises:
        DataError: This is not a matrix of numbers with at least one row and one column.
    """
    array = np.asarray(features)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        found = f"{array.dtype} of shape {array.shape}"
        raise DataError(f"features are {found}: wanted numbers of shape (n_samples, feature_dim), at least (1, 1).")
    kept = array.dtype.name if array.dtype.name in FEATURE_DTYPES else "float32"
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused by name
        stored: NDArray[np.floating[Any]] = np.ascontiguousarray(array.astype(FEATURE_DTYPES[kept], copy=False))
    return stored


def view_array(
    views: Any, features: NDArray[np.floating[Any]], sample_ids: Sequence[str]
) -> NDArray[np.floating[Any]] | None:
    """Augmented views (n_views, n_samples, feature_dim) as they are stored beside `features`, or None without any.

    Raises:
        DataError: They do not go with the features, or are not finite in their type.
    """
    if views is None:
        return None
    array = np.asarray(views)
    if array.ndim != 3 or len(array) == 0 or array.shape[1:] != features.shape or array.dtype.kind not in "fiu":
        found = f"{array.dtype} of shape {array.shape}"
        raise DataError(f"views are {found}: wanted numbers of shape (n_views, {', '.join(map(str, features.shape))}).")
    with np.errstate(over="ignore"):
        stored: NDArray[np.floating[Any]] = np.ascontiguousarray(array.astype(features.dtype, copy=False))
    for number, view in enumerate(stored):
        check_finite(view, sample_ids, f"the features of its view {number}")
    return stored


def check_attributes(attributes: Mapping[str, Any]) -> None:
    """Refuses attributes that a feature file cannot hold, or that it counts itself.

    Raises:
        DataError: A name or a value is not possible.
    """
    for name, value in attributes.items():
        if not isinstance(name, str) or not name or "\0" in name:
            raise DataError(f"attribute {name!r}: wanted a name.")
        if name in OWN_ATTRIBUTES or name in _COUNTED:
            raise DataError(f"attribute {name!r} is what the file says of itself: leave it out.")
        if name not in JSON_ATTRIBUTES and not isinstance(value, str):
            if not isinstance(value, int) or isinstance(value, bool):
                raise DataError(f"attribute {name!r} is {type(value).__name__}: wanted text or a whole number.")
            if not -(2**63) <= value < 2**63:
                raise DataError(f"attribute {name!r} is {value}: wanted a number of at most 64 bits.")


def label_array(labels: Any) -> NDArray[np.int64] | None:
    """Labels (n_samples,) as int64, or None where there are none.

    Raises:
        DataError: These are not whole numbers, one a row.
    """
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(f"labels are {array.dtype} of shape {array.shape}: wanted whole numbers of shape (n_samples,).")
    return np.ascontiguousarray(array, dtype=LABEL_DTYPE)


def check_rows(
    features: NDArray[np.floating[Any]],
    sample_ids: Sequence[str],
    labels: NDArray[np.int64] | None,
    class_names: Sequence[str],
) -> None:
    """Refuses features, ids and labels that do not fit together.

    Raises:
        DataError: Lengths differ, an id appears twice, a label is out of range, a feature is not finite.
    """
    for name, length in (("sample ids", len(sample_ids)), ("labels", len(features) if labels is None else len(labels))):
        if length != len(features):
            raise DataError(f"{len(features)} rows of features but {length} {name}: wanted one a row.")
    check_sample_ids(sample_ids)
    check_labels(labels, class_names)
    check_finite(features, sample_ids)


def check_sample_ids(sample_ids: Sequence[str]) -> None:
    """Refuses an empty list and ids that stand for more than one row.

    Raises:
        DataError: There is no sample, or two have the same id.
    """
    if not sample_ids:
        raise DataError("no samples: wanted at least one image or row.")
    if len(set(sample_ids)) < len(sample_ids):
        twice = Counter(sample_ids).most_common(1)[0][0]
        raise DataError(f"sample id {printable(twice)!r} appears twice: every sample needs an id of its own.")


def check_labels(labels: NDArray[np.int64] | None, class_names: Sequence[str]) -> None:
    """Refuses labels below -1 (unknown), and where classes have names, labels without one.

    Raises:
        DataError: A label is out of range.
    """
    if labels is None:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < -1 or (class_names and high >= len(class_names)):
        wanted = f"-1 (unknown) to {len(class_names) - 1}" if class_names else "-1 (unknown) or more"
        raise DataError(f"labels run from {low} to {high}: wanted {wanted}.")


def check_finite(features: NDArray[np.floating[Any]], sample_ids: Sequence[str], what: str = "its features") -> None:
    """Refuses rows (n, feature_dim) that hold NaN or infinity, naming the first one's sample, and `what` they are.

    Raises:
        DataError: A row is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        name = printable(sample_ids[int(bad[0])])
        raise DataError(f"{name}: {what} hold NaN or infinity: check the image and the model's weights.")
