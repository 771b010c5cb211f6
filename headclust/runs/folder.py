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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from headclust.disk import is_temporary, real_place, sync_folder, write_atomically, write_errors
from headclust.errors import ConflictError, FileFormatError, one_line
from headclust.filenames import numbered
from headclust.progress import note, printable
from headclust.runs.assignments import Assignments, read_assignments, write_assignments
from headclust.runs.checksums import CHECKSUMS, FILES, check_file, checksum_lines, read_checksums, read_regular
from headclust.runs.fixes import FIXES, Fix, append_fixes, read_fixes
from headclust.runs.levels import LEVELS, Levels, levels_bytes, read_levels
from headclust.runs.names import NAMES
from headclust.runs.record import FORMAT, FORMAT_VERSION, Record, is_run, parse_json, read_record

if TYPE_CHECKING:  # PyTorch is loaded where a model is read or written, so that commands without one start quickly
    from torch import Tensor

    from headclust.model import ClusterModel
    from headclust.runs.novelty import Seen

_ADDED = ("added.csv", "predicted", "report.html", NAMES)  # by other commands, which can make them again
_OF_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")  # written by file managers


@dataclass(frozen=True, repr=False)
class Run(Record):
    """A run folder as read: its `config` and `metrics` as written, and the model, which is read on first use."""

    @cached_property
    def model(self) -> ClusterModel:
        """The fitted model.

        Raises:
            FileFormatError: It is damaged or changed since the fit, or does not belong to the run's spaces.
        """
        from headclust.model import ClusterModel

        file = self.path / "model.safetensors"
        tensors = _read_tensors(file)
        try:
            model = ClusterModel.from_tensors(tensors)
            model.check_fits([space["feature_dim"] for space in self.config["features"]], self.n_clusters)
        except FileFormatError as error:
            raise FileFormatError(f"{printable(str(file))}: {error}") from None
        return model


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


def read_run(path: Path) -> Run:
    """The run in a folder, which `find_run` finds; of its model, which is read on first use, the file is checked.

    Raises:
        DataError: The folder does not exist, or is not a run.
        FileFormatError: A file is missing, damaged, changed since the fit, or of another version.
    """
    record = read_record(path)
    file = record.path / "model.safetensors"
    check_file(file)
    try:
        with safe_open(file, framework="numpy"):  # checks the header and the size of the file
            pass
    except Exception as error:  # the library's own error, and others on malformed headers
        raise _unreadable(file, error) from None
    return Run(record.path, record.config, record.metrics)


def read_assigned(run: Record) -> Assignments:
    """The rows of a run's assignments.csv.

    Raises:
        FileFormatError: The file is missing, damaged or changed since the fit, or does not belong to the run.
    """
    path = run.path / "assignments.csv"
    check_file(path)
    assigned = read_assignments(path)
    n_rows, largest = len(assigned.clusters), int(assigned.clusters.max(initial=0))
    if n_rows != run.n_samples or largest >= run.n_clusters:
        content = f"{n_rows} samples" if n_rows != run.n_samples else f"cluster {largest}"
        raise FileFormatError(
            f"{printable(str(path))} holds {content}, expected {run.n_samples} samples in clusters 0 to "
            f"{run.n_clusters - 1}: restore it from a copy, or fit again."
        )
    return assigned


def read_seen(run: Record) -> Seen | None:
    """The fitted samples that a run stores to compare others with; None if it stores none.

    Raises:
        FileFormatError: They are damaged or changed since the fit, or do not belong to the run's spaces.
    """
    from headclust.runs.novelty import Seen

    path = run.path / "seen.safetensors"
    check_file(path)
    if not path.exists():
        return None
    tensors = _read_tensors(path)
    try:
        return Seen.from_tensors(tensors, [space["feature_dim"] for space in run.config["features"]], run.n_samples)
    except FileFormatError as error:
        raise FileFormatError(f"{printable(str(path))} cannot be read ({error})") from None


def verify_run(path: Path) -> list[str]:
    """Problems of a run folder, one line each; empty if every file is as it was written.

    A run without checksums, of an older version, is checked for contents that are not possible only.

    Raises:
        DataError: The folder does not exist, or is not a run.
    """
    problems: list[str] = []
    try:
        record = read_record(path)
    except FileFormatError as error:
        return [str(error)]
    run = Run(record.path, record.config, record.metrics)
    checks: tuple[Callable[[Run], object], ...] = (
        lambda run: run.model,
        read_assigned,
        read_seen,
        read_levels,
        _check_history,
    )
    for check in checks:
        try:
            check(run)
        except FileFormatError as error:
            problems.append(str(error))
    return problems


def _check_history(run: Record) -> None:
    """Raise if history.jsonl has changed, or without checksums if a line is no JSON object."""
    path = run.path / "history.jsonl"
    check_file(path)
    if read_checksums(run.path):
        return
    for line in read_regular(path).splitlines():
        parse_json(path, line)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a file of a run; its checksum is compared first.

    Raises:
        FileFormatError: It is missing, damaged or changed since the fit.
    """
    from safetensors.torch import load_file

    check_file(path)
    try:
        return dict(load_file(path))
    except Exception as error:  # as in `read_run`
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> FileFormatError:
    return FileFormatError(f"{printable(str(path))} cannot be read ({printable(one_line(error))}): fit again.")


def _tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save

    content: bytes = save(dict(tensors))
    return content


def unique_path(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3` ... that is free."""
    return next(candidate for candidate in numbered(path) if not candidate.exists())


def _json(value: Any, *, indent: int | None = None) -> bytes:
    return (json.dumps(value, indent=indent) + "\n").encode()
