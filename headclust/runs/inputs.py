"""The feature files of a fit: finding them, loading them together, checking that others lie in the same spaces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError, FileFormatError, HeadclustError
from headclust.features import Features, check_finite, is_folder, load_features, stored_states
from headclust.features.rows import unit_length
from headclust.features.source import row_blocks
from headclust.progress import note, printable

FEATURES_FOLDER = Path("features")
TEST_SPLITS = ("test", "val", "valid", "validation")
# Attributes that are equal for two feature files whose rows lie in the same space.
_SPACE_ATTRIBUTES = ("backbone", "weights_sha256", "feature_point", "preprocessing")
_FINGERPRINT = (
    *(*_SPACE_ATTRIBUTES, "pixel_rules", "dataset", "split", "source"),
    *("weights_origin", "dtype", "batch_size", "precision"),
)


def load_spaces(paths: Sequence[Path]) -> tuple[Features, ...]:
    """Load feature files of the same samples, one per space.

    Raises:
        DataError: They hold different samples, values that are not finite, or only equal rows.
    """
    return _checked([load_features(path) for path in paths])


def _checked(loaded: Sequence[Features]) -> tuple[Features, ...]:
    """Features of the same samples, whose ids are held once, checked for a fit."""
    spaces = _together(loaded)
    for space in spaces:
        _check_finite(space)
        if space.n_samples > 1 and _is_constant(space):
            raise DataError(f"{_name(space)}: all {space.n_samples} rows are the same: there is nothing to cluster.")
    return spaces


@dataclass(frozen=True, eq=False)
class _JoinedRows:
    """Unit rows of several spaces, concatenated when they are read."""

    spaces: Sequence[Features]

    def __len__(self) -> int:
        return self.spaces[0].n_samples

    def __getitem__(self, index: Any, /) -> NDArray[np.floating[Any]]:
        from headclust.model import side_by_side

        rows: NDArray[np.float32] = side_by_side([unit_length(space.rows(index)) for space in self.spaces]).numpy()
        return rows


def joined(spaces: Sequence[Features]) -> Features:
    """Several feature spaces as one: unit rows concatenated. A single one is returned unchanged."""
    if len(spaces) == 1:
        return spaces[0]
    return replace(
        spaces[0],
        path=None,
        attributes={"dataset": "array", "backbone": "array", "class_names": [], "dtype": "float32"},
        sha256=hashlib.sha256("".join(space.sha256 for space in spaces).encode()).hexdigest(),
        feature_dim=sum(space.feature_dim for space in spaces),
        n_views=0,
        left_out=(),
        _open=lambda view: _JoinedRows(spaces),
    )


def newest_features() -> Path:
    """The newest feature file under `./features/` that is not of a test split; its path is logged.

    Raises:
        DataError: There is no such file.
    """
    paths = [path for path in FEATURES_FOLDER.glob("**/*.h5") if _is_feature_file(path)]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            if load_features(path).attributes.get("split") not in TEST_SPLITS:
                note(f"no features given: using the newest, {path}.")
                return path
        except HeadclustError:
            continue  # a damaged file does not hide an intact one
    raise DataError(f"no features given, and none found under ./{FEATURES_FOLDER}: make some with headclust embed.")


def _is_feature_file(path: Path) -> bool:
    """True for a file, or a folder of shards, but not for a file in one."""
    return (path.is_file() and not is_folder(path.parent)) or is_folder(path)


def fingerprint(space: Features) -> dict[str, Any]:
    """The record of a feature file in a run: identifies the file, and other files in the same space."""
    own = {name: space.attributes[name] for name in _FINGERPRINT if name in space.attributes}
    path = str(space.path.resolve()) if space.path else None
    size = {"n_samples": space.n_samples, "feature_dim": space.feature_dim}
    return {"path": path, "sha256": space.sha256, **size, **own}


def reload_spaces(fingerprints: Sequence[Mapping[str, Any]], n_added: int = 0) -> tuple[Features, ...]:
    """Load the features that a run was fitted on: of a file that has grown since, its first rows.

    Args:
        fingerprints: The records of the files in the run.
        n_added: Number of samples to load after the fitted ones.

    Raises:
        FileFormatError: A file has changed otherwise, or has too few rows.
        DataError: A file does not exist any more.
    """
    spaces = []
    for recorded in fingerprints:
        space = load_features(Path(recorded["path"]))
        n_rows = recorded["n_samples"] + n_added
        if recorded["sha256"] not in (space.sha256, *(sha256 for sha256, _ in space.attributes.get("grown_from", ()))):
            raise FileFormatError(
                f"{_name(space)} has changed since the run was made: name the features to use instead."
            )
        if n_rows > space.n_samples:
            raise FileFormatError(
                f"{_name(space)} has {space.n_samples} rows, expected {n_rows}, with those of the images that were "
                "added: repeat headclust add."
            )
        spaces.append(space.first(n_rows))
    return _checked(spaces)


def locate_features(folder: Path, recorded: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records of a run's feature files, with the `path` where each lies now, found by its checksum.

    That is the recorded path, or the same name beside the run folder, as in a folder of groups that was moved. The path
    of a file that is at neither place is not changed.

    Args:
        folder: The run folder.
        recorded: `features` of its config.
    """
    beside = folder.resolve().parent
    located = []
    for record in recorded:
        path = Path(record["path"])
        moved = beside / path.name
        is_moved = not _holds(path, record["sha256"]) and _holds(moved, record["sha256"])
        located.append({**record, "path": str(moved if is_moved else path)})
    return located


