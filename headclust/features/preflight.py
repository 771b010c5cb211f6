"""Validation before a feature file is begun. Nothing is written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headclust.disk import write_errors
from headclust.errors import ConflictError, FileFormatError
from headclust.features.plan import check_replaceable, is_finished, store_plan
from headclust.features.reading import load_features
from headclust.features.writing import staging_folder
from headclust.progress import printable


def is_up_to_date(path: Path, plan: Mapping[str, Any], *, overwrite: bool) -> bool:
    """True if `path` is the feature file of this plan already.

    Args:
        path: The feature file.
        plan: Everything its rows depend on. Without `weights_sha256` (an untrained model), weights are not compared.
        overwrite: True if an existing feature file may be replaced; then the result is False.

    Raises:
        HeadclustError: `path` is something else, or cannot be read.
    """
    with write_errors(path):
        check_replaceable(path, overwrite=overwrite)
        if overwrite or not path.exists():
            return False
        try:
            attributes = load_features(path).attributes
        except FileFormatError:  # is_finished raises with the better message
            attributes = {}
        return is_finished(path, _comparable(plan, attributes))


def check_unfinished(path: Path, plan: Mapping[str, Any], *, overwrite: bool) -> None:
    """Raise if unfinished work on `path` has other settings. Arguments as for `is_up_to_date`.

    Raises:
        ConflictError: The plan of the unfinished work differs.
    """
    plan_path = staging_folder(path) / "plan.json"
    if overwrite or not os.access(plan_path, os.R_OK):  # unlike is_file, no error if the folder cannot be searched
        return
    with write_errors(path):
        try:
            old_plan = dict(json.loads(plan_path.read_bytes()))
        except (ValueError, TypeError):  # store_plan raises with the better message
            old_plan = {}
        store_plan(plan_path.parent, _comparable(plan, old_plan), overwrite=False)  # never writes: a plan exists


def _comparable(plan: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The plan, with the weights of `old` if its own are unknown."""
    if plan["weights_sha256"]:
        return dict(plan)
    return {**plan, **{name: old[name] for name in ("weights_origin", "weights_sha256") if name in old}}


def check_output_folder(path: Path) -> None:
    """Raise if a feature file cannot be written at `path`.

    Raises:
        ConflictError: Its nearest existing parent is no folder, or is not writable.
    """
    parent = _existing_parent(path)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        problem = "cannot be written" if parent.is_dir() else "is not a folder"
        raise ConflictError(f"{printable(str(parent))} {problem}: choose another place for the output.")


def staged_bytes(path: Path) -> int:
    """Bytes of disk that unfinished work on `path` occupies."""
    data = staging_folder(path) / "data.bin"
    return data.stat().st_blocks * 512 if os.access(data, os.R_OK) else 0


def free_bytes(path: Path) -> int:
    """Bytes that are free on the disk of `path`."""
    return shutil.disk_usage(_existing_parent(path)).free


def _existing_parent(path: Path) -> Path:
    """The staging folder of `path`, or its nearest parent that exists."""
    folder = staging_folder(path).absolute()
    return next(parent for parent in (folder, *folder.parents) if os.access(parent, os.F_OK))
