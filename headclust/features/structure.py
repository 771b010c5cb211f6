"""Whether an open HDF5 file has the structure of a feature file, judged before anything large is read from it."""

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
    Stored,
    decode_attributes,
)


def check_structure(file: Any, size: int) -> None:
    """Refuses whatever is not a feature file of this version whose datasets lie whole inside its `size` bytes.

    Raises:
        DataError: What was found and what was wanted. Bytes that make no sense at all raise whatever h5py raises.
    """
    attributes = _check_attributes(file, size)
    for name in file:
        _check_dataset(file, name, size)
    for name in ("features", "sample_ids"):
        if name not in file:
            raise DataError(f"it has no /{name}: wanted a feature file.")
    _check_shapes(file, attributes)


def stored_attributes(file: Any) -> dict[str, Stored]:
    """The root's attributes as bytes (text) and whole numbers, after `check_structure` has seen them."""
    return {name: int(value) if isinstance(value, np.integer) else bytes(value) for name, value in file.attrs.items()}


def _check_attributes(file: Any, size: int) -> dict[str, Any]:
    for name in file.attrs:
        attribute = h5py.h5a.open(file.id, name.encode("utf-8", "surrogateescape"))
        dtype = attribute.dtype
        text = h5py.check_string_dtype(dtype)
        # Variable-length text is followed through pointers inside the file; fixed-length text is just bytes.
        plain = (text is not None and text.length is not None) or dtype.kind in "iu"
        if not plain or attribute.shape != () or attribute.get_storage_size() > size:
            raise DataError(f"attribute {name!r} is {dtype}: wanted fixed-length text or a whole number.")
    attributes = decode_attributes(stored_attributes(file))
    if attributes.get("format") != FORMAT:
        raise DataError(
            f"its format is {attributes.get('format')!r}: wanted {FORMAT!r}, from headclust embed or import."
        )
    if attributes.get("format_version") != FORMAT_VERSION:
        found = attributes.get("format_version")
        raise DataError(
            f"its format version is {found}: wanted {FORMAT_VERSION}, as this version of headclust writes it."
        )
    for name, wanted in REQUIRED_ATTRIBUTES.items():
        if not isinstance(attributes.get(name), wanted):
            raise DataError(f"attribute {name!r} is {attributes.get(name)!r}: wanted {wanted.__name__}.")
    if not all(isinstance(name, str) for name in attributes["class_names"]):
        raise DataError("attribute 'class_names' holds something else than text: wanted a list of names.")
    return attributes


def _check_dataset(file: Any, name: str, size: int) -> None:
    if name not in DATASETS or not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise DataError(f"it holds /{name}: wanted only {', '.join('/' + known for known in DATASETS)}, and no links.")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise DataError(f"/{name} is not an array.")
    properties = dataset.id.get_create_plist()
    contiguous = properties.get_layout() == h5py.h5d.CONTIGUOUS
    if not contiguous or properties.get_nfilters() or properties.get_external_count():
        raise DataError(f"/{name} is chunked, filtered, virtual or kept in another file: wanted one contiguous block.")
    _check_dtype(name, dataset.dtype)
    wanted = math.prod(dataset.shape) * dataset.dtype.itemsize
    start = dataset.id.get_offset()
    if start is None or start + wanted > size or dataset.id.get_storage_size() != wanted:
        raise DataError(f"/{name} should hold {wanted} bytes, which are not in the file: it is cut short.")


def _check_dtype(name: str, dtype: Any) -> None:
    text = h5py.check_string_dtype(dtype)
    if name in ("features", "views"):
        right, wanted = dtype in FEATURE_DTYPES.values(), "float16 or float32, little-endian"
    elif name == "labels":
        right, wanted = dtype == LABEL_DTYPE, "int64, little-endian"
    else:
        right, wanted = text is not None and text.length is not None, "fixed-length text"
    if not right:
        raise DataError(f"/{name} is {dtype}: wanted {wanted}.")


def _check_shapes(file: Any, attributes: dict[str, Any]) -> None:
    found = {name: file[name].shape for name in file}
    n_skipped = found.get("skipped", (0,))[0]
    if len(found["features"]) != 2 or 0 in found["features"]:
        raise DataError(f"/features has shape {found['features']}: wanted (n_samples, feature_dim), at least (1, 1).")
    n_samples, feature_dim = found["features"]
    wanted = {
        "features": (n_samples, feature_dim),
        "views": (*found.get("views", ())[:1], n_samples, feature_dim),
        "sample_ids": (n_samples,),
        "labels": (n_samples,),
        "skipped": (n_skipped, 2),
    }
    for name, shape in found.items():
        if shape != wanted[name]:
            raise DataError(f"/{name} has shape {shape}: wanted {wanted[name]}, to go with /features.")
    n_views = found.get("views", (0,))[0]
    if "views" in found and not n_views:
        raise DataError("/views holds no view: wanted at least one, or no /views.")
    if attributes.get("n_views", n_views) != n_views:
        raise DataError(f"it says {attributes['n_views']} views: {n_views} are there.")
    types = {file[name].dtype.name for name in ("features", "views") if name in file}
    if types != {attributes["dtype"]}:
        raise DataError(f"features are {' and '.join(sorted(types))}: the file says {attributes['dtype']}.")
    if attributes.get("n_listed", n_samples + n_skipped) != n_samples + n_skipped:
        raise DataError(f"it lists {attributes['n_listed']} samples: wanted {n_samples} rows and {n_skipped} skipped.")
