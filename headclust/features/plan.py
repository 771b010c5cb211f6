"""The plan: every setting the rows depend on. Work begun with one is never continued with another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headclust.disk import is_temporary, write_errors, write_whole
from headclust.errors import ConflictError, FileFormatError
from headclust.features.format import OWN_ATTRIBUTES
from headclust.features.reading import SIGNATURE, load_features
from headclust.progress import printable

_FILES = ("journal.jsonl", "data.bin", "plan.json")  # in the order to remove them: the plan goes last
_WHAT = {"samples_sha256": "the samples (ids, file sizes, file times or labels)"}


def settle_plan(folder: Path, plan: Mapping[str, Any], overwrite: bool) -> None:
    """Leaves the folder holding this plan, or refuses the one it holds.

    Raises:
        ConflictError: The folder holds work on another plan, and is not to be overwritten.
        HeadclustError: The folder cannot be written.
    """
    path = folder / "plan.json"
    if path.exists():
        try:
            difference = _difference(json.loads(path.read_bytes()), plan)
        except (ValueError, AttributeError):
            difference = "plan.json cannot be read"
        if not difference:
            return
        if not overwrite:
            step = "repeat those, delete the folder, or say --overwrite"
            raise ConflictError(f"{printable(str(folder))} was begun with other settings ({difference}): {step}.")
    with write_errors(folder):
        discard(folder)
        write_whole(path, json.dumps(plan, indent=1, sort_keys=True).encode())


def check_replaceable(path: Path) -> None:
    """Refuses to write over what never was a feature file, whatever the user has said of overwriting.

    Raises:
        ConflictError: There is a folder, or a file of another kind.
    """
    if not path.exists():
        return
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(SIGNATURE)) in (SIGNATURE, b""):
                return
    kind = "a folder" if path.is_dir() else "a file of another kind"
    raise ConflictError(f"{printable(str(path))} is {kind}: choose another name for the feature file.")


def is_finished(path: Path, plan: Mapping[str, Any]) -> bool:
    """Whether `path` is what this plan makes; False when there is nothing yet.

    Raises:
        ConflictError: There is something else.
    """
    if not path.exists():
        return False
    name = printable(str(path))
    try:
        attributes = load_features(path).attributes
    except FileFormatError as error:
        step = "move it away, or say --overwrite"
        raise ConflictError(f"{name} exists and cannot be read as a feature file: {step}.") from error
    difference = _difference({key: value for key, value in attributes.items() if key not in OWN_ATTRIBUTES}, plan)
    if difference:
        raise ConflictError(
            f"{name} was made with other settings ({difference}): choose another -o, or say --overwrite."
        )
    return True


def _difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> str:
    """The first item that differs, its old and its new value; empty when none does."""
    for key in sorted(old.keys() | new.keys()):
        before, now = old.get(key), new.get(key)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            return _difference(before, now, f"{prefix}{key}.")
        return printable(f"{_WHAT.get(key, prefix + key)}: {_short(before)} there, {_short(now)} here")
    return ""


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def discard(folder: Path) -> None:
    """Removes what staging keeps in `folder`, but not the lock."""
    for left in filter(is_temporary, folder.iterdir() if folder.is_dir() else ()):
        left.unlink(missing_ok=True)
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
