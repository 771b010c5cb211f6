"""One function a verb: what the command line and a notebook call."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headclust import ensemble, runs
from headclust.arrays import read_array, read_labels, read_lines
from headclust.backbones import load_backbone
from headclust.cache import Features, load_features, verify_features, write_features
from headclust.datasets import ImageSet, open_source
from headclust.device import description, resolve_device
from headclust.embed import embed_images
from headclust.errors import ConflictError, SettingError
from headclust.methods import METHODS, configure, find_preset, settings
from headclust.model import ClusterModel
from headclust.probes import probe
from headclust.progress import note
from headclust.provenance import versions
from headclust.spaces import FEATURES_FOLDER, check_alike, fingerprint, load_spaces, newest_features, reload_spaces

RUNS_FOLDER = Path("runs")
_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "faiss-cpu")


def embed(
    model: str,
    data: str | None = None,
    *,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    output: Path | None = None,
    weights: Path | None = None,
    image_size: int | None = None,
    batch_size: int = 64,
    dtype: str = "float32",
    device: str | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    offline: bool = False,
    overwrite: bool = False,
) -> Path:
    """Embeds images with a frozen backbone into a feature file; returns its path.

    Args:
        model: A backbone's name, `timm:NAME` or `open_clip:ARCH/PRETRAINED`.
        data: A folder of images, `name:PATH` or `digits`; the bundled digits when None.
        split: Which split, where a source has some.
        limit: Take a random subset of so many images, drawn without looking at labels.
        seed: Seed of that subset.
        output: The file to make; `features/DATASET-SPLIT/MODEL[-VARIANT].h5` when None.
        weights: A file with the model's weights.
        image_size: Input size in pixels, instead of the model's own.
        batch_size: Images a batch; a row's last bits depend on it.
        dtype: "float32" or "float16", as stored.
        device: Where to compute.
        on_error: "fail" at an unreadable image, or "skip" and list it.
        offline: Never download weights.
        overwrite: Replace a feature file made with other settings.

    Raises:
        HeadclustError: Anything about the source, the model, the images or the output that a user can mend.
    """
    if data is None:
        note("no data given: embedding the bundled digits.")
    images = open_source(data, split)
    if limit is not None:
        images = images.subset(limit, seed)
    backbone = load_backbone(model, weights=weights, image_size=image_size, offline=offline)
    variants = [
        f"{image_size}px" if image_size else "",
        f"n{limit}-s{seed}" if limit else "",
        weights.stem if weights else "",
        "" if dtype == "float32" else dtype,
    ]
    return embed_images(
        images,
        backbone,
        output or _features_path(images, "-".join([model, *filter(None, variants)])),
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        on_error=on_error,
        overwrite=overwrite,
        seed=seed,
    )


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
    given = {**(changes or {}), "n_clusters": clusters, "n_heads": heads}
    given = {name: value for name, value in given.items() if value is not None}
    recipe = configure(configure(recipe, repeated["settings"]), given)
    seed = int(repeated["seed"]) if seed is None else seed
    if config and not features:
        spaces = reload_spaces(repeated["features"])
    else:
        spaces = load_spaces(features or [newest_features()])
    fingerprints = [fingerprint(space) for space in spaces]
    tests = [load_features(path) for path in evaluate_on]
    if tests:
        check_alike(fingerprints, tests)
    if seed < 0:
        raise SettingError(f"seed {seed}: wanted 0 or more.")
    _check_neighbors(given, spaces[0])
    recipe = configure(recipe, {"n_clusters": _n_clusters(recipe, spaces[0])})
    default = RUNS_FOLDER / _file_name(_run_name(spaces[0], method, preset, seed))
    runs.check_free(output or runs.unique_path(default), overwrite=overwrite)

    chosen_device = resolve_device(device)
    start = time.perf_counter()
    # Here labels end: a method gets features without them.
    unlabelled = tuple(replace(space, labels=None, class_names=()) for space in spaces)
    result = METHODS[method](unlabelled, recipe, seed, device=chosen_device)
    seconds = time.perf_counter() - start

    labels, chosen, n_clusters = spaces[0].labels, result.model.chosen, result.model.n_clusters
    report = ensemble.summarize(result.head_assignments, chosen, n_clusters, seconds=seconds, labels=labels)
    if tests:
        report["eval"] = assign(result.model, tests[0]).report
    _warn_of_collapse(report)
    return runs.write_run(
        output or runs.unique_path(default),  # looked up again: another fit may have taken the name meanwhile
        config={
            "method": method,
            "preset": preset,
            "seed": seed,
            "settings": {setting.name: setting.value for setting in settings(recipe)},
            "recipe": [asdict(stage) for stage in recipe],
            "features": fingerprints,
            "versions": versions(_LIBRARIES),
            **description(chosen_device),
        },
        metrics=report,
        model=result.model,
        history=result.history,
        assignments=(spaces[0].sample_ids, result.assignments, result.confidence),
        overwrite=overwrite,
    )


@dataclass(frozen=True)
class Assigned:
    """What a model says of samples: their clusters, int64 (n,), its confidence (n,), and the report."""

    clusters: np.ndarray
    confidence: np.ndarray
    report: dict[str, Any]


def assign(model: ClusterModel, features: Features) -> Assigned:
    """Assigns clusters to features, and scores them where they have labels."""
    start = time.perf_counter()
    clusters, confidence = model.assign(features.all())
    report = ensemble.summarize(
        clusters,
        model.chosen,
        model.n_clusters,
        seconds=time.perf_counter() - start,
        labels=features.labels,
    )
    return Assigned(clusters[model.chosen], confidence, report)


def predict(
    run: Path,
    *,
    features: Sequence[Path] = (),
    data: str | None = None,
    split: str | None = None,
    weights: Path | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    device: str | None = None,
    offline: bool = False,
    output: Path | None = None,
) -> Path:
    """Assigns the clusters of a run to other images; returns the CSV of `sample_id,cluster,confidence`.

    Args:
        run: A run folder.
        features: Feature files of the images, one a space; or
        data: where the images are: they are embedded first, as the run's were, into `RUN/predicted/`.
        split: Which split, where `data` has some.
        weights: The file with the model's weights, where the run's features were made with one.
        on_error: "fail" at an unreadable image, or "skip" it: it gets no row.
        device: Where to embed.
        offline: Never download weights.
        output: The CSV to write; `RUN/predicted/NAME.csv` when None.

    Raises:
        HeadclustError: Neither or both are given, or the features come from another backbone or preprocessing.
    """
    if bool(features) == bool(data):
        raise SettingError("predict needs either feature files (--features) or images (--data).")
    fitted = runs.read_run(run)
    stated = fitted.config["features"]
    options: dict[str, Any] = {"weights": weights, "on_error": on_error, "device": device, "offline": offline}
    paths = features or [_embed_like(space, run, str(data), split, **options) for space in stated]
    found = [load_features(path) for path in paths]
    check_alike(stated, found)
    assigned = assign(fitted.model, found[0])
    told = [found[0].attributes["dataset"], found[0].attributes.get("split", "all"), found[0].attributes["backbone"]]
    default = run / "predicted" / f"{_file_name('-'.join(told))}.csv"
    return runs.write_assignments(output or default, found[0].sample_ids, assigned.clusters, assigned.confidence)


def evaluate(run: Path, *, features: Sequence[Path] = (), probes: bool = False) -> dict[str, Any]:
    """The metrics of a run: as fitted, or on other labelled features.

    Args:
        run: A run folder.
        features: Feature files to assign and score, one a space; the run's own metrics when empty.
        probes: Add a `probes` entry: what the features hold, measured with labels; fitted on the run's own features.

    Raises:
        HeadclustError: The run or the features cannot be used.
    """
    if probes and not features:
        raise SettingError(
            "probes are trained on the run's features: say which others to test them on with --features."
        )
    fitted = runs.read_run(run)
    found = [load_features(path) for path in features]
    report = dict(fitted.metrics)
    if found:
        check_alike(fitted.config["features"], found)
        report = assign(fitted.model, found[0]).report
    if probes:
        train = reload_spaces(fitted.config["features"])[0]
        report["probes"] = probe(train, found[0])
    return report


def import_array(
    array: Path,
    *,
    ids: Path | None = None,
    labels: Path | None = None,
    dataset: str | None = None,
    backbone: str = "imported",
    output: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Makes a feature file of embeddings made elsewhere; returns its path.

    Args:
        array: A .npy file, (n_samples, feature_dim).
        ids: A text file with a sample id a line; row numbers when None.
        labels: A .npy file or text file with a whole number a row, -1 = unknown.
        dataset: Name of the data; the array's file name when None.
        backbone: Name of what made the embeddings.
        output: The file to make; `features/DATASET-all/BACKBONE.h5` when None.
        overwrite: Replace a file that is there.

    Raises:
        HeadclustError: A file is missing or does not fit the others.
    """
    values = read_array(array)
    dataset = dataset or array.stem
    path = output or FEATURES_FOLDER / _file_name(f"{dataset}-all") / f"{_file_name(backbone)}.h5"
    return write_features(
        path,
        values,
        sample_ids=read_lines(ids) if ids else [str(row) for row in range(values.ndim and len(values))],
        labels=read_labels(labels) if labels else None,
        dataset=dataset,
        backbone=backbone,
        attributes={"split": "all"},
        overwrite=overwrite,
    )


