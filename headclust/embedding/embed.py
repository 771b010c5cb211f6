"""Stage 1: images x backbone -> feature file. Slow, done once, and safe to interrupt."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust import progress
from headclust.device import forward, reuse_memory
from headclust.embedding.settings import EmbedSettings, describe_unreadable
from headclust.errors import DataError
from headclust.features import Staging, check_finite, open_staging
from headclust.images.decoding import decoded_batches

if TYPE_CHECKING:
    import torch

    from headclust.backbones import Backbone
    from headclust.embedding.parts import Task
    from headclust.images.datasets import ImageSet


def embed_images(images: ImageSet, backbone: Backbone, path: Path, settings: EmbedSettings | None = None) -> Path:
    """Write the features of every image to a feature file; return its path.

    The same call resumes an interrupted run and ends in the same file, byte for byte. For a finished file it does
    nothing.

    Args:
        images: Row i of the file is the i-th image that can be read. Images are read in forked processes, so
            `images.read` must open its files when it is called.
        backbone: The frozen model and its preprocessing.
        path: The file to make; `NAME.h5.partial/` beside it holds unfinished work.
        settings: How to embed; the defaults of EmbedSettings when None.

    Raises:
        SettingError: A setting is not possible.
        DataError: An image cannot be read, features are not finite or overflow float16, or an id appears twice.
        ConflictError: A file or unfinished work with other settings is in the way, another process is writing it, or
            the source of the images was removed or changed meanwhile.
        HeadclustError: The disk is full, the folder cannot be written, or no process can be started.
    """
    from headclust.embedding.parts import finished_message, make_task

    settings, path = settings or EmbedSettings(), Path(path)
    task = make_task(images, backbone, settings)
    with open_staging(path, task.plan, task.layout, overwrite=settings.overwrite) as staging:
        if staging is None:
            progress.note(finished_message(images, path, settings))
        else:
            _embed_blocks(images, backbone, task, staging, settings)
            staging.finish(images.sample_ids, images.labels)
            _note_unreadable(images, staging)
    return path


def _embed_blocks(images: ImageSet, backbone: Backbone, task: Task, staging: Staging, settings: EmbedSettings) -> None:
    """Embed the rows that the staging lacks, one batch per block."""
    import torch

    from headclust.embedding.parts import decoder, pixel_shape

    settings.check_unreadable(images.sample_ids, staging.bad)
    done, total, layout = staging.n_rows, len(images), task.layout
    if done:
        progress.note(f"{staging.path}: resuming after {done} of {total} images.")
    model = forward(backbone.model, backbone.preprocessing.normalize, task.device, task.plan["precision"])
    blocks = [layout.rows(block) for block in range(staging.n_blocks, layout.n_blocks)]
    shape = pixel_shape(backbone, layout.block_rows, layout.n_views)
    try:
        with (
            reuse_memory(task.device),
            progress.bar("embedding", total, start=done) as advance,
            closing(
                decoded_batches(decoder(images, backbone, task.views), blocks, shape, timeout=settings.timeout)
            ) as batches,
        ):
            for rows, pixels, bad in batches:
                settings.check_unreadable(images.sample_ids, staging.bad | bad)
                # Plain images and each view go through the model in separate batches of one shape, so that the plain
                # features have the same bits with and without views: (1 + n_views, rows, dim).
                features = torch.stack([model(plane)[: len(rows)] for plane in pixels])
                staging.append(_stored(images, features, rows, bad, task.plan), bad)
                advance(len(rows))
    except KeyboardInterrupt:
        if staging.n_rows:
            progress.note(f"stopped after {staging.n_rows} of {total} images: the same command resumes there.")
        raise


def _note_unreadable(images: ImageSet, staging: Staging) -> None:
    """Log the number of images that are left out, and the first of them."""
    if staging.bad:
        row = min(staging.bad)
        first = describe_unreadable(images.sample_ids[row], staging.bad[row])
        count = f"{len(staging.bad)} of {len(images)} images cannot be read"
        progress.note(f"{count} and are listed as skipped in {staging.path}; the first: {first}.")


def _stored(
    images: ImageSet, features: torch.Tensor, rows: range, bad: dict[int, str], plan: Mapping[str, Any]
) -> NDArray[np.floating[Any]]:
    """Features of a block in the stored dtype, (1 + n_views, rows, dim); rows of unreadable images are zero.

    Raises:
        DataError: A feature is not finite, or overflows float16.
    """
    import torch

    features = features.index_fill(1, torch.tensor([row - rows.start for row in bad], dtype=torch.long), 0)
    ids = images.sample_ids[rows.start : rows.stop]
    try:
        for number, plane in enumerate(features):
            check_finite(
                plane.numpy(), ids, "its features" if number == 0 else f"the features of its view {number - 1}"
            )
    except DataError as error:
        if plan["precision"] == "float32":
            raise
        raise DataError(f"{str(error).removesuffix('.')}, or use --precision float32.") from None
    values = features.to(getattr(torch, plan["dtype"])).numpy()
    overflow = np.argwhere(np.isinf(values).any(axis=2))
    if len(overflow):
        number, row = overflow[0].tolist()
        where = "" if number == 0 else f" in its view {number - 1}"
        reason = f"a feature of {float(features[number, row].abs().max()):.6g}{where} does not fit float16"
        raise DataError(f"{progress.printable(ids[row])}: {reason} (at most 65504): use --dtype float32.")
    stored: NDArray[np.floating[Any]] = values
    return stored
