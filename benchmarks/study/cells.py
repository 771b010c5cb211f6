"""One cell of a table: its key, its computation, and its line in the results file."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from headclust.backbones.catalog import CATALOG
from headclust.device import description
from headclust.features import Features
from headclust.graph.cached import cached_neighbors, is_cached
from headclust.methods import METHODS, Recipe
from headclust.model.heads import HEADS
from headclust.runs.scored_fit import ScoredFit, fit_and_score
from headclust.scoring.probes import probe
from headclust.training.objectives import OBJECTIVES
from headclust.training.stages import Stage
from headclust.versions import versions
from study.digest import code_digest, libraries_of
from study.oracles import best_checkpoint, best_head
from study.plan import Cell, preset_of
from study.results import ASSIGNMENTS
from study.schema import FORMAT, VERSION

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "faiss-cpu")
_EXTRAS = {"igraph": "igraph", "leidenalg": "leidenalg", "umap": "umap-learn"}  # only for cells whose code imports them
_INERTIA = ("kmeans", "spectral")  # methods with restarts of k-means


@dataclass(frozen=True)
class Pair:
    """The features of a place that are fitted and scored, and the device of the fits."""

    fit: Features
    evaluation: Features
    device: torch.device


def recipe_of(cell: Cell, features: Features) -> Recipe:
    """The recipe of a fit, with as many clusters as labeled classes; raise SettingError if it is not possible."""
    return preset_of(cell).changed(cell.settings).for_features(features)


def key_of(cell: Cell, pair: Pair, recipe: Recipe | None) -> str:
    """SHA-256 in hex over everything that a cell depends on; not over its name.

    That is the method and all values of its recipe, the seed, both features, the versions of the libraries that
    compute, the device and its threads, and our own code by `digest`. The versions of Python and of this package are
    left out, because they alone change no number.
    """
    libraries = _versions(cell)
    determined = {
        "kind": cell.kind,
        "method": cell.method,
        "recipe": recipe.values if recipe else {},
        "seed": cell.seed,
        "features": [pair.fit.sha256, pair.evaluation.sha256],
        "versions": {name: libraries[name] for name in libraries if name not in ("python", "headclust")},
        "code": code_of(cell),
        **description(pair.device),
    }
    text = json.dumps(determined, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def code_of(cell: Cell) -> str:
    """The digest of the code that makes a cell."""
    return code_digest(_modules(cell))


def _modules(cell: Cell) -> tuple[str, ...]:
    """The modules in which the code of a cell begins; of the registries it uses what its recipe chooses."""
    if cell.kind == "probes":
        return (probe.__module__,)
    return _modules_of_fit(cell.method, cell.preset, tuple(sorted(cell.settings.items())))


@cache
def _modules_of_fit(method: str, preset: str, settings: tuple[tuple[str, Any], ...]) -> tuple[str, ...]:
    stages = Recipe.of(method, preset).changed(dict(settings)).stages
    chosen = [fit_and_score, METHODS[method], *map(type, stages)]
    for stage in stages:
        chosen += [OBJECTIVES[stage.objective], HEADS[stage.head]] if isinstance(stage, Stage) else []
    return tuple(part.__module__ for part in chosen)


def _versions(cell: Cell) -> dict[str, str]:
    return versions([*_LIBRARIES, *(_EXTRAS[name] for name in sorted(_EXTRAS.keys() & libraries_of(_modules(cell))))])


def identity(cell: Cell) -> dict[str, Any]:
    """The fields of a line that are known before anything is computed."""
    entry = CATALOG.get(cell.fit.backbone)
    line: dict[str, Any] = {"format": FORMAT, "version": VERSION, "kind": cell.kind, "id": cell.id, "study": cell.study}
    line |= {"backbone": cell.fit.backbone, "dataset": cell.fit.dataset.name}
    line |= {"fit_split": cell.fit.split, "eval_split": cell.evaluation.split}
    line |= {name: getattr(entry, name, None) for name in ("text_supervised", "imagenet_labels")}
    line["preprocessing"] = cell.fit.preprocessing or None
    if cell.kind == "fit":
        line |= {"method": cell.method, "preset": cell.preset, "seed": cell.seed, "settings": dict(cell.settings)}
        line |= {"role": "ablation" if cell.curve else "main", "curve": cell.curve or None}
        line["value"] = cell.settings[cell.curve] if cell.curve else None
    return line


def failed(cell: Cell, key: str | None, error: str) -> dict[str, Any]:
    """The line of a cell that could not be made."""
    return {**identity(cell), "status": "failed", "key": key, "error": error}


def make_probes(cell: Cell, pair: Pair, key: str) -> dict[str, Any]:
    """The line of the probes of two feature files, which use their labels."""
    start = time.perf_counter()
    scores = probe(pair.fit, pair.evaluation, device=pair.device)
    return {**_done(cell, pair, key), "scores": scores, "seconds": {"probes": _since(start)}}


def make_fit(cell: Cell, pair: Pair, key: str, recipe: Recipe) -> tuple[dict[str, Any], bytes]:
    """Fit and score; return the line, and the content of the file with the assignments that it names."""
    searching = _search(pair, recipe)
    scored = fit_and_score((pair.fit,), recipe, cell.seed, device=pair.device, tests=(pair.evaluation,))
    report = dict(scored.report)
    scores, seconds = dict(report.pop("eval")), report.pop("seconds")
    scores.pop("seconds")
    line = {
        **_done(cell, pair, key),
        "n_clusters": report["n_clusters"],
        "head_choice": _head_choice(recipe, scored),
        "scores": scores,
        "fit_scores": report,
        "oracle": best_checkpoint(scored, pair.evaluation, pair.device),
        "oracle_head": best_head(scored, pair.evaluation, pair.device),
        "seconds": {"neighbors": searching, "fit": seconds},
        "steps": _steps(recipe, scored.result.history, seconds),
        "load": _load(),
        "assignments": f"{ASSIGNMENTS}/{key}.npz",
    }
    return line, _assignments(scored, pair)


def _done(cell: Cell, pair: Pair, key: str) -> dict[str, Any]:
    """The fields that a finished fit and finished probes share."""
    recorded, labels = pair.fit.attributes, pair.evaluation.labels
    line = {**identity(cell), "status": "done", "key": key, "error": None}
    line["feature_point"] = recorded.get("feature_point")
    line["resolution"] = (recorded.get("preprocessing", {}).get("input_size") or [None])[0]
    line |= {"feature_dim": pair.fit.feature_dim, "n_views": pair.fit.n_views}
    line |= {"fit_samples": pair.fit.n_samples, "eval_samples": pair.evaluation.n_samples}
    line["n_classes"] = len(np.unique(labels[labels >= 0])) if labels is not None else None
    files = ("fit", cell.fit, pair.fit), ("eval", cell.evaluation, pair.evaluation)
    line["features"] = {name: {"path": spec.file, "sha256": features.sha256} for name, spec, features in files}
    return {**line, "versions": _versions(cell), **description(pair.device)}


def _search(pair: Pair, recipe: Recipe) -> float | None:
    """Seconds of the neighbor searches of a recipe; None if it has none, or all are cached."""
    numbers = {min(k, pair.fit.n_samples - 1) for k in _in_all_stages(recipe, "n_neighbors")}
    # The longest first, because shorter lists may be its beginning.
    missing = sorted((k for k in numbers if not is_cached(pair.fit, k)), reverse=True)
    if not missing:
        return None
    pair.fit.rows([0])  # so that the time does not include reading the file
    start = time.perf_counter()
    for k in missing:
        cached_neighbors(pair.fit, k, device=pair.device)
    return _since(start)


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 3)


def _in_all_stages(recipe: Recipe, name: str) -> set[Any]:
    """The values that the stages of a recipe have for a setting."""
    return {value for setting, value in recipe.values.items() if setting.rpartition(".")[2] == name}


def _load() -> float | None:
    """Processes that run or wait to run, averaged over a minute; None if the system does not count them."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _head_choice(recipe: Recipe, scored: ScoredFit) -> str:
    if len(scored.result.losses) < 2:
        return "the only one"
    choose_by = recipe.values.get("choose_by", "loss")
    if choose_by != "loss":
        return "the mean of all heads" if choose_by == "consensus" else f"best {choose_by} score"
    if not isinstance(recipe.stages[0], Stage):
        return "lowest inertia" if recipe.method in _INERTIA else "lowest loss of the restarts"
    return "lowest training loss" if len(recipe.stages) == 1 else "lowest training loss of the first stage"


def _steps(recipe: Recipe, history: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any] | None:
    """Steps of all stages together; None for methods without steps."""
    last = {record.get("stage"): record for record in history if "n_steps" in record}
    if not last:
        return None
    reached, planned = (sum(record[name] for record in last.values()) for name in ("step", "n_steps"))
    limits = _in_all_stages(recipe, "max_seconds") - {0}
    return {
        "reached": reached,
        "planned": planned,
        "capped": reached < planned and seconds >= min(limits, default=math.inf),
    }


def _assignments(scored: ScoredFit, pair: Pair) -> bytes:
    """Clusters and labels of the fitted and of the scored samples, as a compressed .npz file."""
    assert scored.test is not None
    arrays: dict[str, Any] = {"class_names": np.array(pair.evaluation.class_names, dtype=np.str_)}
    parts = (("fit", pair.fit, scored.result.assignments), ("eval", pair.evaluation, scored.test.clusters))
    for name, features, clusters in parts:
        labels = features.labels if features.labels is not None else np.full(features.n_samples, -1)
        arrays[name] = clusters.astype(np.min_scalar_type(int(clusters.max(initial=0))))
        arrays[f"{name}_labels"] = labels.astype(np.int32)
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return content.getvalue()
