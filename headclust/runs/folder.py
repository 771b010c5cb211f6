"""The run folder, the result of a fit. Format only, see docs/run-folder.md.

config.json         the resolved recipe, records of the feature files, versions; `fit --config` repeats it
model.safetensors   the fitted model
assignments.csv     sample_id,cluster,confidence: see assignments.py
history.jsonl       the training, one record per line
metrics.json        sizes, agreement, seconds; scores where labels are known
seen.safetensors    some of the fitted samples, to measure the novelty of others
levels.json         how the clusters join: see levels.py
checksums.sha256    the SHA-256 of these files: see checksums.py
fixes.csv           what a person has changed in the groups, if anything: see fixes/
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.disk import is_temporary, real_place, sync_folder, write_atomically, write_errors
from headclust.errors import ConflictError
from headclust.filenames import numbered
from headclust.progress import note, printable
from headclust.runs.assignments import write_assignments
from headclust.runs.checksums import CHECKSUMS, FILES, checksum_lines
from headclust.runs.fixes import FIXES, Fix, append_fixes, read_fixes
from headclust.runs.levels import LEVELS, Levels, levels_bytes
from headclust.runs.names import NAMES
from headclust.runs.record import FORMAT, FORMAT_VERSION, is_run

if TYPE_CHECKING:  # PyTorch is loaded where a model is read or written, so that commands without one start quickly
    from torch import Tensor

    from headclust.model import ClusterModel
    from headclust.runs.novelty import Seen

_ADDED = ("added.csv", "predicted", "report.html", NAMES)  # by other commands, which can make them again
_OF_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")  # written by file managers


def check_free(path: Path, *, overwrite: bool, keeps: Path | None = None) -> None:
    """Raise unless a run may be written at `path`; called before the fit.

    Args:
        path: The run folder to make.
        overwrite: Replace a run.
        keeps: A file of fixes, which the new run keeps; in a run that is replaced no other one may lie.

    Raises:
        ConflictError: `path` exists: a run (without `overwrite`), a run with files of the user, or not a run.
        HeadclustError: The parent folder cannot be written.
    """
    place = real_place(path)
    with write_errors(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(place.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if not place.exists():
        return
    name = printable(str(path))
    if not is_run(place):
        raise ConflictError(f"{name} exists and is not a run folder: choose another place with -o.")
    if not overwrite:
        raise ConflictError(f"{name} holds a run: choose another place with -o, or replace it with --overwrite.")
    if Path.cwd().is_relative_to(place):
        raise ConflictError(f"{name} is the current folder: change to another one first, or choose another -o.")
    if place.is_mount():
        raise ConflictError(f"{name} is a mounted disk, which cannot be replaced: choose a folder on it with -o.")
    _check_ours(place, keeps)


def _check_ours(path: Path, keeps: Path | None) -> None:
    """Raise if a run folder holds files of the user, which would be removed with it."""
    with write_errors(path):
        names = sorted(file.name for file in path.iterdir() if not is_temporary(file))
    for name in names:
        if name == FIXES:
            if read_fixes(path / name) and not (keeps and keeps.resolve() == (path / name).resolve()):
                raise ConflictError(
                    f"{printable(str(path / name))} holds fixes, which would be lost: keep them with --fixes "
                    f"{printable(str(path / name))}, move the file elsewhere, or choose another place with -o."
                )
            continue
        if name not in (*FILES, CHECKSUMS, *_ADDED, *_OF_SYSTEMS):
            raise ConflictError(
                f"{printable(str(path))} also holds {printable(name)}, which is not part of the run and would be "
                "deleted with it: move it elsewhere first, or choose another place with -o."
            )


def check_not_of_run(path: Path) -> None:
    """Raise if `path`, where another result is to be written, is a file of a run, which would be lost.

    Raises:
        ConflictError: It is, by its own name or through links.
    """
    place = Path(os.path.realpath(path))  # resolves circular links too
    if place.name in (*FILES, CHECKSUMS) and is_run(place.parent):
        raise ConflictError(
            f"{printable(str(path))} is {place.name} of a run, which would be lost: choose another place with -o."
        )


def write_run(
    path: Path,
    *,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    model: ClusterModel,
    history: Iterable[Mapping[str, Any]],
    assignments: tuple[Sequence[str], NDArray[np.int64], NDArray[np.float32]],
    seen: Seen | None = None,
    levels: Levels | None = None,
    fixes: Sequence[Fix] = (),
    overwrite: bool = False,
    keeps: Path | None = None,
) -> Path:
    """Write a run folder under another name and move it into place when complete; return its path.

    If `path` is a link, the run is written to the folder it leads to, and the link stays.

    Args:
        path: The folder to make.
        config: Everything that `fit --config` needs to repeat the run.
        metrics: The contents of `metrics.json`.
        model: The fitted model.
        history: Records of the training.
        assignments: Sample ids, their clusters and confidences.
        seen: Fitted samples to compare others with, if any are stored.
        levels: How the clusters join, if that is stored.
        fixes: The fixes that the fit has kept, for fixes.csv.
        overwrite: Replace an existing run.
        keeps: As for `check_free`.

    Raises:
        ConflictError: `path` exists.
        HeadclustError: The folder cannot be written.
    """
    check_free(path, overwrite=overwrite, keeps=keeps)
    place = real_place(path)
    staging = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        with write_errors(path):
            shutil.rmtree(staging, ignore_errors=True)  # of a killed process with the same id
            staging.mkdir(parents=True)
            contents = {"format": FORMAT, "format_version": FORMAT_VERSION, **config}
            write_atomically(staging / "config.json", _json(contents, indent=2))
            write_atomically(staging / "metrics.json", _json(metrics, indent=2))
            write_atomically(staging / "history.jsonl", b"".join(_json(record) for record in history))
            write_atomically(staging / "model.safetensors", _tensor_bytes(model.tensors()))
            write_assignments(staging / "assignments.csv", *assignments)
            if seen is not None:
                write_atomically(staging / "seen.safetensors", _tensor_bytes(seen.tensors()))
            if levels is not None:
                write_atomically(staging / LEVELS, levels_bytes(levels))
            append_fixes(staging / FIXES, fixes)
            write_atomically(staging / CHECKSUMS, checksum_lines(staging))
            sync_folder(staging)
            _move_into_place(staging, place, overwrite=overwrite)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return path


def _move_into_place(staging: Path, path: Path, *, overwrite: bool) -> None:
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if overwrite and path.exists():
        path.rename(old)
    try:
        staging.rename(path)
    except BaseException as error:
        taken = path.exists()
        if old.exists() and not taken:
            old.rename(path)
        if taken and isinstance(error, OSError):
            raise ConflictError(
                f"{printable(str(path))} was created by another process meanwhile: choose another -o."
            ) from None
        raise
    sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)
    if os.path.lexists(old):
        note(f"the run that was replaced cannot be deleted: delete {old} yourself.")


def _tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save

    content: bytes = save(dict(tensors))
    return content


def unique_path(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3` ... that is free."""
    return next(candidate for candidate in numbered(path) if not candidate.exists())


def _json(value: Any, *, indent: int | None = None) -> bytes:
    return (json.dumps(value, indent=indent) + "\n").encode()
