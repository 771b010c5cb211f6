"""Encoding of names, text, attributes and the checksum of a feature file. This module opens no file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

FORMAT = "headclust-features"
FORMAT_VERSION = 1
FEATURE_DTYPES: dict[str, np.dtype[np.floating[Any]]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
LABEL_DTYPE = STAMP_DTYPE = np.dtype("<i8")
DATASETS = ("features", "views", "sample_ids", "labels", "skipped", "stamps")
REQUIRED_ATTRIBUTES: dict[str, type] = {
    "format": str,
    "format_version": int,
    "dataset": str,
    "backbone": str,
    "class_names": list,
    "dtype": str,
    "sha256": str,
}
# The only attributes that are not plain text or a whole number; they are stored as JSON text.
JSON_ATTRIBUTES = frozenset(
    {"added", "augmentation_settings", "class_names", "exclude", "grown_from", "machines", "preprocessing"}
    | {"skipped_kinds", "unlisted", "versions"}
)
# Attributes that describe the file, not how its rows were made. `left_out.py` explains `skipped_kinds`, `growth.py`
# `grown_from`.
OWN_ATTRIBUTES = frozenset({"format", "format_version", "grown_from", "machines", "sha256", "skipped_kinds"})
# Attributes that depend on the machine. Where they differ between shards, `machines` lists them by row.
MACHINE_ATTRIBUTES = ("device", "threads", "versions")

Stored = bytes | int  # an attribute as stored in the file
_ESCAPE = re.compile("[\\\\\x00\ud800-\udfff]")
_UNESCAPE = re.compile(r"\\(\\|u[0-9a-f]{4})")


def escape(text: str) -> str:
    r"""`text` with the characters that a fixed-length UTF-8 string cannot hold escaped; `unescape` is the inverse.

    A backslash becomes two; NUL and lone surrogates become `\u` and four hexadecimal digits. Python decodes the bytes
    80-FF of a file name that is not UTF-8 to U+DC80-U+DCFF (`os.fsdecode`), so the byte E9 becomes `\udce9`.
    """
    return _ESCAPE.sub(lambda m: "\\\\" if m[0] == "\\" else f"\\u{ord(m[0]):04x}", text)


def unescape(text: str) -> str:
    """The inverse of `escape`.

    Raises:
        ValueError: `text` is no output of `escape`.
    """
    if "\\" not in text:
        return text
    plain = _UNESCAPE.sub(lambda m: "\\" if m[1] == "\\" else chr(int(m[1][1:], 16)), text)
    if escape(plain) != text:
        raise ValueError(f"wrong escape in {text!r}")
    return plain


def encode_texts(texts: Iterable[str]) -> NDArray[np.bytes_]:
    """Escaped UTF-8 of each text as a fixed-length array (n,), null-padded to the longest."""
    encoded = [escape(text).encode() for text in texts]
    width = max([1, *map(len, encoded)])  # HDF5 has no strings of length 0
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", width))


def decode_texts(stored: NDArray[np.bytes_]) -> tuple[str, ...]:
    """The inverse of `encode_texts`."""
    return tuple(unescape(text.decode()) for text in stored.tolist())


def encode_attributes(attributes: Mapping[str, Any]) -> dict[str, Stored]:
    """Attributes as stored: escaped UTF-8 text, a whole number, or JSON text for `JSON_ATTRIBUTES`.

    Raises:
        TypeError: A value is of another type.
    """
    return {name: _encode_attribute(name, attributes[name]) for name in sorted(attributes)}


def _encode_attribute(name: str, value: Any) -> Stored:
    if name in JSON_ATTRIBUTES:
        return json.dumps(value, sort_keys=True, allow_nan=False).encode()
    if isinstance(value, str):
        return escape(value).encode()
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"attribute {name} is {type(value).__name__}: expected text or a whole number")


def decode_attributes(stored: Mapping[str, Stored]) -> dict[str, Any]:
    """The inverse of `encode_attributes`.

    Raises:
        ValueError: A text is not UTF-8, not JSON or wrongly escaped.
    """
    return {name: _decode_attribute(name, value) for name, value in stored.items()}


def _decode_attribute(name: str, value: Stored) -> Any:
    if isinstance(value, int):
        return value
    return json.loads(value) if name in JSON_ATTRIBUTES else unescape(value.decode())


class ContentDigest:
    """SHA-256 over all attributes and data of a feature file; datasets are added in the order of `DATASETS`.

    Attributes come first, sorted by name and without `sha256` itself: `NAME LENGTH`, a line feed, the stored bytes (a
    number in decimal), a line feed. Then each dataset: `/NAME DTYPE SHAPE` (as in `/features <f4 100x512`), a line
    feed, the raw little-endian bytes in C order.
    """

    def __init__(self, attributes: Mapping[str, Stored]) -> None:
        self._sha256 = hashlib.sha256()
        for name in sorted(attributes.keys() - {"sha256"}):
            value = attributes[name]
            text = value if isinstance(value, bytes) else str(value).encode()
            self._sha256.update(b"%s %d\n%s\n" % (name.encode(), len(text), text))

    def begin(self, name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> None:
        """Start a dataset."""
        self._sha256.update(f"/{name} {dtype.str} {'x'.join(map(str, shape))}\n".encode())

    def update(self, rows: NDArray[Any]) -> None:
        """Add the next rows of the dataset."""
        self._sha256.update(np.ascontiguousarray(rows).data)

    def hexdigest(self) -> str:
        """The checksum of everything added so far."""
        return self._sha256.hexdigest()


def samples_sha256(
    sample_ids: Iterable[str], stamps: Iterable[tuple[int, int]], labels: NDArray[np.int64] | None
) -> str:
    """SHA-256 over the list of samples: per sample its id, the size and modification time of its file, and its label.

    It changes if an image is added, renamed, edited or relabeled, and so shows whether a feature file is still current.
    """
    sha256 = hashlib.sha256()
    values = labels.tolist() if labels is not None else None
    for row, (sample_id, stamp) in enumerate(zip(sample_ids, stamps, strict=True)):
        sha256.update(json.dumps([sample_id, *stamp, values[row] if values else None]).encode() + b"\n")
    return sha256.hexdigest()
