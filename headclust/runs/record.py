"""config.json and metrics.json of a run, checked when they are read; neither PyTorch nor a method is loaded for it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from headclust.choices import Method
from headclust.errors import FINITE, DataError, FileFormatError
from headclust.progress import printable
from headclust.runs.checksums import CHECKSUMS, check_file, read_checksums, read_regular

FORMAT = "headclust-run"
FORMAT_VERSION = 4
_WITHOUT_CHECKSUMS = 3  # the only older version that is read
GROUPS_MARK = "headclust.json"  # marks the folder of `headclust run`
_NEXT_STEP = "restore it from a copy, or fit again"
_ROUNDING = 1e-6
# Fields of config.json that are read again, and of each of its features; the optional ones may be missing.
_CONFIG = {"method": str, "preset": str, "seed": int, "settings": dict, "features": list}
_OPTIONAL_CONFIG = {
    "versions": dict,
    "device": str,
    "threads": int,
    "tf32": str,
    "processes": int,
    "fixes": str,
    "like": str,
}
_SPACE = {"path": str, "sha256": str, "n_samples": int, "feature_dim": int}
_OPTIONAL_SPACE = {
    **dict.fromkeys(("dataset", "split", "source", "backbone", "dtype", "precision", "feature_point"), str),
    **dict.fromkeys(("weights_origin", "weights_sha256"), str),
    "batch_size": int,
}
# Ranges of metrics; those in _OPTIONAL_METRICS may be missing, and agreement may be null.
_COUNTS, _SHARES = ("n_samples", "n_clusters", "clusters_used"), ("largest_share", "entropy")
_OPTIONAL_METRICS = {
    "agreement": (0, 1),
    "seconds": (0, FINITE),
    **dict.fromkeys(("accuracy", "nmi", "accuracy_majority", "neighbor_recall"), (0, 1)),
    **dict.fromkeys(("ami", "ari"), (-1, 1)),
}


@dataclass(frozen=True)
class Record:
    """The `config` and `metrics` of a run as written, and the `path` of its folder."""

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]

    def __repr__(self) -> str:
        name, method = type(self).__name__, self.config["method"]
        return f"{name}({str(self.path)!r}, method={method!r}, {self.n_samples} samples, n_clusters={self.n_clusters})"

    @property
    def n_samples(self) -> int:
        """Number of fitted samples."""
        return int(self.metrics["n_samples"])

    @property
    def n_clusters(self) -> int:
        """Number of clusters of the model, used or not."""
        return int(self.metrics["n_clusters"])


def is_run(path: Path) -> bool:
    """True if `path` is a folder with the config.json of a run, or with its checksums if config.json is damaged."""
    file = path / "config.json"
    try:
        return parse_json(file, read_regular(file)).get("format") == FORMAT
    except FileFormatError:
        pass
    try:
        return file.exists() and read_checksums(path) is not None
    except (FileFormatError, OSError):
        return False


def is_groups(path: Path) -> bool:
    """True if `path` is the folder of a `headclust run`; a run is itself, whatever lies in it."""
    return (path / GROUPS_MARK).is_file() and not is_run(path)


def find_run(path: Path) -> Path:
    """`path`; or the run folder inside it, if `path` is the folder of a `headclust run`."""
    return path / "run" if is_groups(path) else path


def read_record(path: Path) -> Record:
    """The configuration and metrics of the run in a folder, which `find_run` finds.

    Raises:
        DataError: The folder does not exist, or is not a run.
        FileFormatError: A file is missing, damaged, changed since the fit, or of another version.
    """
    name, folder = printable(str(path)), find_run(path)
    if folder != path and not folder.exists():
        raise DataError(f"{name} holds no run yet: repeat the headclust run that made it.")
    if not (folder / "config.json").exists():
        problem = "not a run folder" if folder.exists() else "no such folder"
        raise DataError(f"{name}: {problem}: expected one that headclust fit made.")
    config, file = read_config(folder), folder / "metrics.json"
    if config["format_version"] > _WITHOUT_CHECKSUMS and read_checksums(folder) is None:
        raise FileFormatError(f"{printable(str(folder / CHECKSUMS))} is missing: {_NEXT_STEP}.")
    check_file(file)
    metrics = parse_json(file, read_regular(file))
    n_samples = config["features"][0]["n_samples"]
    _check_metrics(file, metrics, n_samples)
    if "eval" in metrics:
        _check_metrics(file, metrics["eval"], None)
    return Record(folder, config, metrics)


def read_config(path: Path) -> dict[str, Any]:
    """The configuration that `fit --config` repeats, from a config.json or the run folder that holds one.

    Raises:
        DataError: The file does not exist, or is not a run's config.json.
        FileFormatError: It cannot be read, is of another version, or has changed since the fit in its run folder.
    """
    file = find_run(path) / "config.json" if path.is_dir() else path
    name = printable(str(file))
    if not file.exists():
        raise DataError(f"{name}: no such file: expected a run's config.json.")
    config = parse_json(file, read_regular(file))
    if config.get("format") != FORMAT:
        raise DataError(f"{name} is not a run's config.json: its format is {_shown(config.get('format'))}.")
    _check_version(name, config.get("format_version"))
    if file.name == "config.json":
        check_file(file)
    _check_config(name, config)
    return config


def parse_json(file: Path, content: bytes) -> dict[str, Any]:
    """The JSON object in `content`, with every key once and finite numbers only.

    Raises:
        FileFormatError: It is something else; the message names `file`.
    """
    try:
        value = json.loads(content.decode(), parse_constant=_finite, parse_float=_finite, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        reason = printable(str(error).partition("\n")[0])[:100]
        raise FileFormatError(f"{printable(str(file))} cannot be read ({reason}): {_NEXT_STEP}.") from None
    if not isinstance(value, dict):
        raise FileFormatError(f"{printable(str(file))} does not hold a JSON object: {_NEXT_STEP}.")
    return value


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key appears twice")
    return values


def _check_version(name: str, version: Any) -> None:
    if type(version) is int and version > FORMAT_VERSION:
        raise FileFormatError(
            f"{name} was made by a newer version of headclust (format version {_shown(version)}, this one reads up to "
            f"{FORMAT_VERSION}): upgrade headclust."
        )
    if type(version) is not int or version < _WITHOUT_CHECKSUMS:
        raise FileFormatError(
            f"{name}: its format version is {_shown(version)}, expected {_WITHOUT_CHECKSUMS} or {FORMAT_VERSION}: "
            "fit again."
        )


def _check_config(name: str, config: Mapping[str, Any]) -> None:
    _check_types(name, "", config, _CONFIG, _OPTIONAL_CONFIG)
    if config["method"] not in get_args(Method):
        raise FileFormatError(
            f"{name}: its method is {_shown(config['method'])}, which this version of headclust does not have: "
            "upgrade headclust, or restore the file from a copy."
        )
    for setting, value in config["settings"].items():
        if type(value) not in (bool, int, float, str):
            raise _wrong(name, f"setting {printable(setting)[:50]}", value)
    if not config["features"]:
        raise _wrong(name, "features", [])
    for space in config["features"]:
        if not isinstance(space, dict):
            raise _wrong(name, "features", space)
        _check_types(name, "features: ", space, _SPACE, _OPTIONAL_SPACE)
        for key in ("n_samples", "feature_dim"):
            if space[key] < 1 or (key == "n_samples" and space[key] != config["features"][0][key]):
                raise _wrong(name, f"features: {key}", space[key])


def _check_types(
    name: str, where: str, values: Mapping[str, Any], types: Mapping[str, type], optional: Mapping[str, type]
) -> None:
    for key, kind in {**types, **optional}.items():
        if (key in types or key in values) and type(values.get(key)) is not kind:
            raise _wrong(name, where + key, values.get(key))


def _check_metrics(file: Path, metrics: Any, n_samples: int | None) -> None:
    """Raise unless metrics are in their ranges, of `n_samples` samples."""
    name = printable(str(file))
    if not isinstance(metrics, dict):
        raise _wrong(name, "eval", metrics)
    for key in _COUNTS:
        if type(metrics.get(key)) is not int or metrics[key] < 1:
            raise _wrong(name, key, metrics.get(key))
    samples, clusters, used = (metrics[key] for key in _COUNTS)
    if n_samples is not None and samples != n_samples:
        raise _wrong(name, "n_samples", samples)
    if n_samples is not None and clusters > n_samples:
        raise _wrong(name, "n_clusters", clusters)
    if used > min(clusters, samples):
        raise _wrong(name, "clusters_used", used)
    ranges = {**dict.fromkeys(_SHARES, (0, 1)), **_OPTIONAL_METRICS}
    for key, (least, greatest) in ranges.items():
        value = metrics.get(key)
        if (key in _OPTIONAL_METRICS and key not in metrics) or (key == "agreement" and value is None):
            continue
        if (
            not isinstance(value, int | float)
            or type(value) is bool
            or not least - _ROUNDING <= value <= greatest + _ROUNDING
        ):
            raise _wrong(name, key, value)


def _wrong(name: str, key: str, value: Any) -> FileFormatError:
    return FileFormatError(f"{name}: its {key} is {_shown(value)}: {_NEXT_STEP}.")


def _shown(value: Any) -> str:
    """A value in at most 50 printable characters."""
    try:
        return printable(repr(value))[:50]
    except (ValueError, RecursionError):  # a whole number of more than 4,300 digits, or deep nesting
        return f"a {type(value).__name__}"
