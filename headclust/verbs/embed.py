"""Verbs that make a feature file: from images, or from an array made elsewhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from headclust.backbones import check_memory, load_backbone, untrained_backbone
from headclust.embedding.embed import embed_images
from headclust.embedding.estimate import Estimate, estimate, weight_bytes
from headclust.errors import FileFormatError
from headclust.features import write_features
from headclust.features.arrays import read_array, read_labels, read_lines
from headclust.images.datasets import ImageSet, open_source
from headclust.progress import note
from headclust.verbs.places import features_path


def embed(
    model: str,
    data: str | None = None,
    *,
    split: str | None = None,
    classes: Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    output: Path | None = None,
    weights: Path | None = None,
    preset: str | None = None,
    image_size: int | None = None,
    views: int = 0,
    augmentation: str = "standard",
    batch_size: int = 64,
    dtype: str = "float32",
    precision: str = "auto",
    device: str | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    max_bad: int | None = None,
    timeout: float = 60.0,
    offline: bool = False,
    overwrite: bool = False,
) -> Path:
    """Embeds images with a frozen backbone into a feature file; returns its path.

    Args:
        model: A backbone's name, `timm:NAME` or `open_clip:ARCH/PRETRAINED`.
        data: Where the images are, as `headclust.images.datasets.open_source` takes it; the bundled digits when None.
        split: Which split, where a source has some.
        classes: A file with the names of the classes to keep, one a line.
        limit: Take a random subset of so many images, drawn without looking at labels.
        seed: Seed of that subset, and of the views.
        output: The file to make; `features/DATASET-SPLIT/MODEL[-VARIANT].h5` when None.
        weights: A file with the model's weights.
        preset: A paper's preprocessing and feature points, "temi-paper", instead of the model's own.
        image_size: Input size in pixels, instead of the model's own.
        views: Augmented views of each image to embed besides the image itself.
        augmentation: Their kind: "standard" or "strong".
        batch_size: Images a batch; a row's last bits depend on it.
        dtype: "float32" or "float16", as stored.
        precision: What the model computes in: "auto" or "float32".
        device: Where to compute.
        on_error: "fail" at an unreadable image, or "skip" and list it.
        max_bad: With "skip", stop when more images than this cannot be read; None for no limit.
        timeout: Seconds an image may take to be read; it is tried once more, then counts as unreadable.
        offline: Never download weights or data.
        overwrite: Replace a feature file made with other settings.

    Raises:
        HeadclustError: Anything about the source, the model, the images or the output that a user can mend.
    """
    images = _opened(data, split, classes, limit, seed, offline)
    backbone = load_backbone(
        model, weights=weights, image_size=image_size, offline=offline, preset=preset, dataset=images.dataset
    )
    variant = _variant(limit, seed, weights, preset, image_size, views, augmentation, dtype)
    return embed_images(
        images,
        backbone,
        output or features_path(images.dataset, images.split, f"{model}{variant}"),
        n_views=views,
        augmentation=augmentation,
        batch_size=batch_size,
        dtype=dtype,
        precision=precision,
        device=device,
        on_error=on_error,
        max_bad=max_bad,
        timeout=timeout,
        overwrite=overwrite,
        seed=seed,
    )


def estimate_embedding(
    model: str,
    data: str | None = None,
    *,
    split: str | None = None,
    classes: Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    output: Path | None = None,
    weights: Path | None = None,
    preset: str | None = None,
    image_size: int | None = None,
    views: int = 0,
    augmentation: str = "standard",
    batch_size: int = 64,
    dtype: str = "float32",
    precision: str = "auto",
    device: str | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    max_bad: int | None = None,
    timeout: float = 60.0,
    offline: bool = False,
    overwrite: bool = False,
) -> tuple[Path, Estimate]:
    """What `embed` would make with the same arguments, and what it would take; nothing is written or downloaded.

    The arguments are those of `embed`. The model is built without its weights, which change neither; only `hf:` data
    that are not at hand are downloaded.

    Returns:
        The feature file's path, and the estimate.

    Raises:
        HeadclustError: As `embed`.
    """
    if weights is not None and not weights.is_file():
        raise FileFormatError(f"weights {weights}: no such file.")
    images = _opened(data, split, classes, limit, seed, offline)
    untrained = partial(untrained_backbone, model, image_size=image_size, preset=preset, dataset=images.dataset)
    check_memory(model, weight_bytes(untrained(device="meta")))
    backbone = untrained()
    variant = _variant(limit, seed, weights, preset, image_size, views, augmentation, dtype)
    path = output or features_path(images.dataset, images.split, f"{model}{variant}")
    return path, estimate(
        images,
        backbone,
        path,
        n_views=views,
        augmentation=augmentation,
        batch_size=batch_size,
        dtype=dtype,
        precision=precision,
        device=device,
        on_error=on_error,
        max_bad=max_bad,
        timeout=timeout,
        overwrite=overwrite,
        seed=seed,
    )


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
    path = output or features_path(dataset, "all", backbone)
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


def _opened(
    data: str | None, split: str | None, classes: Path | None, limit: int | None, seed: int, offline: bool
) -> ImageSet:
    if data is None:
        note("no data given: embedding the bundled digits.")
    images = open_source(data, split, classes=classes, offline=offline)
    return images if limit is None else images.subset(limit, seed)


def _variant(
    limit: int | None,
    seed: int,
    weights: Path | None,
    preset: str | None,
    image_size: int | None,
    views: int,
    augmentation: str,
    dtype: str,
) -> str:
    """What tells a feature file from others of the same model and data, for its name."""
    told = [
        preset or "",
        f"{image_size}px" if image_size else "",
        f"n{limit}-s{seed}" if limit else "",
        weights.stem if weights else "",
        f"{views}views" if views else "",
        augmentation if views and augmentation != "standard" else "",
        f"s{seed}" if seed and not limit else "",
        "" if dtype == "float32" else dtype,
    ]
    return "".join(f"-{part}" for part in told if part)
