"""Verification of a feature file: structure, unique ids, finite values and checksum, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from headclust.errors import DataError, FileFormatError
from headclust.features.checks import check_finite, check_sample_ids
from headclust.features.folder import content_sha256, files_of, is_folder, load_folder
from headclust.features.format import DATASETS, ContentDigest
from headclust.features.opened import NEXT_STEP, opened_file
from headclust.features.reading import load_file
from headclust.features.structure import stored_attributes
from headclust.progress import printable

_SLAB_BYTES = 1 << 24


def verify_features(path: Path | str) -> list[str]:
    """Problems of a feature file or a folder of shards, one line each; empty if it is complete and has its checksum.

    The whole file is read, in bounded memory: structure, unique ids, finite values, checksum. A folder is read twice:
    file by file, and as the one file that it stands for.

    Raises:
        DataError: The file does not exist.
    """
    path = Path(path)
    if not is_folder(path):
        return _verify_file(path)
    try:
        problems = list(chain.from_iterable(_verify_file(file) for file in files_of(path)))
        if problems:
            return problems
        features = load_folder(path)
        check_sample_ids(features.sample_ids)
        sha256 = content_sha256(features)
    except FileFormatError as error:
        return [str(error)]
    except DataError as error:
        return [f"{printable(str(path))}: {error}"]
    if sha256 != features.sha256:
        return [f"{printable(str(path))}: its content has sha256 {sha256}, expected {features.sha256}: {NEXT_STEP}."]
    return []


def _verify_file(path: Path) -> list[str]:
    problems = []
    name = printable(str(path))
    try:
        features = load_file(path)
        try:
            check_sample_ids(features.sample_ids)
        except DataError as error:
            problems.append(f"{name}: {error}")
        with opened_file(path) as file:
            sha256, not_finite = _scan(file, features.sample_ids)
        problems += [f"{name}: {line}" for line in not_finite]
        if sha256 != features.sha256:
            problems.append(f"{name}: its content has sha256 {sha256}, expected {features.sha256}: {NEXT_STEP}.")
    except FileFormatError as error:
        problems.append(str(error))
    return problems


def _scan(file: Any, sample_ids: Sequence[str]) -> tuple[str, list[str]]:
    """SHA-256 of the content, and one line per dataset of features, for its first row that is not finite."""
    digest, problems = ContentDigest(stored_attributes(file)), []
    for name in filter(file.__contains__, DATASETS):
        table = file[name]
        digest.begin(name, table.dtype, table.shape)
        finite = True
        for index in _slabs(table.shape, table.dtype.itemsize):
            slab = table[index]
            digest.update(slab)
            if finite and name in ("features", "views"):
                try:
                    what = "its features" if name == "features" else f"the features of its view {index[0]}"
                    check_finite(slab, sample_ids[index[-1]], what)
                except DataError as error:
                    finite = False
                    problems.append(f"/{name}: {error}")
    return digest.hexdigest(), problems


def _slabs(shape: tuple[int, ...], itemsize: int) -> Iterator[tuple[Any, ...]]:
    """Indices of slabs of bounded size, in C order, of (rows), (rows, columns) or (views, rows, columns)."""
    if len(shape) == 3:
        for view in range(shape[0]):
            for index in _slabs(shape[1:], itemsize):
                yield (view, *index)
        return
    step = max(1, _SLAB_BYTES // (itemsize * (shape[1] if len(shape) == 2 else 1)))
    for start in range(0, shape[0], step):
        yield (slice(start, start + step),)
