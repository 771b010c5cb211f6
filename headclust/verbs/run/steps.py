"""The steps of `run`, each of which leaves alone what it has made before with the same settings."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from headclust import runs
from headclust.backbones import list_backbones, load_backbone
from headclust.disk import write_atomically, write_errors
from headclust.embedding.embed import embed_images
from headclust.errors import BusyError, ConflictError, FileFormatError, HeadclustError
from headclust.features import Features, load_features, samples_sha256, staging_folder
from headclust.filenames import storable_name
from headclust.images.datasets import ImageSet
from headclust.methods import configure, find_preset, settings
from headclust.progress import note, printable
from headclust.report import check_place
from headclust.runs.scored_fit import with_clusters
from headclust.verbs.fit import fit
from headclust.verbs.report import report
from headclust.verbs.run.groups_folder import free_folder, marked_folder

# Of the packaged backbones the better first: docs/default.md, mean over its data sets.
PREFERRED = ("efficientnet_lite1", "efficientnet_lite0")
# Two views triple the time of embedding and are what the default was measured with, on data sets up to this size.
N_VIEWS, MOST_WITH_VIEWS = 2, 20_000


def embed_step(
    images: ImageSet,
    path: Path,
    *,
    model: str | None,
    weights: Path | None,
    views: int | None,
    device: str | None,
    on_error: Literal["fail", "skip"],
    offline: bool,
    overwrite: bool,
) -> Features:
    """The features of these images, embedded now where they are not there yet.

    Raises:
        HeadclustError: Images, weights or the place do not allow it, or features made otherwise are in the way.
    """
    before = _begun(path)
    model = model or before.get("backbone") or _packaged()
    if views is None:
        views = int(before.get("n_views") or 0) if before else (N_VIEWS if len(images) <= MOST_WITH_VIEWS else 0)
    told = f"{len(images):,} images{f' and {views} views of each' if views else ''} with {model}"
    if not weights and (features := _embedded(images, path, model, views, on_error)):
        note(f"step 1 of 3: {told}: embedded already.")
        return features
    note(f"step 1 of 3: embedding {told}.")
    backbone = load_backbone(model, weights=weights, offline=offline)
    embed = partial(embed_images, images, backbone, path, n_views=views, on_error=on_error, device=device)
    with marked_folder(images, path.parent):
        try:
            embed()
        except BusyError:
            raise
        except ConflictError:
            if not overwrite:
                raise
            embed(overwrite=True)
    return load_features(path)


def _embedded(images: ImageSet, path: Path, model: str, views: int, on_error: str) -> Features | None:
    """The finished features of these very images, if they are what was asked for; None where they are not.

    Unlike work that is gone on with, they may come from other versions, or another number of threads: rows of one file
    are alike, and nobody wants images embedded again for the last bits.
    """
    attributes = _begun(path) if path.exists() else {}
    wanted = {
        "source": images.source,
        "split": images.split,
        "samples_sha256": samples_sha256(images.sample_ids, images.stamps, images.labels),
        "backbone": model,
    }
    if any(attributes.get(name) != value for name, value in wanted.items()):
        return None
    features = load_features(path)
    return features if features.n_views == views and not (features.skipped and on_error == "fail") else None


def _begun(path: Path) -> Mapping[str, Any]:
    """What a feature file, or the work on one, says of the settings it is made with; empty where there is nothing."""
    try:
        if path.exists():
            return load_features(path).attributes
        return dict(json.loads((staging_folder(path) / "plan.json").read_bytes()))
    except (HeadclustError, OSError, ValueError, TypeError):
        return {}  # the step itself says what is wrong with it


def _packaged() -> str:
    at_hand = {row["name"] for row in list_backbones(pattern="efficientnet_lite*", at_hand=True)}
    return next((name for name in PREFERRED if name in at_hand), PREFERRED[-1])


def list_left_out(path: Path, features: Features) -> Path | None:
    """The list of the images that cannot be read; removed where there are none any more.

    Raises:
        HeadclustError: It cannot be written.
    """
    with write_errors(path):
        if not features.skipped:
            path.unlink(missing_ok=True)
            return None
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)  # a name may hold line ends
        rows.writerows([("sample_id", "reason"), *((storable_name(name), reason) for name, reason in features.skipped)])
        write_atomically(path, text.getvalue().encode(errors="surrogateescape"))
    return path


def recipe_of(method: str, clusters: int | None) -> tuple[str, tuple[Any, ...]]:
    """Name and recipe of a method, with so many clusters.

    Raises:
        SettingError: There is no such method, or it cannot make so many clusters.
    """
    name, recipe = find_preset(method, "ours")
    return name, configure(recipe, {} if clusters is None else {"n_clusters": clusters})


def fit_step(
    images: ImageSet,
    data: str,
    features: Features,
    path: Path,
    *,
    clusters: int | None,
    method: str,
    seed: int,
    device: str | None,
    overwrite: bool,
) -> None:
    """A run folder at `path` with a method fitted to features, now where it is not there yet.

    Raises:
        HeadclustError: The fit is not possible, or a run with other settings is in the way.
    """
    name, recipe = recipe_of(method, clusters)
    recipe = with_clusters(recipe, features)
    told = f"{recipe[0].n_clusters} clusters of {features.n_samples:,} images by {name}"
    if path.exists():
        wanted = {"method": name, "preset": "ours", "seed": seed, "features": features.sha256}
        wanted |= {setting.name: setting.value for setting in settings(recipe)}
        difference = _difference(path, wanted)
        if not difference:
            note(f"step 2 of 3: {told}: fitted already, with the same settings.")
            return
        if not overwrite:
            options = ["--clusters", str(recipe[0].n_clusters), "--method", method, "--seed", str(seed)]
            place = free_folder(images, path.parent.with_name(f"{path.parent.name}-{recipe[0].n_clusters}"))
            apart = shlex.join(["headclust", "run", *_as_before(data, features), *options, "-o", str(place)])
            quick = shlex.join(["headclust", "fit", str(features.path), *options])
            raise ConflictError(
                f"{printable(str(path))} was fitted with other settings ({difference}): say --overwrite to replace it, "
                f"or keep both with {printable(apart)}, or without embedding again with {printable(quick)}."
            )
    note(f"step 2 of 3: fitting {told}.")
    assert features.path is not None
    fit([features.path], method=method, clusters=clusters, seed=seed, device=device, output=path, overwrite=overwrite)


def _as_before(data: str, features: Features) -> list[str]:
    """The arguments of `headclust run` that embed the same images in the same way elsewhere."""
    split, model = str(features.attributes.get("split", "all")), str(features.attributes["backbone"])
    options = {"--split": (split, "all"), "--model": (model, _packaged()), "--views": (features.n_views, N_VIEWS)}
    return [data, *(text for name, (value, usual) in options.items() if value != usual for text in (name, str(value)))]


def _difference(path: Path, wanted: Mapping[str, Any]) -> str:
    """The first of the things that determine a run in which the one that is there differs; empty when none does."""
    try:
        stated = runs.read_run(path).config
    except FileFormatError as error:
        return str(error)
    spaces = [space["sha256"] for space in stated["features"]]
    there = {**stated, **stated["settings"], "features": spaces[0] if len(spaces) == 1 else spaces}
    for name, value in wanted.items():
        if there.get(name) != value:
            return f"{name}: {printable(str(there.get(name)))} there, {value} here"
    return ""


def report_step(path: Path, output: Path) -> Path:
    """The report of the run at `path`, made now where there is none that is as new as the run.

    Raises:
        HeadclustError: It cannot be made or written.
    """
    check_place(output)
    newer = output.is_file() and output.stat().st_mtime_ns >= (path / "config.json").stat().st_mtime_ns
    if newer and output.stat().st_size:
        note(f"step 3 of 3: {output} is there already.")
        return output
    note("step 3 of 3: making the report.")
    return report(path, output=output)
