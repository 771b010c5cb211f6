"""One cell of a table: what determines it, how it is made, and what its line in the results file says."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headclust.backbones.catalog import CATALOG
from headclust.device import description
from headclust.features import Features
from headclust.graph.neighbors import cached_neighbors, is_cached
from headclust.methods import METHODS, configure, find_preset, settings
from headclust.model.heads import HEADS
from headclust.runs.scored_fit import ScoredFit, check_neighbors, fit_and_score, with_clusters
from headclust.scoring.probes import probe
from headclust.training.objectives import OBJECTIVES
from headclust.training.stages import Stage
from headclust.versions import versions
from study.digest import code_digest, libraries_of
from study.oracles import best_checkpoint, best_head
from study.plan import Cell
from study.results import ASSIGNMENTS, FORMAT, VERSION

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "faiss-cpu")
# Matter to what imports them, by the name they are imported as.
_EXTRAS = {"igraph": "igraph", "leidenalg": "leidenalg"}
_INERTIA = ("kmeans", "spectral")  # whose restarts are those of k-means
Recipe = tuple[Any, ...]


@dataclass(frozen=True)
class Pair:
    """The features of a place, and where they are computed on.

    Attributes:
        fit: What is fitted.
        evaluation: What is scored.
        device: Where fits run.
    """

    fit: Features
    evaluation: Features
    device: torch.device


def recipe_of(cell: Cell, features: Features) -> Recipe:
    """The whole recipe of a fit, its number of clusters that of the labelled classes.

    Raises:
        SettingError: A setting is not possible.
    """
    _, recipe = find_preset(cell.method, cell.preset)
    check_neighbors(cell.settings, features)
    return with_clusters(configure(recipe, cell.settings), features)


def key_of(cell: Cell, pair: Pair, recipe: Recipe) -> str:
    """SHA-256 over everything that determines a cell, whatever it is called.

    That is the method and its whole recipe, the seed, both features, the versions of the libraries that compute, the
    device and its threads, and our own code as `digest` sees it. The versions of Python and of this package are no part
    of it: they change no number that the others do not.
    """
    made_with = _versions(cell)
    libraries = {name: made_with[name] for name in made_with if name not in ("python", "headclust")}
    determined = {
        "kind": cell.kind,
        "method": cell.method,
        "recipe": [[setting.name, setting.value] for setting in settings(recipe)],
        "seed": cell.seed,
        "features": [pair.fit.sha256, pair.evaluation.sha256],
        "versions": libraries,
        "code": code_of(cell),
        **description(pair.device),
    }
    text = json.dumps(determined, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def code_of(cell: Cell) -> str:
    """The digest of the code that makes a cell."""
    return code_digest(_modules(cell))


def _modules(cell: Cell) -> tuple[str, ...]:
    """Where the code that makes a cell begins."""
    if cell.kind == "probes":
        return ("headclust.scoring.probes",)
    return _modules_of(cell.method, cell.preset, tuple(sorted(cell.settings.items())))


@cache
def _modules_of(method: str, preset: str, changes: tuple[tuple[str, Any], ...]) -> tuple[str, ...]:
    _, recipe = find_preset(method, preset)
    recipe = configure(recipe, dict(changes))
    chosen = [METHODS[method], *map(type, recipe)]
    chosen += [OBJECTIVES[stage.objective] for stage in recipe if hasattr(stage, "objective")]
    chosen += [HEADS[stage.head] for stage in recipe if hasattr(stage, "head")]
    return ("headclust.runs.scored_fit", *(part.__module__ for part in chosen))


def _versions(cell: Cell) -> dict[str, str]:
    """Versions of what a cell is computed with."""
    seen = libraries_of(_modules(cell))
    return versions([*_LIBRARIES, *(name for imported, name in _EXTRAS.items() if imported in seen)])


def identity(cell: Cell) -> dict[str, Any]:
    """What a line says of a cell before anything is computed."""
    entry = CATALOG.get(cell.fit.backbone)
    line: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "kind": cell.kind,
        "id": cell.id,
        "study": cell.study,
        "backbone": cell.fit.backbone,
        "dataset": cell.fit.dataset.name,
        "fit_split": cell.fit.split,
        "eval_split": cell.evaluation.split,
        "text_supervised": entry.text_supervised if entry else None,
        "imagenet_labels": entry.imagenet_labels if entry else None,
        "preprocessing": cell.fit.preprocessing or None,
    }
    if cell.kind == "fit":
        line |= {"method": cell.method, "preset": cell.preset, "seed": cell.seed, "settings": dict(cell.settings)}
        line |= {"role": "ablation" if cell.curve else "main", "curve": cell.curve or None}
        line["value"] = cell.settings[cell.curve] if cell.curve else None
    return line


def failed(cell: Cell, key: str | None, error: str) -> dict[str, Any]:
    """The line of a cell that could not be made."""
    return {**identity(cell), "status": "failed", "key": key, "error": error}


def make_probes(cell: Cell, pair: Pair, key: str) -> dict[str, Any]:
    """The line of what the features hold, measured with labels."""
    start = time.perf_counter()
    scores = probe(pair.fit, pair.evaluation)
    seconds = {"probes": round(time.perf_counter() - start, 3)}
    return {**_told(cell, pair, key), "scores": scores, "seconds": seconds}


def make_fit(cell: Cell, pair: Pair, key: str, recipe: Recipe) -> tuple[dict[str, Any], bytes]:
    """Fits and scores; the line, and the file with the assignments it names.

    Raises:
        HeadclustError: Anything that the method says of the features or settings.
    """
    searching = _search(pair, recipe)
    trial = fit_and_score((pair.fit,), cell.method, recipe, cell.seed, device=pair.device, tests=(pair.evaluation,))
    report = dict(trial.report)
    scores, seconds = dict(report.pop("eval")), report.pop("seconds")
    scores.pop("seconds")
    line = {
        **_told(cell, pair, key),
        "n_clusters": report["n_clusters"],
        "head_choice": _head_choice(cell.method, recipe, trial),
        "scores": scores,
        "fit_scores": report,
        "oracle": best_checkpoint(trial, pair.evaluation),
        "oracle_head": best_head(trial, pair.evaluation),
        "seconds": {"neighbors": searching, "fit": seconds},
        "steps": _steps(recipe, trial.result.history, seconds),
        "load": _load(),
        "assignments": f"{ASSIGNMENTS}/{key}.npz",
    }
    return line, _assignments(trial, pair)


def _told(cell: Cell, pair: Pair, key: str) -> dict[str, Any]:
    """What both kinds of lines say when done."""
    said = pair.fit.attributes
    size = said.get("preprocessing", {}).get("input_size")
    known = pair.evaluation.labels
    return {
        **identity(cell),
        "status": "done",
        "key": key,
        "error": None,
        "feature_point": said.get("feature_point"),
        "resolution": size[0] if size else None,
        "feature_dim": pair.fit.feature_dim,
        "n_views": pair.fit.n_views,
        "fit_samples": pair.fit.n_samples,
        "eval_samples": pair.evaluation.n_samples,
        "n_classes": len(np.unique(known[known >= 0])) if known is not None else None,
        "features": {
            "fit": {"path": cell.fit.file, "sha256": pair.fit.sha256},
            "eval": {"path": cell.evaluation.file, "sha256": pair.evaluation.sha256},
        },
        "versions": _versions(cell),
        **description(pair.device),
    }


def _search(pair: Pair, recipe: Recipe) -> float | None:
    """Seconds of the neighbor searches a recipe still needs; None without any, or where all were kept from before."""
    listed = settings(recipe)
    numbers = {setting.value for setting in listed if setting.name.rpartition(".")[2] == "n_neighbors"}
    wanted = {min(k, pair.fit.n_samples - 1) for k in numbers}
    # The longest first: shorter lists may be its beginning.
    missing = sorted((k for k in wanted if not is_cached(pair.fit, k)), reverse=True)
    if not missing:
        return None
    pair.fit.rows([0])  # reading the file is no part of it
    start = time.perf_counter()
    for k in missing:
        cached_neighbors(pair.fit, k, device=pair.device)
    return round(time.perf_counter() - start, 3)


def _load() -> float | None:
    """What else the machine does: processes that run or wait to, averaged over a minute."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _head_choice(method: str, recipe: Recipe, trial: ScoredFit) -> str:
    if len(trial.result.losses) < 2:
        return "the only one"
    choose_by = {setting.name: setting.value for setting in settings(recipe)}.get("choose_by", "loss")
    if choose_by == "consensus":
        return "the mean of all heads"
    if choose_by != "loss":
        return f"best {choose_by} score"
    if not isinstance(recipe[0], Stage):
        return "lowest inertia" if method in _INERTIA else "lowest loss of the restarts"
    return "lowest training loss" if len(recipe) == 1 else "lowest training loss of the first stage"


