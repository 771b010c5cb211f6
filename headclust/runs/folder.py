"""The run folder, the result of a fit. Format only, see docs/run-folder.md.

config.json         the resolved recipe, records of the feature files, versions; `fit --config` repeats it
model.safetensors   the fitted model
assignments.csv     sample_id,cluster,confidence: see assignments.py
history.jsonl       the training, one record per line
metrics.json        sizes, agreement, seconds; scores where labels are known
seen.safetensors    some of the fitted samples, to measure the novelty of others
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from headclust.disk import is_temporary, sync_folder, write_atomically, write_errors
from headclust.errors import ConflictError, DataError, FileFormatError
from headclust.filenames import numbered
from headclust.progress import printable
from headclust.runs.assignments import write_assignments
from headclust.runs.novelty import Seen
from headclust.scoring.metrics import METRICS

if TYPE_CHECKING:
    from headclust.model import ClusterModel

FORMAT = "headclust-run"
FORMAT_VERSION = 3
GROUPS_MARK = "headclust.json"  # marks the folder of `headclust run`
FILES = ("config.json", "metrics.json", "history.jsonl", "model.safetensors", "assignments.csv", "seen.safetensors")
_ADDED = ("predicted", "report.html")  # by other commands, which can make them again
_OF_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")  # written by file managers
_CONFIG = {"method": str, "preset": str, "seed": int, "settings": dict, "features": list}  # fields that are read again
_COUNTS, _SHARES = ("n_samples", "n_clusters", "clusters_used"), ("largest_share", "entropy")
_OPTIONAL = ("agreement", *METRICS, "accuracy_majority")  # metrics that may be missing


@dataclass(frozen=True)
class Run:
    """A run folder as read: its `config` and `metrics` as written, and the model, which is read on first use."""

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]

    def __repr__(self) -> str:
        method, n_samples = self.config["method"], self.metrics["n_samples"]
        return f"Run({str(self.path)!r}, method={method!r}, {n_samples} samples, n_clusters={self.n_clusters})"

    @property
    def n_clusters(self) -> int:
        """Number of clusters of the model, empty ones included."""
        return int(self.metrics["n_clusters"])

    @cached_property
    def model(self) -> ClusterModel:
        """The fitted model.

        Raises:
            FileFormatError: It is damaged, or does not belong to the run's spaces.
        """
        from safetensors.torch import load_file

        from headclust.model import ClusterModel

        name = printable(str(self.path))
        try:
            tensors = load_file(self.path / "model.safetensors")
        except (OSError, SafetensorError) as error:
            raise FileFormatError(f"{name}: model.safetensors cannot be read ({error}): fit again.") from None
        model, n_spaces = ClusterModel.from_tensors(tensors), len(self.config["features"])
        if len(model.transforms) != n_spaces:
            n_read = len(model.transforms)
            raise FileFormatError(f"{name}: its model has {n_read} spaces, its fit {n_spaces}: fit again.")
        return model


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise unless a run may be written at `path`; called before the fit.

    Raises:
        ConflictError: `path` exists: a run (without `overwrite`), a run with files of the user, or not a run.
        HeadclustError: The parent folder cannot be written.
    """
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if not path.exists():
        return
    name = printable(str(path))
    if not is_run(path):
        raise ConflictError(f"{name} exists and is not a run folder: choose another place with -o.")
    if not path.name:
        raise ConflictError(f"{printable(str(path))} has no folder name: name the run folder to make.")
    if not overwrite:
        raise ConflictError(f"{name} holds a run: choose another place with -o, or replace it with --overwrite.")
    _check_ours(path)


def _check_ours(path: Path) -> None:
    """Raise if a run folder holds files of the user, which would be removed with it."""
    with write_errors(path):
        names = sorted(file.name for file in path.iterdir() if not is_temporary(file))
    for name in names:
        if name not in (*FILES, *_ADDED, *_OF_SYSTEMS):
            raise ConflictError(
                f"{printable(str(path))} also holds {printable(name)}, which is not part of the run and would be "
                "deleted with it: move it elsewhere first, or choose another place with -o."
            )


def is_run(path: Path) -> bool:
    """True if `path` is a folder with the config.json of a run."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


def write_run(
    path: Path,
    *,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    model: ClusterModel,
    history: Iterable[Mapping[str, Any]],
    assignments: tuple[Sequence[str], NDArray[np.int64], NDArray[np.float32]],
    seen: Seen | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a run folder under another name and move it into place when complete; return its path.

    Args:
        path: The folder to make.
        config: Everything that `fit --config` needs to repeat the run.
        metrics: The contents of `metrics.json`.
        model: The fitted model.
        history: Records of the training.
        assignments: Sample ids, their clusters and confidences.
        seen: Fitted samples to compare others with, if any are stored.
        overwrite: Replace an existing run.

    Raises:
        ConflictError: `path` exists.
        HeadclustError: The folder cannot be written.
    """
    from safetensors.torch import save

    check_free(path, overwrite=overwrite)
    staging = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with write_errors(path):
            shutil.rmtree(staging, ignore_errors=True)  # of a killed process with the same id
            staging.mkdir(parents=True)
            contents = {"format": FORMAT, "format_version": FORMAT_VERSION, **config}
            write_atomically(staging / "config.json", _json(contents, indent=2))
            write_atomically(staging / "metrics.json", _json(metrics, indent=2))
            write_atomically(staging / "history.jsonl", b"".join(_json(record) for record in history))
            write_atomically(staging / "model.safetensors", save(model.tensors()))
            write_assignments(staging / "assignments.csv", *assignments)
            if seen is not None:
                write_atomically(staging / "seen.safetensors", save(seen.tensors()))
            sync_folder(staging)
            _move_into_place(staging, path, overwrite=overwrite)
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
    shutil.rmtree(old, ignore_errors=True)
    sync_folder(path.parent)


