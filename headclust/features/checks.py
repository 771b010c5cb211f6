"""Validation of features, sample ids, labels and attributes before they are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError
from headclust.features.format import FEATURE_DTYPES, JSON_ATTRIBUTES, LABEL_DTYPE, OWN_ATTRIBUTES
from headclust.progress import printable

# Attributes that must agree with the datasets in the file.
_COUNTED = ("n_listed", "n_views")


def feature_array(features: Any) -> NDArray[np.floating[Any]]:
    """Features (n_samples, feature_dim) as stored: float16 and float32 are not converted, other numbers become float32.

    Raises:
        DataError: The input is not a matrix of numbers with at least one row and one column, or float32 cannot hold it.
    """
    array = np.asarray(features)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        raise DataError(
            f"features are {array.dtype} of shape {array.shape}: expected numbers of shape (n_samples, feature_dim), "
            "at least (1, 1)."
        )
    dtype = array.dtype.name if array.dtype.name in FEATURE_DTYPES else "float32"
    with np.errstate(over="ignore", under="ignore"):
        stored: NDArray[np.floating[Any]] = np.ascontiguousarray(array.astype(FEATURE_DTYPES[dtype], copy=False))
    if stored.dtype != array.dtype:
        _check_range(array, stored)
    return stored


def _check_range(array: NDArray[Any], stored: NDArray[np.floating[Any]]) -> None:
    """Raise if finite numbers (n_samples, feature_dim) became infinite, or rows of other numbers zero.

    Raises:
        DataError: They did.
    """
    limits = np.finfo(stored.dtype)
    subject = f"features of {array.dtype} are stored as {stored.dtype}"
    infinite = np.isinf(stored).any(axis=1)
    if infinite.any() and np.isfinite(array[infinite]).all():
        most = float(np.abs(array[infinite]).max())
        raise DataError(f"{subject}, which ends at {limits.max:.2g}: found {most:.2g}. Divide all by one number.")
    zero = ~stored.any(axis=1)
    if zero.any() and (array[zero] != 0).any():
        most = float(np.abs(array[zero]).max())
        raise DataError(
            f"{subject}, whose least number is {limits.smallest_subnormal:.2g}: a row reaches {most:.2g} only. "
            "Multiply all by one number."
        )


def view_array(
    views: Any, features: NDArray[np.floating[Any]], sample_ids: Sequence[str]
) -> NDArray[np.floating[Any]] | None:
    """Augmented views (n_views, n_samples, feature_dim) in the dtype of `features`, or None if there are none.

    Raises:
        DataError: The shape does not match the features, or a value is not finite in their dtype.
    """
    if views is None:
        return None
    array = np.asarray(views)
    if array.ndim != 3 or len(array) == 0 or array.shape[1:] != features.shape or array.dtype.kind not in "fiu":
        shape = ", ".join(map(str, features.shape))
        raise DataError(
            f"views are {array.dtype} of shape {array.shape}: expected numbers of shape (n_views, {shape})."
        )
    with np.errstate(over="ignore"):
        stored: NDArray[np.floating[Any]] = np.ascontiguousarray(array.astype(features.dtype, copy=False))
    for number, view in enumerate(stored):
        check_finite(view, sample_ids, f"the features of its view {number}")
    return stored


def check_attributes(attributes: Mapping[str, Any]) -> None:
    """Raise if a feature file cannot store an attribute, or sets it itself.

    Raises:
        DataError: A name or a value is not allowed.
    """
    for name, value in attributes.items():
        if not isinstance(name, str) or not name or "\0" in name:
            raise DataError(f"attribute {name!r}: expected a name.")
        if name in OWN_ATTRIBUTES or name in _COUNTED:
            raise DataError(f"attribute {name!r} is set by the feature file itself: leave it out.")
        if name not in JSON_ATTRIBUTES and not isinstance(value, str):
            if not isinstance(value, int) or isinstance(value, bool):
                raise DataError(f"attribute {name!r} is {type(value).__name__}: expected text or a whole number.")
            if not -(2**63) <= value < 2**63:
                raise DataError(f"attribute {name!r} is {value}: expected a number of at most 64 bits.")


def label_array(labels: Any) -> NDArray[np.int64] | None:
    """Labels (n_samples,) as int64, or None if there are none.

    Raises:
        DataError: The input is not a vector of whole numbers.
    """
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(
            f"labels are {array.dtype} of shape {array.shape}: expected whole numbers of shape (n_samples,)."
        )
    return np.ascontiguousarray(array, dtype=LABEL_DTYPE)


def check_rows(
    features: NDArray[np.floating[Any]],
    sample_ids: Sequence[str],
    labels: NDArray[np.int64] | None,
    class_names: Sequence[str],
) -> None:
    """Raise if features, sample ids and labels do not belong together.

    Raises:
        DataError: Lengths differ, an id appears twice, a label is out of range, or a feature is not finite.
    """
    for name, length in (("sample ids", len(sample_ids)), ("labels", len(features) if labels is None else len(labels))):
        if length != len(features):
            raise DataError(f"{len(features)} rows of features but {length} {name}: expected one per row.")
    check_sample_ids(sample_ids)
    check_labels(labels, class_names)
    check_finite(features, sample_ids)


def check_sample_ids(sample_ids: Sequence[str]) -> None:
    """Raise if the list is empty or an id appears twice.

    Raises:
        DataError: There is no sample, or two samples have the same id.
    """
    if not sample_ids:
        raise DataError("no samples: expected at least one image or row.")
    if len(set(sample_ids)) < len(sample_ids):
        twice = Counter(sample_ids).most_common(1)[0][0]
        raise DataError(f"sample id {printable(twice)!r} appears twice: every sample needs a different id.")


def check_labels(labels: NDArray[np.int64] | None, class_names: Sequence[str]) -> None:
    """Raise if a label is below -1 (unknown), or has no name although `class_names` is not empty.

    Raises:
        DataError: A label is out of range.
    """
    if labels is None:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < -1 or (class_names and high >= len(class_names)):
        expected = f"-1 (unknown) to {len(class_names) - 1}" if class_names else "-1 (unknown) or more"
        raise DataError(f"labels run from {low} to {high}: expected {expected}.")


def check_finite(features: NDArray[np.floating[Any]], sample_ids: Sequence[str], what: str = "its features") -> None:
    """Raise if a row (n, feature_dim) holds NaN or infinity; the message names the first such sample.

    Args:
        features: Rows to check.
        sample_ids: Names of the rows.
        what: Name of the rows in the message.

    Raises:
        DataError: A row is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        name = printable(sample_ids[int(bad[0])])
        raise DataError(f"{name}: {what} hold NaN or infinity: check the image and the model's weights.")
