"""The verb `embed`: a feature file from images, or an estimate of its cost."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from headclust.backbones import check_memory, check_weights, find_entry, load_backbone, untrained_backbone
from headclust.choices import Preprocessing
from headclust.device import resolve_device
from headclust.embedding import EmbedSettings
from headclust.embedding.embed import embed_images
from headclust.embedding.estimate import Estimate, estimate, weight_bytes
from headclust.images.datasets import open_source
from headclust.progress import note
from headclust.verbs.places import features_path


def embed(
    model: str,
    data: str | None = None,
    *,
    split: str | None = None,
    classes: Path | None = None,
    limit: int | None = None,
    output: Path | None = None,
    weights: Path | None = None,
    preset: Preprocessing | None = None,
    image_size: int | None = None,
    settings: EmbedSettings | None = None,
    offline: bool = False,
    dry_run: bool = False,
) -> Path | Estimate:
    """Embed images with a frozen backbone into a feature file; return its path, or the estimate of a dry run.

    Args:
        model: A backbone's name, `timm:NAME` or `open_clip:ARCH/PRETRAINED`.
        data: Source of the images, as for `headclust.images.datasets.open_source`; the bundled digits when None.
        split: The split, if the source has several.
        classes: A file with the names of the classes to keep, one per line.
        limit: Size of a random subset of the images, drawn without labels; all images when None.
        output: The file to make; `features/DATASET-SPLIT/MODEL[-VARIANT].h5` when None.
        weights: A file with the model's weights.
        preset: A paper's preprocessing and feature points, instead of the model's own.
        image_size: Input size in pixels, instead of the model's own.
        settings: How to embed; the defaults of EmbedSettings when None.
        offline: Never download weights or data.
        dry_run: Estimate time, memory and disk; write and download nothing (except `hf:` data that are not on the
            machine). The model is built without its weights, which change neither time nor memory.

    Raises:
        HeadclustError: The source, the model, the images or the output cannot be used.
    """
    settings = settings or EmbedSettings()
    if dry_run and weights is not None:
        check_weights(weights)
    find_entry(model)  # raises for an unknown name before the data are opened
    if settings.device is not None:
        resolve_device(settings.device)
    if data is None:
        note("no data given: embedding the bundled digits.")
    images = open_source(data, split, classes=classes, offline=offline)
    if limit is not None:
        images = images.subset(limit, settings.seed)
    variant = _variant(settings, limit, weights, preset, image_size)
    path = output or features_path(images.dataset, images.split, f"{model}{variant}")
    if dry_run:
        untrained = partial(untrained_backbone, model, image_size=image_size, preset=preset, dataset=images.dataset)
        check_memory(model, weight_bytes(untrained(device="meta")))
        return estimate(images, untrained(), path, settings)
    backbone = load_backbone(
        model, weights=weights, image_size=image_size, offline=offline, preset=preset, dataset=images.dataset
    )
    return embed_images(images, backbone, path, settings)


def _variant(
    settings: EmbedSettings, limit: int | None, weights: Path | None, preset: str | None, image_size: int | None
) -> str:
    """The part of the file name that distinguishes a feature file from others of the same model and data."""
    views, seed = settings.n_views, settings.seed
    parts = [
        preset or "",
        f"{image_size}px" if image_size else "",
        f"n{limit}-s{seed}" if limit else "",
        weights.stem if weights else "",
        f"{views}views" if views else "",
        settings.augmentation if views and settings.augmentation != "standard" else "",
        f"s{seed}" if seed and not limit else "",
        "" if settings.dtype == "float32" else settings.dtype,
    ]
    return "".join(f"-{part}" for part in parts if part)
