"""Verbs that use what was made: a run on other images, its scores, what a file says of itself."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headclust import runs
from headclust.backbones import Backbone, load_backbone
from headclust.embedding.embed import embed_images
from headclust.errors import ConflictError, DataError, SettingError
from headclust.features import load_features, verify_features
from headclust.filenames import file_name
from headclust.images.datasets import ImageSet, open_source
from headclust.progress import note, printable
from headclust.runs import novelty
from headclust.runs.assignments import write_assignments
from headclust.runs.inputs import joined, load_alike, locate_features, reload_spaces
from headclust.runs.scored_fit import Assigned, assign
from headclust.scoring.probes import probe

_MADE_BY = ("feature_dim", "weights_sha256", "feature_point", "preprocessing")


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
    """Assigns the clusters of a run to other images; returns the CSV of `sample_id,cluster,confidence,novelty`.

    A run that keeps none of its samples, as older versions made them, has no `novelty`. A line on stderr sums up.

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
        ConflictError: The output is the assignments of a run.
        HeadclustError: Neither or both are given, or the features come from another backbone or preprocessing.
    """
    if bool(features) == bool(data):
        raise SettingError("predict needs either feature files (--features) or images (--data).")
    fitted = runs.read_run(run)
    _check_output(output)
    seen = runs.read_seen(fitted)
    stated = fitted.config["features"]
    if data is not None:
        folder = fitted.path / "predicted"
        features = _embed_spaces(
            stated, folder, data, split, weights=weights, device=device, on_error=on_error, offline=offline
        )
        default = features[0].with_suffix(".csv")
    found = load_alike(stated, features)
    if data is None:
        told = [found[0].attributes["dataset"], found[0].attributes.get("split", "all")]
        default = fitted.path / "predicted" / f"{file_name('-'.join([*told, found[0].attributes['backbone']]))}.csv"
    assigned, unlike = assign(fitted.model, found), None
    if seen is None:
        note("this run keeps none of its samples, so whether images are unlike them is not told: fit again for that.")
    else:
        same = [one.sha256 for one in found] == [one["sha256"] for one in stated]
        unlike = novelty.measure(seen, found, fitted=same)
    written = write_assignments(output or default, found[0].sample_ids, assigned.clusters, assigned.confidence, unlike)
    _sum_up(found[0].sample_ids, assigned, unlike, 0 if seen is None else len(seen.numbers))
    return written


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
    found = load_alike(fitted.config["features"], features) if features else []
    report = dict(fitted.metrics)
    if found:
        report = assign(fitted.model, found).report
    if probes:
        train = reload_spaces(locate_features(fitted.path, fitted.config["features"]))
        report["probes"] = probe(joined(train), joined(found))
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


def _check_output(path: Path | None) -> None:
    """Refuses the place of a run's own assignments, which a file of other images would replace for good."""
    place = Path(os.path.realpath(path)) if path else None  # of links in a circle too
    if path and place and place.name == "assignments.csv" and runs.is_run(place.parent):
        raise ConflictError(
            f"{printable(str(path))} holds the assignments of the fitted images: choose another -o, "
            "or leave it out for a file in RUN/predicted/."
        )


def _sum_up(ids: Sequence[str], assigned: Assigned, unlike: Any, n_seen: int) -> None:
    """The line on stderr: how many images, how many look unlike anything seen, which is the least sure."""
    least = int(np.argmin(assigned.confidence))
    sure = f"least sure is {ids[least]} ({assigned.confidence[least]:.2f} for cluster {assigned.clusters[least]})"
    images = "1 image" if len(ids) == 1 else f"{len(ids)} images"
    level = novelty.UNUSUAL
    if unlike is None:
        note(f"{images}: {sure}.")
    elif n_seen / (n_seen + 1) < level:
        note(f"{images}: {n_seen} fitted ones are too few to tell which are unlike them; {sure}.")
    else:
        usual = f"novelty of {level:g} or more, as 1 % of the fitted ones have"
        note(f"{images}: {int((unlike >= level).sum())} unlike anything seen ({usual}); {sure}.")


def _embed_spaces(
    stated: Sequence[Mapping[str, Any]], folder: Path, data: str, split: str | None, **options: Any
) -> list[Path]:
    """Embeds images as every space of a run was; returns the files, the first of them `DATASET-SPLIT.h5`."""
    images = open_source(data, split, offline=options["offline"])
    suffixes = ["", *(f"-space{number}" for number in range(2, len(stated) + 1))]
    return [
        _embed_like(space, folder, images, suffix, **options) for space, suffix in zip(stated, suffixes, strict=True)
    ]


def _embed_like(
    stated: Mapping[str, Any],
    folder: Path,
    images: ImageSet,
    suffix: str,
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
    size, own, preset = preprocessing["input_size"], preprocessing["own_size"], preprocessing.get("preset")
    backbone = load_backbone(
        stated["backbone"],
        weights=weights,
        image_size=None if preset or size == own else size[0],
        offline=offline,
        preset=preset,
        dataset=stated["dataset"],  # a preset does the same to other images as it did to these
    )
    _check_backbone(backbone, stated)
    embed = partial(
        embed_images,
        images,
        backbone,
        _predicted_path(folder, images, suffix),
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


def _check_backbone(backbone: Backbone, stated: Mapping[str, Any]) -> None:
    """Refuses a model that is not the one of the fit, before time is spent on embedding with it.

    Raises:
        DataError: Its weights, dimension, feature point or preprocessing are others.
    """
    record = json.loads(json.dumps(backbone.preprocessing.record))  # as it comes back from a file
    theirs = {name: getattr(backbone, name) for name in _MADE_BY} | {"preprocessing": record}
    for name in _MADE_BY:
        if theirs[name] != stated.get(name):
            raise DataError(
                f"{backbone.name} here has the {name} {theirs[name]}, the fit's was {stated.get(name)}: "
                "embed with the weights and library versions it was fitted with (--weights FILE)."
            )


def _predicted_path(folder: Path, images: ImageSet, suffix: str) -> Path:
    """`DATASET-SPLIT.h5`, or with -2, -3 ... where another source of that name was there first."""
    name = file_name(f"{images.dataset}-{images.split}")
    for number in itertools.count(1):
        path = folder / f"{name if number == 1 else f'{name}-{number}'}{suffix}.h5"
        if not path.exists() or load_features(path).attributes.get("source") == images.source:
            return path
    raise AssertionError("there is always another number")
