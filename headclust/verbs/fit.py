"""The verb that fits a method to features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headclust import runs
from headclust.device import description, resolve_device
from headclust.errors import SettingError
from headclust.methods import configure, find_preset, settings
from headclust.progress import note
from headclust.runs import novelty
from headclust.runs.inputs import fingerprint, load_alike, load_spaces, locate_features, newest_features, reload_spaces
from headclust.runs.scored_fit import check_neighbors, fit_and_score, with_clusters
from headclust.scoring.metrics import warnings_of
from headclust.verbs.places import run_path
from headclust.versions import versions

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "faiss-cpu")


def fit(
    features: Sequence[Path] = (),
    *,
    method: str | None = None,
    preset: str | None = None,
    clusters: int | None = None,
    heads: int | None = None,
    changes: Mapping[str, Any] | None = None,
    config: Path | None = None,
    evaluate_on: Sequence[Path] = (),
    seed: int | None = None,
    device: str | None = None,
    output: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Fits a method to a feature file and writes a run folder; returns its path.

    Labels, where the file has some, stand in for a missing `clusters` and score the outcome. They never reach the
    method.

    Args:
        features: Feature files of the same samples, one a space; the newest under `./features/` when empty.
        method: A name in METHODS, or "default", which None stands for.
        preset: "ours", which None stands for, or "authors" for the authors' own settings.
        clusters: Number of clusters.
        heads: Number of heads (restarts of k-means).
        changes: Other settings by name; text is read as the setting's type.
        config: A run's config.json (or the run) to repeat: its method, settings, seed and, where `features` is empty,
            feature files. `clusters`, `heads`, `changes` and `seed` override it.
        evaluate_on: Feature files of other samples to score on, one a space.
        seed: Seed of the fit, 0 when None.
        device: Where to compute.
        output: The run folder to make; a free name under `./runs/` when None.
        overwrite: Replace a run.

    Raises:
        HeadclustError: Anything about the files, the settings or the output that a user can mend.
    """
    if config and (method or preset):
        raise SettingError("a configuration says which method and preset it repeats: leave out either it or them.")
    stated: dict[str, Any] = {"method": method or "default", "preset": preset or "ours", "seed": 0, "settings": {}}
    repeated = runs.read_config(config) if config else stated
    preset = repeated["preset"]
    method, recipe = find_preset(repeated["method"], preset)
    options = {"n_clusters": clusters, "n_heads": heads}
    given = {**(changes or {}), **{name: value for name, value in options.items() if value is not None}}
    recipe = configure(configure(recipe, repeated["settings"]), given)
    seed = int(repeated["seed"]) if seed is None else seed
    if config and not features:
        home = runs.find_run(config) if config.is_dir() else config.parent
        spaces = reload_spaces(locate_features(home, repeated["features"]))
    else:
        spaces = load_spaces(features or [newest_features()])
    fingerprints = [fingerprint(space) for space in spaces]
    tests = load_alike(fingerprints, evaluate_on) if evaluate_on else []
    if seed < 0:
        raise SettingError(f"seed {seed}: wanted 0 or more.")
    check_neighbors(given, spaces[0])
    recipe = with_clusters(recipe, spaces[0])
    default = run_path(spaces, method, preset, seed)
    runs.check_free(output or runs.unique_path(default), overwrite=overwrite)

    chosen_device = resolve_device(device)
    trial = fit_and_score(spaces, method, recipe, seed, device=chosen_device, tests=tests)
    result, report = trial.result, trial.report
    for told in warnings_of(report):
        note(f"warning: {told}")
    return runs.write_run(
        output or runs.unique_path(default),  # looked up again: another fit may have taken the name meanwhile
        config={
            "method": method,
            "preset": preset,
            "seed": seed,
            "settings": {setting.name: setting.value for setting in settings(recipe)},
            "features": fingerprints,
            "versions": versions(_LIBRARIES),
            **description(chosen_device),
        },
        metrics=report,
        model=result.model,
        history=result.history,
        assignments=(spaces[0].sample_ids, result.assignments, result.confidence),
        seen=novelty.keep(spaces, seed),
        overwrite=overwrite,
    )
