"""The verb `compare`: methods side by side on the same features."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.device import resolve_device
from headclust.errors import DataError, HeadclustError, SettingError
from headclust.features import Features
from headclust.methods import Recipe
from headclust.progress import note
from headclust.runs.inputs import fingerprint, load_alike, load_spaces, newest_features
from headclust.runs.scored_fit import fit_and_score
from headclust.scoring.metrics import METRICS
from headclust.scoring.statistics import gain, paired, spread

BASELINE = "kmeans"
_PER_FIT = ("n_samples", "n_clusters")  # the same for every seed
Recipes = dict[str, Recipe]
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
    """Fit several methods to the same features, with several seeds each, and score them.

    Labels, if there are any, give the default of `clusters` and the scores. Without labels the result has the sizes of
    the clusters and the agreement of the methods only. A fit that fails does not stop the others.

    Args:
        features: Feature files of the same samples, one per space; the newest under `./features/` when empty.
        methods: Names in METHODS, or "default".
        preset: "ours" or "authors", for all of them.
        clusters: Number of clusters; the number of labeled classes when None.
        seeds: Fits per method, 1 to 1000.
        seed: Seed of the first fit; the others are the next whole numbers.
        evaluate_on: Feature files of other samples to score too, one per space.
        device: Where to compute.

    Returns:
        `features preset n_clusters seeds methods agreement`, JSON-like. `methods` has one entry per method: `method`,
        `fits` (the contents of metrics.json per seed, or the `error`), `mean` and `sd` over seeds (None for one seed),
        `gain` over k-means if that is compared too (`mean low high`: paired by seed, Student's t, 95 %, no interval
        for one seed), and the same under `eval`. `agreement[a][b]` is the mean ARI between the clusters of a and b with
        the same seed, or of one method with different seeds; None without such a pair of fits.

    Raises:
        HeadclustError: A method, file or number cannot be used (raised before anything is fitted), or every fit failed.
    """
    if not 1 <= seeds <= 1000 or seed < 0:
        raise SettingError(f"{seeds} seeds from {seed} on: expected 1 to 1000 seeds, from 0 on.")
    recipes = _recipes(methods, preset, clusters)
    spaces, tests = _load(features or [newest_features()], evaluate_on, recipes)
    recipes = {name: recipe.for_features(spaces[0]) for name, recipe in recipes.items()}
    chosen_device = resolve_device(device)
    reports: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in recipes}
    assignments: dict[str, Assignments] = {name: {} for name in recipes}
    failures = []
    plan = [(name, fit_seed) for name in recipes for fit_seed in range(seed, seed + seeds)]
    for number, (name, fit_seed) in enumerate(plan, start=1):
        start = time.perf_counter()
        try:
            fitted = fit_and_score(spaces, recipes[name], fit_seed, device=chosen_device, tests=tests)
            reports[name][fit_seed], assignments[name][fit_seed] = fitted.report, fitted.result.assignments
            outcome = f"{time.perf_counter() - start:.1f} s"
        except HeadclustError as error:
            failures.append(error)
            reports[name][fit_seed] = {"error": str(error)}
            outcome = f"failed: {error}"
        note(f"{number} of {len(plan)}: {name}, seed {fit_seed}: {outcome}")
    if len(failures) == len(plan):
        raise failures[0]
    return {
        "features": [str(space.path) for space in spaces],
        "preset": preset,
        "n_clusters": next(iter(recipes.values())).n_clusters,
        "seeds": list(range(seed, seed + seeds)),
        "methods": [_entry(name, reports, tested=bool(tests)) for name in recipes],
        "agreement": {
            a: {b: _agreement(assignments[a], assignments[b], same=a == b) for b in recipes} for a in recipes
        },
    }


def _recipes(methods: Sequence[str], preset: str, clusters: int | None) -> Recipes:
    """The recipe of each method, by the method's own name ("default" resolved)."""
    recipes: Recipes = {}
    for method in methods:
        recipe = Recipe.of(method, preset)
        if recipe.method in recipes:
            name = recipe.method if method == recipe.method else f"{method} stands for {recipe.method}, which"
            raise SettingError(f"methods: {name} is named twice: name each once.")
        recipes[recipe.method] = recipe.changed({} if clusters is None else {"n_clusters": clusters})
    if not recipes:
        raise SettingError("no method to compare: name some, for example --methods default,kmeans.")
    return recipes


def _load(
    features: Sequence[Path], evaluate_on: Sequence[Path], recipes: Recipes
) -> tuple[tuple[Features, ...], list[Features]]:
    """The features to fit and those to score on.

    Raises:
        HeadclustError: They cannot be read, or a method takes only one feature file.
    """
    single = [name for name, recipe in recipes.items() if not recipe.several_spaces]
    if len(features) > 1 and single:
        raise SettingError(
            f"{len(features)} feature files given, and {', '.join(single)} takes one: "
            "give one, or name only methods that take several."
        )
    spaces = load_spaces(features)
    if spaces[0].n_samples < 2:
        raise DataError(f"{spaces[0].path}: one sample: expected at least 2 to cluster.")
    fingerprints = [fingerprint(space) for space in spaces]
    return spaces, load_alike(fingerprints, evaluate_on) if evaluate_on else []


def _entry(name: str, reports: Mapping[str, Mapping[int, Mapping[str, Any]]], *, tested: bool) -> dict[str, Any]:
    """The entry of one method: see the return value of `compare`."""
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
    """Mean and standard deviation over seeds, and the gain over the base paired by seed, of each number."""
    names = [name for report in reports.values() for name in report if name not in ("error", "eval", *_PER_FIT)]
    mean, sd, gains = {}, {}, {}
    for name in dict.fromkeys(names):
        values = _values(reports, name)
        if over_seeds := spread(list(values.values())):
            mean[name], sd[name] = over_seeds.mean, over_seeds.sd
        over_base = gain(paired(values, _values(base, name))) if name in METRICS else None
        if over_base:
            gains[name] = {"mean": over_base.mean, "low": over_base.low, "high": over_base.high}
    return {"mean": mean, "sd": sd, "gain": gains}


def _values(reports: Mapping[int, Mapping[str, Any]], name: str) -> dict[int, float]:
    return {seed: report[name] for seed, report in reports.items() if report.get(name) is not None}


def _agreement(first: Assignments, second: Assignments, *, same: bool) -> float | None:
    """Mean ARI of two methods with the same seeds, or of one method (`same`) with different seeds."""
    from sklearn.metrics import adjusted_rand_score

    pairs = (
        [(first[a], first[b]) for a, b in combinations(first, 2)]
        if same
        else [(first[seed], second[seed]) for seed in first if seed in second]
    )
    return float(np.mean([adjusted_rand_score(a, b) for a, b in pairs])) if pairs else None
