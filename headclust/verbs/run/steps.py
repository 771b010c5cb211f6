"""The steps of `run` after embedding; a step whose result exists with the same settings is skipped."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headclust import runs
from headclust.backbones.package_files import entry_of_weights
from headclust.choices import Labels
from headclust.disk import write_atomically, write_errors
from headclust.errors import ConflictError, FileFormatError, HeadclustError
from headclust.features import Features, kind_of
from headclust.filenames import storable_name
from headclust.images.datasets import ImageSet
from headclust.methods import Recipe
from headclust.progress import note, printable, quiet
from headclust.report import check_place
from headclust.runs.earlier import Earlier as EarlierRun
from headclust.runs.earlier import read_earlier
from headclust.runs.fixes import FIXES
from headclust.runs.inputs import fingerprint, load_spaces
from headclust.runs.names import NAMES
from headclust.verbs.fit import fit_recipe
from headclust.verbs.name import name as name_groups
from headclust.verbs.report import report
from headclust.verbs.run.embedding import N_VIEWS, best_packaged
from headclust.verbs.run.groups_folder import free_folder


def list_left_out(path: Path, features: Features) -> Path | None:
    """Write the list of unreadable images and folders, and return its path.

    If there are none, remove an earlier list, and return None.

    Raises:
        HeadclustError: It cannot be written.
    """
    with write_errors(path):
        folders = [
            (storable_name(str(name)), str(reason), "") for name, reason in features.attributes.get("unlisted", ())
        ]
        images = [(storable_name(name), reason, kind_of(reason)) for name, reason, _ in features.left_out]
        if not folders and not images:
            path.unlink(missing_ok=True)
            return None
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)  # a name may hold line ends
        rows.writerows([("sample_id", "reason", "kind"), *images, *folders])
        write_atomically(path, text.getvalue().encode(errors="surrogateescape"))
    return path


def fit_step(
    images: ImageSet,
    data: str,
    features: Features,
    path: Path,
    recipe: Recipe,
    seed: int,
    *,
    labels: Labels,
    device: str | None,
    overwrite: bool,
) -> None:
    """Fit a recipe to features into a run folder at `path`, unless that exists with the same settings.

    A run with the same settings is replaced if images that had been left out were added to the features since.

    Raises:
        HeadclustError: The fit is not possible, or a run with other settings is in the way.
    """
    assert features.path is not None
    counted = ("features",) if recipe.n_clusters else ("features", "n_clusters")  # settings that follow from the images
    recipe = recipe.for_features(features)
    clusters = f"{recipe.n_clusters} clusters of {features.n_samples:,} images by {recipe.method}"
    damage = runs.verify_run(path) if path.exists() else []
    if damage and not overwrite:
        raise FileFormatError(f"{damage[0]} With --overwrite it is made again.")
    if path.exists() and not damage:
        expected = {"method": recipe.method, "preset": recipe.preset, "seed": seed, **recipe.values}
        expected["features"] = features.sha256
        difference = _difference(path, expected)
        if not difference:
            note(f"step 2 of 3: {clusters}: fitted already, with the same settings.")
            return
        same = {name: value for name, value in expected.items() if name not in counted}
        if not overwrite and not (_has_fewer_rows(path, features) and not _difference(path, same)):
            options = ["--clusters", str(recipe.n_clusters), "--method", recipe.method, "--seed", str(seed)]
            place = free_folder(images, path.parent.with_name(f"{path.parent.name}-{recipe.n_clusters}"))
            apart = shlex.join(["headclust", "run", *_as_before(data, features, labels), *options, "-o", str(place)])
            quick = shlex.join(["headclust", "fit", str(features.path), *options])
            raise ConflictError(
                f"{printable(str(path))} was fitted with other settings ({difference}): use --overwrite to replace it, "
                f"or keep both with {printable(apart)}, or without embedding again with {printable(quick)}."
            )
        overwrite = True
    earlier = _earlier(path, damage, features)
    if earlier and earlier.is_kept and recipe.n_clusters == earlier.record.n_clusters:
        recipe = Recipe.of(recipe.method, recipe.preset)  # the fixes may have made or ended groups
    note(f"step 2 of 3: fitting {clusters}{', with the ids and fixes of before' if earlier else ''}.")
    spaces = load_spaces([features.path])
    fit_recipe(recipe, spaces, seed, device=device, output=path, overwrite=overwrite, earlier=earlier)


def _earlier(path: Path, damage: Sequence[str], features: Features) -> EarlierRun | None:
    """The run at `path`, whose ids and fixes a new fit keeps, if the images have changed or it has fixes; else None."""
    if damage or not path.exists():
        return None
    fixes = path / FIXES if (path / FIXES).exists() else None
    if fixes is None and runs.read_record(path).config["features"][0]["sha256"] == features.sha256:
        return None
    earlier = read_earlier(fixes, path)
    names = {storable_name(name) for name in features.sample_ids}
    return earlier if earlier and not names.isdisjoint(earlier.assigned.sample_ids) else None


def _as_before(data: str, features: Features, labels: Labels) -> list[str]:
    """Arguments of `headclust run` that embed the same images in the same way into another folder."""
    split, model = str(features.attributes.get("split", "all")), str(features.attributes["backbone"])
    exclude = [text for pattern in features.attributes.get("exclude", ()) for text in ("--exclude", str(pattern))]
    options = {
        "--labels": (labels, "dataset"),
        "--split": (split, "all"),
        "--model": (model, best_packaged()),
        "--views": (features.n_views, N_VIEWS),
    }
    return [
        data,
        *exclude,
        *(text for name, (value, usual) in options.items() if value != usual for text in (name, str(value))),
    ]


def _has_fewer_rows(path: Path, features: Features) -> bool:
    """True if the run at `path` was fitted before images that had been left out were added to its features."""
    recorded = runs.read_record(path).config["features"]
    same = {name: value for name, value in fingerprint(features).items() if name not in ("path", "sha256", "n_samples")}
    return (
        len(recorded) == 1
        and recorded[0]["n_samples"] < features.n_samples
        and all(recorded[0].get(name) == value for name, value in same.items())
    )


def _difference(path: Path, expected: Mapping[str, Any]) -> str:
    """The first setting of the run at `path` that differs from the expected one; empty if none does."""
    config = runs.read_record(path).config
    checksums = [space["sha256"] for space in config["features"]]
    recorded = {**config, **config["settings"], "features": checksums[0] if len(checksums) == 1 else checksums}
    for name, value in expected.items():
        if recorded.get(name) != value:
            return f"{name}: {printable(str(recorded.get(name)))} there, {value} here"
    return ""


def name_step(path: Path, features: Features) -> None:
    """Propose names for the groups of the run at `path`, unless it has some.

    Only from features of a packaged backbone, as its classifier is at hand: others would first have to be made, which
    `headclust name` does. Without names, the run is complete too.
    """
    at_hand = entry_of_weights(str(features.attributes.get("weights_sha256", "")))
    if (path / NAMES).exists() or at_hand is None:
        return
    try:
        with quiet():
            named = name_groups(path)
    except HeadclustError as error:
        note(f"the groups have no names: {error}")
        return
    if n_named := sum(group.name is not None for group in named.groups):
        note(f"{n_named} of {len(named.groups)} groups have a name, by the {named.source}: headclust name lists them.")


def report_step(path: Path, output: Path, *, labels: bool) -> Path:
    """Make the report of the run at `path`, unless a report that is as new as the run exists; return its path.

    With `labels` it shows the names of classes.

    Raises:
        HeadclustError: The report cannot be made or written.
    """
    check_place(output)
    newer = output.is_file() and output.stat().st_mtime_ns >= (path / "config.json").stat().st_mtime_ns
    if newer and output.stat().st_size:
        note(f"step 3 of 3: {output} is there already.")
        return output
    note("step 3 of 3: making the report.")
    return report(path, labels=labels, output=output)
