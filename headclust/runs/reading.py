"""Reading a run folder: its model, assignments and fitted samples, each file checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from headclust.errors import FileFormatError, one_line
from headclust.progress import printable
from headclust.runs.assignments import Assignments, read_assignments
from headclust.runs.checksums import check_file, read_checksums, read_regular
from headclust.runs.levels import read_levels
from headclust.runs.record import Record, parse_json, read_record

if TYPE_CHECKING:  # PyTorch is loaded where a model is read, so that commands without one start quickly
    from torch import Tensor

    from headclust.model import ClusterModel
    from headclust.runs.novelty import Seen


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
