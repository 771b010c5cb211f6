"""The verb that goes all the way: from a folder of images to groups and a report, in one folder to go on with.

FOLDER-groups/
  headclust.json   whose groups these are: the source of the images
  features.h5      the features of the images, and of their views
  left-out.csv     sample_id,reason of the images that cannot be read, where there are any
  run/             the run folder, with assignments.csv
  report.html      to look at
"""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from headclust import runs
from headclust.backbones import list_backbones, load_backbone
from headclust.cache import Features, load_features, samples_sha256, staging_folder
from headclust.cache.disk import write_errors, write_whole
from headclust.datasets import ImageSet, open_source
from headclust.device import resolve_device
from headclust.embed import embed_images
from headclust.errors import BusyError, ConflictError, DataError, FileFormatError, HeadclustError, SettingError
from headclust.methods import configure, find_preset, settings
from headclust.naming import as_written
from headclust.progress import note, printable
from headclust.report import check_place
from headclust.trials import with_clusters
from headclust.verbs.fitting import fit
from headclust.verbs.groups import free_folder, groups_folder, marked_folder
from headclust.verbs.reporting import report

# Of the packaged backbones the better first: docs/default.md, mean over its data sets.
PREFERRED = ("efficientnet_lite1", "efficientnet_lite0")
# Two views triple the time of embedding and are what the default was measured with, on data sets up to this size.
N_VIEWS, MOST_WITH_VIEWS = 2, 20_000


@dataclass(frozen=True)
class Groups:
    """Where everything is that `run` has made.

    Attributes:
        folder: The folder that holds all of it.
        features: The feature file.
        run: The run folder.
        report: The report.
        n_samples: Images that were grouped.
        n_left_out: Images that cannot be read.
        left_out: The list of these; None where there are none.
    """

    folder: Path
    features: Path
    run: Path
    report: Path
    n_samples: int
    n_left_out: int
    left_out: Path | None

    @property
    def assignments(self) -> Path:
        """Which image is in which cluster."""
        return self.run / "assignments.csv"


def run(
    data: str,
    *,
    clusters: int | None = None,
    split: str | None = None,
    output: Path | None = None,
    model: str | None = None,
    weights: Path | None = None,
    views: int | None = None,
    method: str = "default",
    seed: int = 0,
    on_error: Literal["fail", "skip"] = "skip",
    device: str | None = None,
    offline: bool = False,
    overwrite: bool = False,
) -> Groups:
    """Embeds images, fits a method and makes a report; what is finished already, with the same settings, stays.

    Args:
        data: Where the images are, as `headclust.datasets.open_source` takes it: a folder, mostly.
        clusters: Number of clusters; the number of class subfolders when None.
        split: Which split, where a source has some.
        output: The folder for everything; `NAME-groups` with the name of the data, and -2, -3 ... where that holds
            something else, when None.
        model: A backbone's name. When None, the one that was used before in that folder, or the first of `PREFERRED`
            that is installed.
        weights: A file with the model's weights.
        views: Augmented views of each image to embed. When None, as many as before in that folder, or `N_VIEWS`, but
            none of more than `MOST_WITH_VIEWS` images.
        method: A name in METHODS, or "default".
        seed: Seed of the fit.
        on_error: At an unreadable image "skip" it and list it, or "fail".
        device: Where to compute.
        offline: Never download weights or data.
        overwrite: Make anew what was made with other settings.

    Raises:
        HeadclustError: Anything about the images, the settings or the folder that a user can mend.
    """
    images = open_source(data, split, offline=offline)
    _check(images, clusters, method, seed, device)
    folder = groups_folder(images, output)
    check_place(folder / "report.html")
    features = _embed(
        images,
        folder / "features.h5",
        model=model,
        weights=weights,
        views=views,
        device=device,
        on_error=on_error,
        offline=offline,
        overwrite=overwrite,
    )
    left_out, path = _list_left_out(folder / "left-out.csv", features), folder / "run"
    with _told():
        _fit(
            images,
            data,
            features,
            path,
            clusters=clusters,
            method=method,
            seed=seed,
            device=device,
            overwrite=overwrite,
        )
        made = _report(path, folder / "report.html")
    return Groups(folder, folder / "features.h5", path, made, features.n_samples, len(features.skipped), left_out)


@contextmanager
def _told() -> Iterator[None]:
    """Says after Ctrl-C that nothing finished is lost, as embedding does itself."""
    try:
        yield
    except KeyboardInterrupt:
        note("stopped after embedding: the same command goes on from there.")
        raise


def _check(images: ImageSet, clusters: int | None, method: str, seed: int, device: str | None) -> None:
    """Refuses what can be known to be impossible before an image is opened."""
    _recipe(method, clusters)
    resolve_device(device)
    if seed < 0:
        raise SettingError(f"seed {seed}: wanted 0 or more.")
    if len(images) < 2:
        raise DataError(f"{printable(images.source)}: one image: wanted at least 2 to make groups of.")
    if clusters is None and images.labels is None:
        raise SettingError(
            f"{printable(images.source)} has no class subfolders to count: say how many groups with --clusters K."
        )
    if clusters is not None and clusters > len(images):
        raise SettingError(f"{clusters} clusters asked of {len(images)} images: wanted at most {len(images)}.")


def _recipe(method: str, clusters: int | None) -> tuple[str, tuple[Any, ...]]:
    name, recipe = find_preset(method, "ours")
    return name, configure(recipe, {} if clusters is None else {"n_clusters": clusters})


def _embed(
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


def _list_left_out(path: Path, features: Features) -> Path | None:
    """The list of the images that cannot be read; removed where there are none any more."""
    with write_errors(path):
        if not features.skipped:
            path.unlink(missing_ok=True)
            return None
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)  # a name may hold line ends
        rows.writerows([("sample_id", "reason"), *((as_written(name), reason) for name, reason in features.skipped)])
        write_whole(path, text.getvalue().encode(errors="surrogateescape"))
    return path


def _fit(
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
    name, recipe = _recipe(method, clusters)
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


def _report(path: Path, output: Path) -> Path:
    check_place(output)
    newer = output.is_file() and output.stat().st_mtime_ns >= (path / "config.json").stat().st_mtime_ns
    if newer and output.stat().st_size:
        note(f"step 3 of 3: {output} is there already.")
        return output
    note("step 3 of 3: making the report.")
    return report(path, output=output)
