"""Verbs that use what was made: a run on other images, its scores, what a file says of itself."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from headclust import runs
from headclust.backbones import load_backbone
from headclust.cache import load_features, verify_features
from headclust.datasets import ImageSet, open_source
from headclust.embed import embed_images
from headclust.errors import ConflictError, SettingError
from headclust.naming import file_name
from headclust.probes import probe
from headclust.spaces import check_alike, reload_spaces
from headclust.trials import assign


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
        output: The CSV to write; `RUN/predicted/NAME.csv` when None, where NAME tells data set and split, and with
            feature files the backbone.

    Raises:
        HeadclustError: Neither or both are given, or the features come from another backbone or preprocessing.
    """
    if bool(features) == bool(data):
        raise SettingError("predict needs either feature files (--features) or images (--data).")
    fitted = runs.read_run(run)
    stated = fitted.config["features"]
    embed = partial(_embed_like, weights=weights, device=device, on_error=on_error, offline=offline)
    paths = features or [embed(space, run, str(data), split) for space in stated]
    found = [load_features(path) for path in paths]
    check_alike(stated, found)
    assigned = assign(fitted.model, found)
    told = [found[0].attributes["dataset"], found[0].attributes.get("split", "all"), found[0].attributes["backbone"]]
    default = run / "predicted" / f"{file_name('-'.join(told))}.csv" if features else paths[0].with_suffix(".csv")
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
        report = assign(fitted.model, found).report
    if probes:
        train = reload_spaces(fitted.config["features"])[0]
        report["probes"] = probe(train, found[0])
    return report


def info(path: Path) -> dict[str, Any]:
    """What a feature file or a run folder says of itself, JSON-like."""
    if path.is_dir():
        fitted = runs.read_run(path)
        return {**fitted.config, "metrics": fitted.metrics}
    features = load_features(path)
    labels = features.labels
    known = 0 if labels is None else int((labels >= 0).sum())
    counts = {"n_samples": features.n_samples, "feature_dim": features.feature_dim, "n_views": features.n_views}
    counts["n_skipped"] = len(features.skipped)
    return {**counts, "n_labelled": known, **features.attributes}


def verify(path: Path) -> list[str]:
    """What does not hold about a feature file, one line each; nothing when it is as it was written."""
    return verify_features(path)


def _embed_like(
    stated: Mapping[str, Any],
    folder: Path,
    data: str,
    split: str | None,
    *,
    weights: Path | None,
    device: str | None,
    on_error: Literal["fail", "skip"],
    offline: bool,
) -> Path:
    """Embeds images into a run's own folder as the fitted ones were, by what the run recorded of them."""
    preprocessing = stated.get("preprocessing")
    if preprocessing is None:
        raise SettingError(
            "the run was fitted on imported features: embed the images as those were, then use --features."
        )
    images = open_source(data, split, offline=offline)
    size, own, preset = preprocessing["input_size"], preprocessing["own_size"], preprocessing.get("preset")
    backbone = load_backbone(
        stated["backbone"],
        weights=weights,
        image_size=None if preset or size == own else size[0],
        offline=offline,
        preset=preset,
        dataset=stated["dataset"],  # a preset does the same to other images as it did to these
    )
    embed = partial(
        embed_images,
        images,
        backbone,
        _predicted_path(folder / "predicted", images),
        batch_size=stated["batch_size"],
        dtype=stated["dtype"],
        precision="float32" if stated.get("precision") == "float32" else "auto",
        device=device,
        on_error=on_error,
    )
    try:
        return embed()
    except ConflictError:
        # The images have changed, or the versions. The file is this verb's own.
        return embed(overwrite=True)


def _predicted_path(folder: Path, images: ImageSet) -> Path:
    """`DATASET-SPLIT.h5`, or with -2, -3 ... where another source of that name was there first."""
    name = file_name(f"{images.dataset}-{images.split}")
    for number in itertools.count(1):
        path = folder / (f"{name}.h5" if number == 1 else f"{name}-{number}.h5")
        if not path.exists() or load_features(path).attributes.get("source") == images.source:
            return path
    raise AssertionError("there is always another number")