def _holds(path: Path, sha256: Any) -> bool:
    """True for the feature file of this checksum, and for one that has grown from it."""
    try:
        return sha256 in stored_states(path)
    except HeadclustError:
        return False


def load_alike(fingerprints: Sequence[Mapping[str, Any]], paths: Sequence[Path]) -> list[Features]:
    """Load feature files that lie in the spaces of a fit, one per space, of the same samples.

    Raises:
        HeadclustError: A file cannot be read.
        DataError: They do not lie in these spaces; see `check_alike`.
    """
    spaces = list(_together([load_features(path) for path in paths]))
    check_alike(fingerprints, spaces)
    return spaces


def _together(loaded: Iterable[Features]) -> tuple[Features, ...]:
    """Features of the same samples, whose ids are held once."""
    spaces: tuple[Features, ...] = ()
    for space in loaded:
        _check_same_samples(space, spaces[0] if spaces else space)
        spaces += (replace(space, sample_ids=spaces[0].sample_ids) if spaces else space,)
    return spaces


def check_alike(fingerprints: Sequence[Mapping[str, Any]], others: Sequence[Features]) -> None:
    """Raise unless `others` lie in the spaces of a fit, one per space, in the same order.

    Raises:
        DataError: Their number, dimension, backbone, weights or preprocessing differ, they hold different samples, or
            a value is not finite.
    """
    if len(others) != len(fingerprints):
        raise DataError(f"{len(others)} feature files given: expected {len(fingerprints)}, one per space of the fit.")
    for other, recorded in zip(others, fingerprints, strict=True):
        own = fingerprint(other)
        for name in ("feature_dim", *_SPACE_ATTRIBUTES):
            if own.get(name) != recorded.get(name):
                raise DataError(
                    f"{_name(other)}: its {name} is {own.get(name)}, the fit's was {recorded.get(name)}: "
                    "embed these images like the fitted ones."
                )
        _check_same_samples(other, others[0])
        _check_finite(other)
        rules, fitted = own.get("pixel_rules", 1), recorded.get("pixel_rules", 1)
        if rules != fitted and recorded.get("preprocessing"):
            change = f"version {rules} of the rules in docs/sources.md, the fitted ones by version {fitted}"
            note(f"{_name(other)}: its images were read by {change}; only unusual files differ.")


def _check_same_samples(space: Features, first: Features) -> None:
    if space.sample_ids != first.sample_ids:
        raise DataError(f"{_name(space)} and {_name(first)} hold different samples: expected the same, in one order.")


def _check_finite(space: Features) -> None:
    # Files written by other programs may hold NaN; those of headclust never do.
    try:
        for block in row_blocks(space.n_samples, space.feature_dim):
            check_finite(space.source()[block], space.sample_ids[block])
    except DataError as error:
        raise DataError(f"{_name(space)}: {error}") from None


def _is_constant(space: Features) -> bool:
    rows = space.source()
    blocks = row_blocks(space.n_samples, space.feature_dim)
    return all(bool((rows[block] == rows[:1]).all()) for block in blocks)


def _name(space: Features) -> str:
    return printable(str(space.path or "the features"))