def find_run(path: Path) -> Path:
    """`path`; or the run folder inside it, if `path` is the folder of a `headclust run`."""
    is_groups = (path / GROUPS_MARK).is_file() and not is_run(path)
    return path / "run" if is_groups and is_run(path / "run") else path


def read_run(path: Path) -> Run:
    """The run in a folder, which `find_run` finds.

    Raises:
        DataError: The folder does not exist, or is not a run.
        FileFormatError: A file is missing, damaged or of another version.
    """
    name, path = printable(str(path)), find_run(path)
    if not is_run(path):
        problem = "not a run folder" if path.exists() else "no such folder"
        raise DataError(f"{name}: {problem}: expected one that headclust fit made.")
    config, metrics = _read_json(path / "config.json"), _read_json(path / "metrics.json")
    _check_config(path / "config.json", config)
    _check_metrics(path / "metrics.json", metrics)
    try:
        with safe_open(path / "model.safetensors", framework="numpy"):  # checks the header and the size of the file
            pass
    except (OSError, SafetensorError) as error:
        raise FileFormatError(f"{name}: model.safetensors cannot be read ({error}): fit again.") from None
    return Run(path, config, metrics)


def read_seen(run: Run) -> Seen | None:
    """The fitted samples that a run stores to compare others with; None if it stores none.

    Raises:
        FileFormatError: They cannot be read, or do not belong to the run's spaces.
    """
    from safetensors.torch import load_file

    path = run.path / "seen.safetensors"
    if not path.exists():
        return None
    try:
        spaces = run.config["features"]
        dims = [space["feature_dim"] for space in spaces]
        return Seen.from_tensors(load_file(path), dims, spaces[0]["n_samples"])
    except (OSError, KeyError, SafetensorError, FileFormatError) as error:
        raise FileFormatError(f"{printable(str(path))} cannot be read ({error}): fit again.") from None


def read_config(path: Path) -> dict[str, Any]:
    """The configuration that `fit --config` repeats, from a config.json or the run folder that holds one.

    Raises:
        DataError: The file does not exist, or is not a run's config.json.
        FileFormatError: It cannot be read.
    """
    file = find_run(path) / "config.json" if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{printable(str(file))}: no such file: expected a run's config.json.")
    config = _read_json(file)
    if config.get("format") != FORMAT:
        raise DataError(f"{printable(str(file))} is not a run's config.json: its format is {config.get('format')!r}.")
    _check_config(file, config)
    return config


def _check_config(file: Path, config: Mapping[str, Any]) -> None:
    name = printable(str(file))
    if config.get("format_version") != FORMAT_VERSION:
        version = config.get("format_version")
        raise FileFormatError(f"{name}: its format version is {version!r}, expected {FORMAT_VERSION}: fit again.")
    for key, kind in _CONFIG.items():
        if type(config.get(key)) is not kind or config[key] == []:
            raise FileFormatError(f"{name}: its {key} is {config.get(key)!r}: restore it from a copy, or fit again.")
    for space in config["features"]:
        if not (isinstance(space, dict) and isinstance(space.get("path"), str) and "sha256" in space):
            raise FileFormatError(f"{name}: its features hold {space!r}: restore it from a copy, or fit again.")


def _check_metrics(file: Path, metrics: Mapping[str, Any]) -> None:
    present = [name for name in _OPTIONAL if name in metrics and (name, metrics[name]) != ("agreement", None)]
    wrong = [name for name in _COUNTS if type(metrics.get(name)) is not int or metrics[name] < 1]
    wrong += [name for name in (*_SHARES, *present) if type(metrics.get(name)) not in (int, float)]
    if wrong:
        value = printable(repr(metrics.get(wrong[0])))[:50]
        raise FileFormatError(
            f"{printable(str(file))}: its {wrong[0]} is {value}: restore it from a copy, or fit again."
        )


def unique_path(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3` ... that is free."""
    return next(candidate for candidate in numbered(path) if not candidate.exists())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{printable(str(path))} cannot be read ({error}): fit again.") from None
    if not isinstance(content, dict):
        raise FileFormatError(f"{printable(str(path))} does not hold a JSON object: fit again.")
    return content


def _json(value: Any, *, indent: int | None = None) -> bytes:
    return (json.dumps(value, indent=indent) + "\n").encode()
