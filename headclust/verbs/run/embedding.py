"""The first step of `run`: embedding, which is skipped if the features exist with the same settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headclust.backbones import list_backbones, load_backbone
from headclust.choices import OnError
from headclust.embedding import EmbedSettings
from headclust.embedding.again import Earlier, earlier, try_reading
from headclust.embedding.embed import embed_images
from headclust.embedding.grow import grow
from headclust.errors import BusyError, ConflictError, HeadclustError, SourceError
from headclust.features import Features, load_features, samples_as_recorded, staging_folder
from headclust.images.datasets import ImageSet
from headclust.progress import note, printable
from headclust.verbs.run import grown
from headclust.verbs.run.groups_folder import marked_folder
from headclust.verbs.run.grown import with_added

# Packaged backbones, the better first: docs/default.md, mean over its data sets.
PREFERRED = ("efficientnet_lite1", "efficientnet_lite0")
# Two views triple the time of embedding. The default was measured with them, on data sets up to this size.
N_VIEWS, MOST_WITH_VIEWS = 2, 20_000


def embed_step(
    images: ImageSet,
    path: Path,
    *,
    model: str | None,
    weights: Path | None,
    views: int | None,
    device: str | None,
    on_error: OnError,
    max_pixels: int | None = None,
    offline: bool,
    overwrite: bool,
) -> Features:
    """Embed the images, unless their features exist; return the features.

    Raises:
        HeadclustError: Images, weights or the folder cannot be used, or features with other settings are in the way.
    """
    before = _begun(path)
    images = with_added(images, before)
    if not overwrite:
        _check_labels(images, path, before)
    model = model or before.get("backbone") or best_packaged()
    if views is None:
        views = int(before.get("n_views") or 0) if before else (N_VIEWS if len(images) <= MOST_WITH_VIEWS else 0)
    work = f"{len(images):,} images{f' and {views} views of each' if views else ''} with {model}"
    settings = EmbedSettings(n_views=views, on_error=on_error, device=device, max_pixels=max_pixels)
    finished = None if weights else _embedded(images, path, model, views, max_pixels)
    if finished and not _is_worth_trying(images, finished, settings):
        note(f"step 1 of 3: {work}: embedded already.")
        return finished.features
    growth = None if finished else grown.growth_of(images, path, before, model, settings)
    if growth and not grown.is_needed(growth, overwrite=overwrite):
        note(f"step 1 of 3: {work}: embedded already.")
        return growth.base
    note(f"step 1 of 3: embedding {grown.work(growth, model) if growth else work}.")
    backbone = load_backbone(model, weights=weights, offline=offline)
    with marked_folder(images, path.parent):
        if growth:
            return grow(growth, backbone, path, settings)
        try:
            embed_images(images, backbone, path, settings)
        except (BusyError, SourceError):
            raise
        except ConflictError as error:
            if finished and not overwrite:  # made with other versions or threads: its rows are good as they are
                note(f"warning: images that were left out can be read now, but {error}")
                return finished.features
            if not overwrite:
                raise
            embed_images(images, backbone, path, replace(settings, overwrite=True))
    return load_features(path)


def _embedded(images: ImageSet, path: Path, model: str, views: int, max_pixels: int | None) -> Earlier | None:
    """The finished features of these images with these settings; None if there are none.

    Unlike unfinished work, they may come from other library versions or another number of threads: all rows of the file
    were made in the same way, and only their last bits would change.
    """
    attributes = _begun(path) if path.exists() else {}
    expected = {"source": images.source, "split": images.split, "backbone": model, "max_pixels": max_pixels}
    if any(attributes.get(name) != value for name, value in expected.items()):
        return None
    features = load_features(path)
    samples = samples_as_recorded(features.left_out, images.sample_ids, images.stamps, images.labels)
    return (
        earlier(images, features) if (attributes.get("samples_sha256"), features.n_views) == (samples, views) else None
    )


def _is_worth_trying(images: ImageSet, finished: Earlier, settings: EmbedSettings) -> bool:
    """True if an image that was left out can be read now.

    Raises:
        DataError: None can, and the settings allow no image to be left out.
    """
    settings.check_unreadable(images.sample_ids, finished.lasting)
    readable, reasons = try_reading(images, finished.again, settings)
    if not readable:
        settings.check_unreadable(images.sample_ids, {**finished.bad, **reasons})
    return readable


def _begun(path: Path) -> Mapping[str, Any]:
    """Settings recorded by a feature file or by unfinished work on one; empty if there is neither."""
    try:
        if path.exists():
            return load_features(path).attributes
        return dict(json.loads((staging_folder(path) / "plan.json").read_bytes()))
    except (HeadclustError, OSError, ValueError, TypeError):
        return {}  # the step itself reports what is wrong with it


def _check_labels(images: ImageSet, path: Path, before: Mapping[str, Any]) -> None:
    """Raise if features exist that have labels of subfolders, and those are not used now, or the other way round."""
    name = printable(str(path))
    if before.get("class_names") and images.record.get("labels") == "none":
        raise ConflictError(
            f"{name} has subfolders as labels: continue with --labels folders, use --overwrite to embed again without "
            "them, or choose another folder with -o."
        )
    if before.get("labels") == "none" and images.labels is not None:
        raise ConflictError(
            f"{name} was made without labels: leave --labels out, use --overwrite to embed again, or choose another "
            "folder with -o."
        )


def best_packaged() -> str:
    """The best of the packaged backbones that are installed."""
    at_hand = {row["name"] for row in list_backbones(pattern="efficientnet_lite*", at_hand=True)}
    return next((name for name in PREFERRED if name in at_hand), PREFERRED[-1])
