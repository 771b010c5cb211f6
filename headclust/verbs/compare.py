"""The verb that shows methods side by side on the same features."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from headclust.device import resolve_device
from headclust.errors import DataError, HeadclustError, SettingError
from headclust.features import Features
from headclust.methods import configure, find_preset
from headclust.methods.result import takes_several
from headclust.progress import note
from headclust.runs.inputs import fingerprint, load_alike, load_spaces, newest_features
from headclust.runs.scored_fit import fit_and_score, with_clusters
from headclust.scoring.metrics import METRICS
from headclust.scoring.statistics import gain, paired, spread

BASELINE = "kmeans"
_PER_FIT = ("n_samples", "n_clusters")  # the same for every seed
Recipes = dict[str, tuple[Any, ...]]
Assignments = dict[int, NDArray[np.int64]]


def compare(
    features: Sequence[Path] = (),
    *,
    methods: Sequence[str],
    preset: str = "ours",
    clusters: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    evaluate_on: Sequence[Path] = (),
    device: str | None = None,
) -> dict[str, Any]:
    """Fits several methods to the same features, with several seeds each, and says how they come out.

    Labels, where there are some, stand in for missing `clusters` and score; without any, what is left is how even the
    clusters are, and how far the methods agree. A fit that fails takes only its own numbers with it.

    Args:
        features: Feature files of the same samples, one a space; the newest under `./features/` when empty.
        methods: Names in METHODS, or "default".
        preset: "ours" or "authors", for all of them.
        clusters: Number of clusters; the labelled classes when None.
        seeds: Fits a method, 1 to 1000.
        seed: The first of their seeds.
        evaluate_on: Feature files of other samples to score on too, one a space.
        device: Where to compute.

    Returns:
        `features preset n_clusters seeds methods agreement`, JSON-like. `methods` has an entry a method: `method`,
        `fits` (what metrics.json says, a seed each, or its `error`), `mean` and `sd` over seeds (None for one), `gain`
        over k-means where that is compared too (`mean low high`: paired by seed, Student's t, 95 %, no interval for
        one), and the same under `eval`. `agreement[a][b]` is the mean ARI between the clusters of a and b, by the same
        seed, or of one method by different seeds; None where there is nothing to compare.

    Raises:
        HeadclustError: The methods, files or numbers are not possible: told before anything is fitted. Or every fit
            failed.
    """
    if not 1 <= seeds <= 1000 or seed < 0:
        raise SettingError(f"{seeds} seeds from {seed} on: wanted 1 to 1000, from 0 on.")
    chosen = _recipes(methods, preset, clusters)
    spaces, tests = _load(features or [newest_features()], evaluate_on, chosen)
    chosen = {name: with_clusters(recipe, spaces[0]) for name, recipe in chosen.items()}
    where = resolve_device(device)
    reports: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in chosen}
    found: dict[str, Assignments] = {name: {} for name in chosen}
    failures = []
    plan = [(name, one) for name in chosen for one in range(seed, seed + seeds)]
    for number, (name, one) in enumerate(plan, start=1):
        start = time.perf_counter()
        try:
            trial = fit_and_score(spaces, name, chosen[name], one, device=where, tests=tests)
            reports[name][one], found[name][one] = trial.report, trial.result.assignments
            told = f"{time.perf_counter() - start:.1f} s"
        except HeadclustError as error:
            failures.append(error)
            reports[name][one] = {"error": str(error)}
            told = f"failed: {error}"
        note(f"{number} of {len(plan)}: {name}, seed {one}: {told}")
    if len(failures) == len(plan):
        raise failures[0]
    return {
        "features": [str(space.path) for space in spaces],
        "preset": preset,
        "n_clusters": next(iter(chosen.values()))[0].n_clusters,
        "seeds": list(range(seed, seed + seeds)),
        "methods": [_entry(name, reports, tested=bool(tests)) for name in chosen],
        "agreement": {a: {b: _agreement(found[a], found[b], same=a == b) for b in chosen} for a in chosen},
    }


def _recipes(methods: Sequence[str], preset: str, clusters: int | None) -> Recipes:
    """The recipe of every method, by its own name."""
    recipes: Recipes = {}
    for asked in methods:
        name, recipe = find_preset(asked, preset)
        if name in recipes:
            told = name if asked == name else f"{asked} stands for {name}, which"
            raise SettingError(f"methods: {told} is named twice: name each once.")
        recipes[name] = configure(recipe, {} if clusters is None else {"n_clusters": clusters})
    if not recipes:
        raise SettingError("no method to compare: name some, for example --methods default,kmeans.")
    return recipes


def _load(
    features: Sequence[Path], evaluate_on: Sequence[Path], recipes: Recipes
) -> tuple[tuple[Features, ...], list[Features]]:
    """The features to fit and those to score on, after a look whether every method takes them."""
    single = [name for name, recipe in recipes.items() if not takes_several(recipe)]
    if len(features) > 1 and single:
        raise SettingError(
            f"{len(features)} feature files given, and {', '.join(single)} takes one: "
            "give one, or name only methods that take several."
        )
    spaces = load_spaces(features)
    if spaces[0].n_samples < 2:
        raise DataError(f"{spaces[0].path}: one sample: wanted at least 2 to cluster.")
    fingerprints = [fingerprint(space) for space in spaces]
    return spaces, load_alike(fingerprints, evaluate_on) if evaluate_on else []


def _entry(name: str, reports: Mapping[str, Mapping[int, Mapping[str, Any]]], *, tested: bool) -> dict[str, Any]:
    """What is said of one method."""
    base = reports.get(BASELINE, {}) if name != BASELINE else {}
    entry: dict[str, Any] = {
        "method": name,
        "fits": [{"seed": seed, **report} for seed, report in reports[name].items()],
    }
    entry |= _over_seeds(reports[name], base)
    if tested:
        parts = [{seed: report.get("eval", {}) for seed, report in some.items()} for some in (reports[name], base)]
        entry["eval"] = _over_seeds(*parts)
    return entry


def _over_seeds(
    reports: Mapping[int, Mapping[str, Any]], base: Mapping[int, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    names = [name for report in reports.values() for name in report if name not in ("error", "eval", *_PER_FIT)]
    mean, sd, gains = {}, {}, {}
    for name in dict.fromkeys(names):
        values = _values(reports, name)
        if found := spread(list(values.values())):
            mean[name], sd[name] = found.mean, found.sd
        more = gain(paired(values, _values(base, name))) if name in METRICS else None
        if more:
            gains[name] = {"mean": more.mean, "low": more.low, "high": more.high}
    return {"mean": mean, "sd": sd, "gain": gains}


def _values(reports: Mapping[int, Mapping[str, Any]], name: str) -> dict[int, float]:
    return {seed: report[name] for seed, report in reports.items() if report.get(name) is not None}


def _agreement(one: Assignments, other: Assignments, *, same: bool) -> float | None:
    pairs = (
        [(one[a], one[b]) for a, b in combinations(one, 2)]
        if same
        else [(one[seed], other[seed]) for seed in one if seed in other]
    )
    return float(np.mean([adjusted_rand_score(a, b) for a, b in pairs])) if pairs else None