def info(path: Path) -> dict[str, Any]:
    """What a feature file or a run folder says of itself, JSON-like."""
    if path.is_dir():
        fitted = runs.read_run(path)
        return {**fitted.config, "metrics": fitted.metrics}
    features = load_features(path)
    labels = features.labels
    known = 0 if labels is None else int((labels >= 0).sum())
    counts = {"n_samples": features.n_samples, "feature_dim": features.feature_dim, "n_skipped": len(features.skipped)}
    return {**counts, "n_labelled": known, **features.attributes}


def verify(path: Path) -> list[str]:
    """What does not hold about a feature file, one line each; nothing when it is as it was written."""
    return verify_features(path)


def _features_path(images: ImageSet, name: str) -> Path:
    return FEATURES_FOLDER / _file_name(f"{images.dataset}-{images.split}") / f"{_file_name(name)}.h5"


def _run_name(space: Features, method: str, preset: str, seed: int) -> str:
    told = [space.attributes.get("dataset"), space.path.stem if space.path else None, method, f"s{seed}"]
    return "-".join(str(part) for part in [*told, "" if preset == "ours" else preset] if part)


def _file_name(text: str) -> str:
    """`text` with everything but letters, digits and `._=+@` turned into "-", so that it can name a file anywhere."""
    return re.sub(r"[^\w.=+@-]+", "-", text).strip("-.") or "unnamed"


