"""The feature files a fit uses: found, loaded together, recognised again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F

from headclust.errors import DataError, FileFormatError, HeadclustError
from headclust.features import Features, check_finite, load_features
from headclust.model import side_by_side
from headclust.progress import note, printable

FEATURES_FOLDER = Path("features")
_ROWS = 8_192
TEST_SPLITS = ("test", "val", "valid", "validation")
# What two feature files have to share for their rows to lie in one space.
_SPACE_ATTRIBUTES = ("backbone", "weights_sha256", "feature_point", "preprocessing")
_FINGERPRINT = (*_SPACE_ATTRIBUTES, "dataset", "split", "source", "weights_origin", "dtype", "batch_size", "precision")


def load_spaces(paths: Sequence[Path]) -> tuple[Features, ...]:
    """Feature files of the same samples, one a space.

    Raises:
        DataError: They hold different samples, values that are not finite, or rows that are all the same.
    """
    spaces = tuple(load_features(path) for path in paths)
    for space in spaces:
        _check_same_samples(space, spaces[0])
        _check_finite(space)
        if space.n_samples > 1 and _is_constant(space):
            raise DataError(f"{_name(space)}: all {space.n_samples} rows are the same: there is nothing to cluster.")
    return spaces


def joined(spaces: Sequence[Features]) -> Features:
    """Features of the same samples as those of one space: unit rows side by side. A single one stays as it is."""
    if len(spaces) == 1:
        return spaces[0]
    rows = side_by_side([F.normalize(space.all(), dim=-1) for space in spaces])
    return Features.from_array(rows.numpy(), spaces[0].sample_ids, spaces[0].labels)


def newest_features() -> Path:
    """The newest feature file under `./features/` that is not a test split; says which.

    Raises:
        DataError: There is none.
    """
    found = [path for path in FEATURES_FOLDER.glob("**/*.h5") if path.is_file()]
    for path in sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            if load_features(path).attributes.get("split") not in TEST_SPLITS:
                note(f"no features given: using the newest, {path}.")
                return path
        except HeadclustError:
            continue  # a damaged file must not stand in the way of a whole one
    raise DataError(f"no features given, and none found under ./{FEATURES_FOLDER}: make some with headclust embed.")


def fingerprint(space: Features) -> dict[str, Any]:
    """What a run records of a feature file, enough to find it and to know another one of its space."""
    own = {name: space.attributes[name] for name in _FINGERPRINT if name in space.attributes}
    path = str(space.path.resolve()) if space.path else None
    size = {"n_samples": space.n_samples, "feature_dim": space.feature_dim}
    return {"path": path, "sha256": space.sha256, **size, **own}


def reload_spaces(fingerprints: Sequence[Mapping[str, Any]]) -> tuple[Features, ...]:
    """The feature files that a run was fitted on.

    Raises:
        FileFormatError: One has changed since.
        DataError: One is gone.
    """
    spaces = load_spaces([Path(stated["path"]) for stated in fingerprints])
    for space, stated in zip(spaces, fingerprints, strict=True):
        if space.sha256 != stated["sha256"]:
            raise FileFormatError(
                f"{_name(space)} has changed since the run was made: name the features to use instead."
            )
    return spaces


def locate_features(folder: Path, stated: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a run states of its feature files, with the `path` where each lies now.

    That is where it was, or beside the run folder, as in a folder of groups that was moved: known by its checksum. One
    that is at neither place keeps its path.

    Args:
        folder: The run folder.
        stated: `features` of its config.
    """
    beside = folder.resolve().parent
    located = []
    for one in stated:
        path = Path(one["path"])
        moved = beside / path.name
        is_moved = not _holds(path, one["sha256"]) and _holds(moved, one["sha256"])
        located.append({**one, "path": str(moved if is_moved else path)})
    return located


def _holds(path: Path, sha256: Any) -> bool:
    try:
        return bool(load_features(path).sha256 == sha256)
    except HeadclustError:
        return False


def load_alike(fingerprints: Sequence[Mapping[str, Any]], paths: Sequence[Path]) -> list[Features]:
    """Feature files that lie in the spaces of a fit, one each, of the same samples.

    Raises:
        HeadclustError: One cannot be read.
        DataError: They do not lie there, as `check_alike` says.
    """
    found = [load_features(path) for path in paths]
    check_alike(fingerprints, found)
    return found


def check_alike(fingerprints: Sequence[Mapping[str, Any]], others: Sequence[Features]) -> None:
    """Makes sure that `others` lie in the spaces of a fit, one each, in the same order.

    Raises:
        DataError: Their number, dimension, backbone, weights or preprocessing differ, they hold different samples, or
            a value is not finite.
    """
    if len(others) != len(fingerprints):
        raise DataError(f"{len(others)} feature files given: expected {len(fingerprints)}, one a space of the fit.")
    for other, stated in zip(others, fingerprints, strict=True):
        theirs = fingerprint(other)
        for name in ("feature_dim", *_SPACE_ATTRIBUTES):
            if theirs.get(name) != stated.get(name):
                raise DataError(
                    f"{_name(other)}: its {name} is {theirs.get(name)}, the fit's was {stated.get(name)}: "
                    "embed these images as the fitted ones were."
                )
        _check_same_samples(other, others[0])
        _check_finite(other)


def _check_same_samples(space: Features, first: Features) -> None:
    if space.sample_ids != first.sample_ids:
        raise DataError(f"{_name(space)} and {_name(first)} hold different samples: expected the same, in one order.")


def _check_finite(space: Features) -> None:
    # A file that another program wrote may hold anything; ours never hold NaN.
    try:
        for start in range(0, space.n_samples, _ROWS):
            block = slice(start, start + _ROWS)
            check_finite(space.rows(block).numpy(), space.sample_ids[block])
    except DataError as error:
        raise DataError(f"{_name(space)}: {error}") from None


def _is_constant(space: Features) -> bool:
    first = space.rows([0])
    blocks = (space.rows(slice(start, start + _ROWS)) for start in range(0, space.n_samples, _ROWS))
    return all(bool((block == first).all()) for block in blocks)


def _name(space: Features) -> str:
    return printable(str(space.path or "the features"))
