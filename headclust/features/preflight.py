"""What is in the way of a feature file, found out before one is begun. Nothing is written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headclust.disk import write_errors
from headclust.errors import ConflictError, FileFormatError
from headclust.features.plan import check_replaceable, is_finished, settle_plan
from headclust.features.reading import load_features
from headclust.features.writing import staging_folder
from headclust.progress import printable


def is_made(path: Path, plan: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Whether `path` is what this plan makes, so that nothing is to be done.

    Args:
        path: The feature file.
        plan: Everything its rows depend on. Without `weights_sha256` (an untrained model), weights are not compared.
        overwrite: What is there may be replaced.

    Raises:
        HeadclustError: Something else is there, or it cannot be looked at.
    """
    with write_errors(path):
        check_replaceable(path)
        if overwrite or not path.exists():
            return False
        try:
            there = load_features(path).attributes
        except FileFormatError:  # is_finished says it better
            there = {}
        return is_finished(path, _comparable(plan, there))


def check_begun(path: Path, plan: Mapping[str, Any], *, overwrite: bool) -> None:
    """Refuses work begun with other settings; see `is_made` for the arguments.

    Raises:
        ConflictError: There is some.
    """
    begun = staging_folder(path) / "plan.json"
    if overwrite or not os.access(begun, os.R_OK):  # unlike is_file, no error in a folder that cannot be looked into
        return
    with write_errors(path):
        try:
            there = dict(json.loads(begun.read_bytes()))
        except (ValueError, TypeError):  # settle_plan says it better
            there = {}
        settle_plan(begun.parent, _comparable(plan, there), overwrite=False)  # where there is a plan, it writes none


def _comparable(plan: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """A plan, with the weights of what is there where its own are not known."""
    if plan["weights_sha256"]:
        return dict(plan)
    return {**plan, **{name: there[name] for name in ("weights_origin", "weights_sha256") if name in there}}


def check_place(path: Path) -> None:
    """Refuses a place for a feature file that is no folder, or cannot be written.

    Raises:
        ConflictError: It is the one or the other.
    """
    place = _existing(path)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        what = "cannot be written" if place.is_dir() else "is not a folder"
        raise ConflictError(f"{printable(str(place))} {what}: choose another place for the output.")


def staged_bytes(path: Path) -> int:
    """Bytes of disk that unfinished work has taken already."""
    data = staging_folder(path) / "data.bin"
    return data.stat().st_blocks * 512 if os.access(data, os.R_OK) else 0


def free_bytes(path: Path) -> int:
    """Bytes that are free on the disk where a feature file would be made."""
    return shutil.disk_usage(_existing(path)).free


def _existing(path: Path) -> Path:
    """The folder that staging would be made in: of its parents the nearest that is there."""
    folder = staging_folder(path)
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if os.access(place, os.F_OK))