def _n_clusters(recipe: tuple[Any, ...], space: Features) -> int:
    """The recipe's number of clusters, or the number of classes among the labels."""
    wanted: int = recipe[0].n_clusters
    known = space.labels[space.labels >= 0] if space.labels is not None else np.empty(0)
    if wanted == 0 and len(known) == 0:
        raise SettingError("the features have no labels to count classes by: say how many clusters with --clusters K.")
    wanted = wanted or len(np.unique(known))
    if wanted > space.n_samples:
        raise SettingError(f"{wanted} clusters asked of {space.n_samples} samples: wanted at most {space.n_samples}.")
    return wanted


def _check_neighbors(given: Mapping[str, Any], space: Features) -> None:
    # The default is cut to what there is; a number someone asked for is not changed behind their back.
    n_neighbors = int(given.get("n_neighbors", 0))
    if n_neighbors >= space.n_samples:
        most = space.n_samples - 1
        raise SettingError(f"n_neighbors is {n_neighbors}, of {space.n_samples} samples: wanted at most {most}.")


def _warn_of_collapse(report: Mapping[str, Any]) -> None:
    used, wanted, largest = report["clusters_used"], report["n_clusters"], report["largest_share"]
    if used < wanted:
        note(f"warning: only {used} of {wanted} clusters are used.")
    if largest > 3 / wanted:
        note(f"warning: one cluster holds {largest:.0%} of the samples, more than 3 times its even share.")


def _embed_like(stated: Mapping[str, Any], folder: Path, data: str, split: str | None, **options: Any) -> Path:
    """Embeds images into a run's own folder as the fitted ones were, by what the run recorded of them."""
    preprocessing = stated.get("preprocessing")
    if preprocessing is None:
        raise SettingError(
            "the run was fitted on imported features: embed the images as those were, then use --features."
        )
    size, own = preprocessing["input_size"], preprocessing["own_size"]
    images = open_source(data, split)
    options |= {
        "split": split,
        "image_size": None if size == own else size[0],
        "batch_size": stated["batch_size"],
        "dtype": stated["dtype"],
        "output": folder / "predicted" / f"{_file_name(f'{images.dataset}-{images.split}')}.h5",
    }
    try:
        return embed(stated["backbone"], data, **options)
    except ConflictError:
        # Other images, or the same ones changed. The file is this verb's own.
        return embed(stated["backbone"], data, overwrite=True, **options)
