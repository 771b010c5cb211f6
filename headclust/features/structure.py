"""Structure of a feature file, checked before anything large is read."""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np

from headclust.errors import DataError
from headclust.features.format import (
    DATASETS,
    FEATURE_DTYPES,
    FORMAT,
    FORMAT_VERSION,
    LABEL_DTYPE,
    REQUIRED_ATTRIBUTES,
    STAMP_DTYPE,
    Stored,
    decode_attributes,
)
from headclust.features.left_out import check_kinds


def check_structure(file: Any, size: int) -> None:
    """Raise unless the open HDF5 file is a feature file of this version with all datasets inside its `size` bytes.

    Raises:
        DataError: The structure differs. On malformed bytes, h5py raises its own errors.
    """
    attributes = _check_attributes(file, size)
    for name in file:
        _check_dataset(file, name, size)
    for name in ("features", "sample_ids"):
        if name not in file:
            raise DataError(f"it has no /{name}: expected a feature file.")
    _check_shapes(file, attributes)


def stored_attributes(file: Any) -> dict[str, Stored]:
    """The attributes of the root as bytes (text) and whole numbers; `check_structure` must have passed."""
    return {name: int(value) if isinstance(value, np.integer) else bytes(value) for name, value in file.attrs.items()}


def _check_attributes(file: Any, size: int) -> dict[str, Any]:
    for name in file.attrs:
        attribute = h5py.h5a.open(file.id, name.encode("utf-8", "surrogateescape"))
        dtype = attribute.dtype
        text = h5py.check_string_dtype(dtype)
        # Variable-length text is followed through pointers inside the file; fixed-length text is just bytes.
        plain = (text is not None and text.length is not None) or dtype.kind in "iu"
        if not plain or attribute.shape != () or attribute.get_storage_size() > size:
            raise DataError(f"attribute {name!r} is {dtype}: expected fixed-length text or a whole number.")
    attributes = decode_attributes(stored_attributes(file))
    if attributes.get("format") != FORMAT:
        raise DataError(
            f"its format is {attributes.get('format')!r}: expected {FORMAT!r}, from headclust embed or import."
        )
    version = attributes.get("format_version")
    if version != FORMAT_VERSION:
        raise DataError(
            f"its format version is {version}: expected {FORMAT_VERSION}, as this version of headclust writes."
        )
    for name, kind in REQUIRED_ATTRIBUTES.items():
        if not isinstance(attributes.get(name), kind):
            raise DataError(f"attribute {name!r} is {attributes.get(name)!r}: expected {kind.__name__}.")
    if not all(isinstance(name, str) for name in attributes["class_names"]):
        raise DataError("attribute 'class_names' holds something other than text: expected a list of names.")
    for name in ("exclude", "unlisted"):
        if not isinstance(attributes.get(name, []), list):
            raise DataError(f"attribute {name!r} is {attributes[name]!r}: expected a list.")
    if not all(isinstance(item, list) and len(item) == 2 for item in attributes.get("unlisted", [])):
        raise DataError("attribute 'unlisted' holds something other than pairs of path and reason.")
    _check_rows_of(attributes, "grown_from", [str, int], "pairs of checksum and number of rows")
    _check_rows_of(attributes, "added", [str, str, str, list], "lists of name, source, split and patterns")
    return attributes


def _check_rows_of(attributes: dict[str, Any], name: str, types: list[type], expected: str) -> None:
    """Raise if an attribute exists and is no list of rows of these types."""
    rows = attributes.get(name, [])
    if not (isinstance(rows, list) and all(isinstance(row, list) and [*map(type, row)] == types for row in rows)):
        raise DataError(f"attribute {name!r} is {str(rows)[:60]}: expected {expected}.")


def _check_dataset(file: Any, name: str, size: int) -> None:
    if name not in DATASETS or not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise DataError(
            f"it holds /{name}: expected only {', '.join(f'/{dataset}' for dataset in DATASETS)}, no links."
        )
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise DataError(f"/{name} is not an array.")
    properties = dataset.id.get_create_plist()
    contiguous = properties.get_layout() == h5py.h5d.CONTIGUOUS
    if not contiguous or properties.get_nfilters() or properties.get_external_count():
        raise DataError(f"/{name} is chunked, filtered, virtual or in another file: expected one contiguous block.")
    _check_dtype(name, dataset.dtype)
    n_bytes = math.prod(dataset.shape) * dataset.dtype.itemsize
    start = dataset.id.get_offset()
    if start is None or start + n_bytes > size or dataset.id.get_storage_size() != n_bytes:
        raise DataError(f"/{name} should hold {n_bytes} bytes, which are not in the file: it is cut short.")


def _check_dtype(name: str, dtype: Any) -> None:
    text = h5py.check_string_dtype(dtype)
    if name in ("features", "views"):
        valid, expected = dtype in FEATURE_DTYPES.values(), "float16 or float32, little-endian"
    elif name in ("labels", "stamps"):
        valid, expected = dtype == (LABEL_DTYPE if name == "labels" else STAMP_DTYPE), "int64, little-endian"
    else:
        valid, expected = text is not None and text.length is not None, "fixed-length text"
    if not valid:
        raise DataError(f"/{name} is {dtype}: expected {expected}.")


def _check_shapes(file: Any, attributes: dict[str, Any]) -> None:
    shapes = {name: file[name].shape for name in file}
    n_skipped = shapes.get("skipped", (0,))[0]
    if len(shapes["features"]) != 2 or 0 in shapes["features"]:
        raise DataError(
            f"/features has shape {shapes['features']}: expected (n_samples, feature_dim), at least (1, 1)."
        )
    n_samples, feature_dim = shapes["features"]
    expected = {
        "features": (n_samples, feature_dim),
        "views": (*shapes.get("views", ())[:1], n_samples, feature_dim),
        "sample_ids": (n_samples,),
        "labels": (n_samples,),
        "skipped": (n_skipped, 2),
        "stamps": (n_samples, 2),
    }
    for name, shape in shapes.items():
        if shape != expected[name]:
            raise DataError(f"/{name} has shape {shape}: expected {expected[name]}, to match /features.")
    if "skipped_kinds" in attributes:
        check_kinds(attributes["skipped_kinds"], n_skipped)
    n_views = shapes.get("views", (0,))[0]
    if "views" in shapes and not n_views:
        raise DataError("/views holds no view: expected at least one, or no /views.")
    if attributes.get("n_views", n_views) != n_views:
        raise DataError(f"its attribute n_views is {attributes['n_views']}: /views holds {n_views}.")
    types = {file[name].dtype.name for name in ("features", "views") if name in file}
    if types != {attributes["dtype"]}:
        raise DataError(f"features are {' and '.join(sorted(types))}: its attribute dtype is {attributes['dtype']}.")
    if attributes.get("n_listed", n_samples + n_skipped) != n_samples + n_skipped:
        raise DataError(
            f"its attribute n_listed is {attributes['n_listed']}: expected {n_samples} rows and {n_skipped} skipped."
        )
