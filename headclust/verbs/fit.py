"""The verb `fit`: a method fitted to features, as a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headclust import runs
from headclust.device import description, resolve_device
from headclust.disk import real_place
from headclust.errors import SettingError
from headclust.features import Features
from headclust.group import current
from headclust.methods import Recipe, check_fit
from headclust.methods.constraints import Constraints
from headclust.progress import note, printable
from headclust.runs import novelty
from headclust.runs.added import spaces_of
from headclust.runs.earlier import Earlier, Ids, aligned_ids, constraints_of, fixes_to_keep, model_of, read_earlier
from headclust.runs.fixes import Fix
from headclust.runs.inputs import (
    fingerprint,
    load_alike,
    load_spaces,
    locate_features,
    newest_features,
    reload_spaces,
)
from headclust.runs.scored_fit import fit_and_score
from headclust.scoring.metrics import warnings_of
from headclust.torchrun import join, local_device
from headclust.training.unfinished import keep
from headclust.verbs.places import run_path
from headclust.versions import versions

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "faiss-cpu")


@join()
def fit(
    features: Sequence[Path] = (),
    *,
    method: str | None = None,
    preset: str | None = None,
    clusters: int | None = None,
    heads: int | None = None,
    changes: Mapping[str, Any] | None = None,
    config: Path | None = None,
    fixes: Path | None = None,
    like: Path | None = None,
    evaluate_on: Sequence[Path] = (),
    seed: int | None = None,
    device: str | None = None,
    output: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Fit a method to a feature file and write a run folder; return its path.

    Labels, if the file has any, give the default of `clusters` and the scores. They never reach the method.

    Processes that torchrun has started share one fit, which the first of them scores and writes.

    Args:
        features: Feature files of the same samples, one per space; the newest under `./features/` when empty.
        method: A name in METHODS, or "default" (also for None).
        preset: "ours" (also for None), or "authors" for the authors' own settings.
        clusters: Number of clusters; the number of labeled classes when None.
        heads: Number of heads (restarts of k-means); the preset's when None.
        changes: Other settings by name; text is read as the type of the setting.
        config: The config.json of a run (or the run folder) to repeat: its method, settings, seed and, if `features` is
            empty, feature files. `clusters`, `heads`, `changes` and `seed` override it.
        fixes: A file of fixes, fixes.csv of a run folder (or that folder): the fit keeps them, and the groups and ids
            of that run. If `features` is empty, its feature files are fitted. See docs/how-to/correct.md.
        like: A run whose group ids the new run has, by the images that both hold; with `fixes`, the run whose groups
            they change, by default the one in whose folder they lie.
        evaluate_on: Feature files of other samples to score, one per space.
        seed: Seed of the fit, 0 when None.
        device: Where to compute; the best available when None.
        output: The run folder to make; a free name under `./runs/` when None.
        overwrite: Replace an existing run.

    Raises:
        HeadclustError: The files, the settings or the output cannot be used.
    """
    if config and (method or preset):
        raise SettingError("a configuration names the method and preset it repeats: leave out either it or them.")
    recorded = runs.read_config(config) if config else {}
    recipe = _recorded_recipe(config, recorded) if config else Recipe.of(method or "default", preset or "ours")
    recipe = recipe.changed(changes or {})
    for option, name, count in (("--clusters", "n_clusters", clusters), ("--heads", "n_heads", heads)):
        if count is not None:
            if name in (changes or {}) and recipe.values[name] != count:
                raise SettingError(f"{option} is {count}, and the setting {name} is {recipe.values[name]}: give one.")
            recipe = recipe.changed({name: count})
    earlier = read_earlier(fixes, like)
    if config and not features:
        home = runs.find_run(config) if config.is_dir() else config.parent
        if earlier and earlier.is_kept and home.resolve() == earlier.record.path.resolve():
            spaces = spaces_of(earlier.record)  # with the images that were added since
        else:
            spaces = reload_spaces(locate_features(home, recorded["features"]))
    elif earlier and earlier.is_kept and not features:
        spaces = spaces_of(earlier.record)
    else:
        spaces = load_spaces(features or [newest_features()])
    tests = load_alike([fingerprint(space) for space in spaces], evaluate_on) if evaluate_on else []
    if seed is None:
        seed = int(recorded.get("seed", 0))
    if not (fixes or like) and ("fixes" in recorded or "like" in recorded):
        note(f"{printable(str(config))} was fitted with the groups of an earlier run, which are not used: see --fixes.")
    return fit_recipe(
        recipe, spaces, seed, tests=tests, device=device, output=output, overwrite=overwrite, earlier=earlier
    )


