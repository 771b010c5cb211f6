"""The verb `predict`: the clusters of a run for other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust import runs
from headclust.backbones import check_weights
from headclust.choices import OnError
from headclust.device import resolve_device
from headclust.embedding import EmbedSettings
from headclust.embedding.alike import backbone_like, settings_like
from headclust.embedding.embed import embed_images
from headclust.errors import ConflictError, SettingError, SourceError
from headclust.features import load_features
from headclust.filenames import file_name, numbered
from headclust.images.datasets import ImageSet, open_source
from headclust.progress import note, percent
from headclust.runs import novelty
from headclust.runs.assignments import write_assignments
from headclust.runs.inputs import load_alike
from headclust.runs.scored_fit import Assigned, assign
from headclust.verbs.left_out import listed_in, warn_if_many


def predict(
    run: Path,
    *,
    features: Sequence[Path] = (),
    data: str | None = None,
    split: str | None = None,
    exclude: Sequence[str] = (),
    weights: Path | None = None,
    on_error: OnError = "fail",
    max_pixels: int | None = None,
    level: int | None = None,
    device: str | None = None,
    offline: bool = False,
    output: Path | None = None,
) -> Path:
    """Assign the groups of a run to other images; return the CSV of `sample_id,cluster,confidence,novelty`.

    Without stored fitted samples, as in runs of older versions, there is no `novelty`; if groups have names, a column
    `name` follows. One line on stderr sums up.

    Args:
        run: A run folder.
        features: Feature files of the images, one per space. Either these or `data` is needed.
        data: Source of the images, or one image; first embedded like those of the run, into `RUN/predicted/`.
        split: The split, if `data` has several.
        exclude: Patterns of files and folders of `data` to leave out, as for `open_source`.
        weights: The file with the model's weights, if the run's features were made with one.
        on_error: "fail" at an unreadable image, or "skip" it, so that it gets no row.
        max_pixels: Largest image to read, as in EmbedSettings.
        level: Number of groups to join the clusters to, by levels.json; the finest level when None.
        device: Where to embed and assign; the best available when None.
        offline: Never download weights.
        output: The CSV to write; `RUN/predicted/NAME.csv` when None, where NAME has data set and split, and for
            feature files also the backbone.

    Raises:
        ConflictError: The output is the assignments.csv of a run.
        HeadclustError: Neither or both of them are given, or the features come from another backbone or preprocessing.
    """
    if exclude and data is None:
        raise SettingError("exclude leaves out images of --data: leave it out with --features.")
    if bool(features) == bool(data):
        raise SettingError("predict needs either feature files (--features) or images (--data).")
    fitted = runs.read_run(run)
    if output:
        runs.check_not_of_run(output)
    if device is not None:
        resolve_device(device)
    if weights is not None:
        check_weights(weights)
    groups = runs.read_groups(fitted, level=level)
    recorded = fitted.config["features"]
    folder = fitted.path / "predicted"
    if data is not None:
        images = open_source(data, split, exclude=exclude, offline=offline)
        _ = fitted.model, runs.read_seen(fitted)  # damaged files are refused before anything is embedded
        settings = EmbedSettings(device=device, on_error=on_error, max_pixels=max_pixels)
        features = [
            _embed_space(space, folder, images, number, settings, weights=weights, offline=offline)
            for number, space in enumerate(recorded, start=1)
        ]
    spaces = load_alike(recorded, features)
    if data is not None:
        default = features[0].with_suffix(".csv")
    else:
        attributes = spaces[0].attributes
        parts = [attributes["dataset"], attributes.get("split", "all"), attributes["backbone"]]
        default = folder / f"{file_name('-'.join(parts))}.csv"
    seen = runs.read_seen(fitted)
    chosen_device = resolve_device(device)
    assigned, sample_ids = assign(fitted.model, spaces, device=chosen_device), spaces[0].sample_ids
    scores: NDArray[np.float32] | None = None
    if seen is None:
        note("this run stores no fitted samples, so novelty cannot be measured: fit again for that.")
    else:
        same = [space.sha256 for space in spaces] == [space["sha256"] for space in recorded]
        scores = novelty.measure(seen, spaces, fitted=same, device=chosen_device)
    clusters = groups.of(assigned.clusters)
    path = write_assignments(
        output or default,
        sample_ids,
        clusters,
        assigned.confidence,
        scores,
        names={group: groups.label(group) for group in np.unique(clusters).tolist()} if groups.names else None,
    )
    if data is not None:
        warn_if_many(spaces[0], listed_in(features[0]))
    _sum_up(
        sample_ids, replace(assigned, clusters=clusters), groups.names, scores, 0 if seen is None else len(seen.numbers)
    )
    return path


def _sum_up(
    sample_ids: Sequence[str],
    assigned: Assigned,
    names: Mapping[int, str],
    scores: NDArray[np.float32] | None,
    n_fitted: int,
) -> None:
    """Log the number of images and of novel ones, and the image with the lowest confidence; all about a single one."""
    row = int(np.argmin(assigned.confidence))
    name, group, sure = sample_ids[row], int(assigned.clusters[row]), assigned.confidence[row]
    cluster = f"{group} ({names[group]})" if group in names else str(group)
    level = novelty.UNUSUAL
    few = scores is not None and n_fitted / (n_fitted + 1) < level
    too_few = f"{n_fitted} fitted ones are too few to tell which are unlike them"
    if len(sample_ids) == 1:
        unlike = "" if scores is None else f"; {too_few}" if few else f", novelty {scores[0]:.2f}"
        note(f"{name}: cluster {cluster}, confidence {percent(sure)}{unlike}.")
        return
    least = f"least sure is {name} ({percent(sure)} for cluster {cluster})"
    images = f"{len(sample_ids)} images"
    if scores is None:
        note(f"{images}: {least}.")
    elif few:
        note(f"{images}: {too_few}; {least}.")
    else:
        usual = f"novelty of {level:g} or more, as 1 % of the fitted ones have"
        note(f"{images}: {int((scores >= level).sum())} unlike anything seen ({usual}); {least}.")


def _embed_space(
    recorded: Mapping[str, Any],
    folder: Path,
    images: ImageSet,
    number: int,
    settings: EmbedSettings,
    *,
    weights: Path | None,
    offline: bool,
) -> Path:
    """Embed images like space `number` of a run, as recorded there; return the feature file."""
    backbone, settings = backbone_like(recorded, weights=weights, offline=offline), settings_like(recorded, settings)
    path = _predicted_path(folder, images, "" if number == 1 else f"-space{number}")
    try:
        return embed_images(images, backbone, path, settings)
    except SourceError:
        raise
    except ConflictError:
        # The images or the versions have changed. This verb made the file, so it may replace it.
        return embed_images(images, backbone, path, replace(settings, overwrite=True))


def _predicted_path(folder: Path, images: ImageSet, suffix: str) -> Path:
    """`DATASET-SPLIT.h5`, or with -2, -3 ... if that name has images of another source, or with others left out."""
    name = file_name(f"{images.dataset}-{images.split}")
    paths = (path.with_name(f"{path.name}{suffix}.h5") for path in numbered(folder / name))
    return next(path for path in paths if not path.exists() or _is_of(path, images))


def _is_of(path: Path, images: ImageSet) -> bool:
    attributes = load_features(path).attributes
    same = attributes.get("exclude") == images.record.get("exclude")
    return same and attributes.get("source") == images.source