def _steps(recipe: Recipe, history: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any] | None:
    """Steps of all stages together; None for methods that count none."""
    last = {record.get("stage"): record for record in history if "n_steps" in record}
    if not last:
        return None
    reached = sum(record["step"] for record in last.values())
    planned = sum(record["n_steps"] for record in last.values())
    limits = [one.value for one in settings(recipe) if one.name.rpartition(".")[2] == "max_seconds" and one.value]
    capped = reached < planned and bool(limits) and seconds >= min(limits)
    return {"reached": reached, "planned": planned, "capped": capped}


def _assignments(trial: ScoredFit, pair: Pair) -> bytes:
    """Clusters and labels, fitted and scored, as a compressed .npz file."""
    assert trial.test is not None
    arrays: dict[str, NDArray[Any]] = {
        "fit": _compact(trial.result.assignments),
        "eval": _compact(trial.test.clusters),
        "class_names": np.array(pair.evaluation.class_names, dtype=np.str_),
    }
    for name, features in (("fit_labels", pair.fit), ("eval_labels", pair.evaluation)):
        unknown = np.full(features.n_samples, -1, np.int64)
        arrays[name] = (features.labels if features.labels is not None else unknown).astype(np.int32)
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _compact(clusters: NDArray[np.int64]) -> NDArray[Any]:
    return clusters.astype(np.min_scalar_type(int(clusters.max(initial=0))))