def fit_recipe(
    recipe: Recipe,
    spaces: Sequence[Features],
    seed: int,
    *,
    tests: Sequence[Features] = (),
    device: str | None = None,
    output: Path | None = None,
    overwrite: bool = False,
    earlier: Earlier | None = None,
) -> Path:
    """Fit a recipe to loaded feature spaces and write the run folder; see `fit` for the arguments.

    `earlier` is the run whose groups and fixes, or only whose ids, the fit keeps.

    Raises:
        HeadclustError: The settings or the output cannot be used.
    """
    if seed < 0:
        raise SettingError(f"seed {seed}: expected 0 or more.")
    keeps = None
    if earlier and earlier.is_kept:
        start = model_of(earlier, spaces)
        keeps = constraints_of(earlier, spaces[0].sample_ids, start)
        if start and recipe.keeps_constraints:
            recipe = _of_run(recipe, earlier.record)
    constraints, ids = keeps or (None, None)
    if constraints and "n_clusters" not in recipe.asked_for:
        recipe = recipe.changed({"n_clusters": constraints.n_groups})
    recipe = recipe.for_features(spaces[0])
    if constraints:
        recipe.check_constraints(constraints)
    check_fit(tuple(spaces), recipe.stages, at_least=1)
    _check_processes(recipe, spaces, seed)
    own_fixes = earlier.file if earlier and earlier.is_kept else None
    default = run_path(spaces, recipe.method, recipe.preset, seed)
    path = output or runs.unique_path(default)
    group = current()
    if group.rank == 0:
        runs.check_free(path, overwrite=overwrite, keeps=own_fixes)
    chosen_device = resolve_device(local_device(device))
    config = {
        "method": recipe.method,
        "preset": recipe.preset,
        "seed": seed,
        "settings": recipe.values,
        "features": [fingerprint(space) for space in spaces],
        "versions": versions(_LIBRARIES),
        **description(chosen_device),
        **({"processes": group.size} if group.size > 1 else {}),
    }
    place = real_place(output or default)
    with keep(place.with_name(f"{place.name}.partial"), depends_on=_training_depends_on(config, spaces, constraints)):
        fitted = fit_and_score(spaces, recipe, seed, device=chosen_device, tests=tests, constraints=constraints)
        for warning in warnings_of(fitted.report):
            note(f"warning: {warning}")
        if earlier:
            result = fitted.result
            ids = ids or aligned_ids(earlier, spaces[0].sample_ids, result.assignments, result.model.n_clusters)
            fitted = fitted.renumbered(ids.of, ids.count)
        result = fitted.result
        if group.rank == 0:
            path = runs.write_run(
                output or runs.unique_path(default),  # again: another fit may have taken the name meanwhile
                config={
                    **config,
                    **({"like": str(earlier.record.path.resolve())} if earlier else {}),
                    **({"fixes": str(own_fixes.resolve())} if own_fixes else {}),
                },
                metrics=fitted.report,
                model=result.model,
                history=result.history,
                assignments=(spaces[0].sample_ids, result.assignments, result.confidence),
                seen=novelty.keep(spaces, seed),
                levels=fitted.levels,
                fixes=_fixes(earlier, keeps, spaces[0].sample_ids),
                overwrite=overwrite,
                keeps=own_fixes,
            )
        group.wait()  # until the first process has written the run
    return path


def _recorded_recipe(config: Path, recorded: Mapping[str, Any]) -> Recipe:
    recipe = Recipe.of(recorded["method"], recorded["preset"])
    if absent := recipe.absent(recorded["settings"]):
        step = "delete what this version lacks in a copy of config.json, and fit with that"
        raise SettingError(f"{printable(str(config))}: unknown settings {printable(', '.join(absent))}: {step}.")
    return Recipe.of(recipe.method, recipe.preset, recorded["settings"])


def _training_depends_on(
    config: Mapping[str, Any], spaces: Sequence[Features], constraints: Constraints | None
) -> object | None:
    """All that a training depends on; None to keep no states of it: with fixes, training takes seconds."""
    sums = [space.sha256 for space in spaces]
    return None if constraints or not all(sums) else {**config, "features": sums}


def _of_run(recipe: Recipe, run: runs.Record) -> Recipe:
    """The recipe with the settings of a run whose heads go on.

    Raises:
        SettingError: Other settings were asked for.
    """
    own = {name: value for name, value in run.config["settings"].items() if name in recipe.values}
    asked_for = sorted(recipe.asked_for - {"n_clusters"})
    if other := [name for name in asked_for if recipe.values[name] != own.get(name)]:
        raise SettingError(
            f"{', '.join(other)}: with --fixes the heads of {printable(str(run.path))} go on as they are; leave it "
            "out, or fit anew with --like."
        )
    clusters = {"n_clusters": recipe.n_clusters} if "n_clusters" in recipe.asked_for else {}
    return Recipe.of(recipe.method, recipe.preset, own).changed(clusters)


def _fixes(
    earlier: Earlier | None, keeps: tuple[Constraints, Ids] | None, sample_ids: Sequence[str]
) -> tuple[Fix, ...]:
    """The fixes of the new run: those that the fit has kept, and any that were added to the file meanwhile."""
    if earlier is None or keeps is None:
        return ()
    return (*fixes_to_keep(earlier, *keeps, sample_ids), *earlier.later_fixes())


def _check_processes(recipe: Recipe, spaces: Sequence[Features], seed: int) -> None:
    """Log how the processes that torchrun has started share the fit; raise if they cannot.

    Raises:
        SettingError: The method computes in one process, or the processes have different settings or files.
    """
    group = current()
    if group.size == 1:
        return
    if not recipe.over_processes:
        raise SettingError(f"{recipe.method} computes in one process: found {group.size}. Start it without torchrun.")
    group.check_same("settings or versions", f"{recipe.method} {recipe.values} {seed} {versions(_LIBRARIES)}")
    group.check_same("feature files", " ".join(str(space.sha256) for space in spaces))
    n_heads = recipe.values["n_heads"]
    over_heads, over_batch = group.split(n_heads)
    if over_heads.size > 1:
        note(f"{n_heads} heads over {over_heads.size} processes.")
    else:
        note(f"each batch over {over_batch.size} processes, which are more than the heads ({n_heads}).")
