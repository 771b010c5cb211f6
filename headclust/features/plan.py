"""The plan: every setting that the rows depend on. Staging with one plan is never resumed with another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headclust.disk import is_temporary, real_place, write_atomically, write_errors
from headclust.errors import ConflictError, FileFormatError
from headclust.features.folder import is_folder
from headclust.features.format import MACHINE_ATTRIBUTES, OWN_ATTRIBUTES
from headclust.features.opened import SIGNATURE
from headclust.features.reading import load_features
from headclust.progress import note, printable

_FILES = ("journal.jsonl", "data.bin", "plan.json")  # in the order of removal: the plan last
_FIRST = ("exclude", "labels", "unlisted")  # named first: the samples and their classes follow from them
_DESCRIPTIONS = {"samples_sha256": "the samples (ids, file sizes, file times or labels)"}


def store_plan(folder: Path, plan: Mapping[str, Any], overwrite: bool, *, allow_unlike: bool = False) -> None:
    """Write the plan into the staging folder, unless the folder holds the same plan already.

    Args:
        folder: The staging folder.
        plan: The plan.
        overwrite: Discard work on another plan.
        allow_unlike: Discard work on a plan that differs only by the machine.

    Raises:
        ConflictError: The folder holds work on another plan, and `overwrite` is False.
        HeadclustError: The folder cannot be written.
    """
    path = folder / "plan.json"
    if path.exists():
        try:
            old = {**json.loads(path.read_bytes())}
            # Rows are the same whether or not they were to replace a file: that file may be gone.
            old = {key: old[key] for key in old if key != "replaces" or key in plan}
            difference = plan_difference(old, plan)
            unlike = allow_unlike and not plan_difference(old, plan, allow_unlike=True)
        except (ValueError, TypeError, RecursionError):
            difference, unlike = "plan.json cannot be read", False
        if not difference:
            return
        if unlike:
            note(f"{folder} was begun on another machine ({difference}): it begins anew on this one.")
        elif not overwrite:
            step = "repeat those, delete the folder, or use --overwrite"
            raise ConflictError(f"{printable(str(folder))} was begun with other settings ({difference}): {step}.")
    with write_errors(folder):
        discard(folder)
        write_atomically(path, json.dumps(plan, indent=1, sort_keys=True).encode())


def check_replaceable(path: Path, *, overwrite: bool = False) -> None:
    """Raise if `path` exists and is no feature file, or is to be replaced and is a folder of shards.

    Raises:
        ConflictError: `path` is a folder, a file of another kind, or a link to a place that does not exist.
    """
    if not real_place(path).exists():
        return
    if is_folder(path):
        if overwrite:
            raise ConflictError(
                f"{printable(str(path))} is a folder of shards, which is not replaced: delete it, or choose another -o."
            )
        return
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(SIGNATURE)) in (SIGNATURE, b""):
                return
    kind = "a folder" if path.is_dir() else "a file of another kind"
    raise ConflictError(f"{printable(str(path))} is {kind}: choose another name for the feature file.")


def is_finished(path: Path, plan: Mapping[str, Any], *, allow_unlike: bool = False) -> bool:
    """True if `path` is the feature file of this plan, False if it does not exist.

    Args:
        path: The feature file.
        plan: Everything its rows depend on.
        allow_unlike: Do not compare the machine; nor is it compared if the file was made by unlike machines.

    Raises:
        ConflictError: `path` is something else.
    """
    if not path.exists():
        return False
    name = printable(str(path))
    try:
        attributes = load_features(path).attributes
    except FileFormatError as error:
        step = "move it away, or use --overwrite"
        raise ConflictError(f"{name} exists and cannot be read as a feature file: {step}.") from error
    own, new = ({key: each[key] for key in each if key not in OWN_ATTRIBUTES} for each in (attributes, plan))
    difference = plan_difference(own, new, allow_unlike=allow_unlike or "machines" in attributes)
    if difference:
        raise ConflictError(
            f"{name} was made with other settings ({difference}): choose another -o, or use --overwrite."
        )
    return True


def plan_difference(old: Mapping[str, Any], new: Mapping[str, Any], *, allow_unlike: bool = False) -> str:
    """The first item that differs, with its old and new value; empty if none differs.

    Args:
        old: A plan.
        new: Another one.
        allow_unlike: Do not compare what depends on the machine.
    """
    if allow_unlike:
        old, new = ({key: plan[key] for key in plan if key not in MACHINE_ATTRIBUTES} for plan in (old, new))
    return _difference(old, new)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> str:
    for key in sorted(old.keys() | new.keys(), key=lambda key: (key not in _FIRST, key)):
        before, now = old.get(key), new.get(key)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            return _difference(before, now, f"{prefix}{key}.")
        name = _DESCRIPTIONS.get(key, prefix + key)
        return printable(f"{name}: {_shortened(before)} there, {_shortened(now)} here")
    return ""


def _shortened(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def discard(folder: Path) -> None:
    """Remove the files of staging from `folder`, except the lock."""
    for path in filter(is_temporary, folder.iterdir() if folder.is_dir() else ()):
        path.unlink(missing_ok=True)
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
