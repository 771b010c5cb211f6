"""Stage 1: images x backbone -> feature file. Slow, done once, and safe to interrupt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust import progress
from headclust.device import forward, reuse_memory
from headclust.embedding.again import (
    Earlier,
    comparable_plan,
    earlier,
    finished_before,
    finished_message,
    left_out_count,
    still_bad,
    try_reading,
)
from headclust.embedding.settings import EmbedSettings, describe_unreadable
from headclust.embedding.writer import writing_behind
from headclust.errors import DataError, FileFormatError, Reason
from headclust.features import (
    Staging,
    check_finite,
    is_folder,
    load_features,
    open_staging,
    staging_folder,
    verify_features,
)
from headclust.features.sharded import bad_elsewhere
from headclust.images.decoding import decoded_batches
from headclust.shards import WHOLE

if TYPE_CHECKING:
    import torch

    from headclust.backbones import Backbone
    from headclust.embedding.parts import Task
    from headclust.images.datasets import ImageSet


def embed_images(images: ImageSet, backbone: Backbone, path: Path, settings: EmbedSettings | None = None) -> Path:
    """Write the features of every image to a feature file; return its path.

    The same call resumes an interrupted run and ends in the same file, byte for byte. With a finished file, it tries
    those left-out images again whose reason can pass, or whose file has changed.

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
    from headclust.embedding.parts import make_task

    settings, path = settings or EmbedSettings(), Path(path)
    task = make_task(images, backbone, settings)
    finished = finished_before(images, path, task.plan, settings)
    if finished is None:
        with open_staging(path, task.plan, task.layout, overwrite=settings.overwrite) as staging:
            if staging is not None:
                passing = any(reason.passing for reason in staging.bad.values())  # of an earlier process
                embed_blocks(images, backbone, task, staging, settings)
                staging.finish(images.sample_ids, images.labels, images.stamps)
                if not passing:
                    note_unreadable(images, path, staging.bad)
                    return path
        finished = earlier(images, load_features(path))
    _embed_again(images, backbone, path, task, settings, finished)
    return path


def _embed_again(
    images: ImageSet, backbone: Backbone, path: Path, task: Task, settings: EmbedSettings, finished: Earlier
) -> None:
    """Make a finished file again with the images that can be read now; if there are none, leave it as it is."""
    settings.check_unreadable(images.sample_ids, finished.lasting)
    if not finished.again:
        if staging_folder(path).exists():  # of a process that was killed after the file was complete
            with open_staging(path, comparable_plan(images, path, task.plan), task.layout):
                pass
        progress.note(finished_message(images, path, finished))
        return
    if is_folder(path):
        count = f"{len(finished.again)} images that it leaves out may be readable now"
        progress.note(f"{path} is a folder of shards, which is not made again: it stays as it is ({count}).")
        return
    readable, reasons = try_reading(images, finished.again, settings)
    if not readable:
        bad = {row: reasons.get(row, reason) for row, reason in finished.bad.items()}
        settings.check_unreadable(images.sample_ids, bad)
        count = f"{len(finished.again)} images that were left out were tried again, and still cannot be read"
        progress.note(f"{path} is finished already, with the same settings; {count}: it stays as it is.")
        note_unreadable(images, path, bad)
        return
    if problems := verify_features(path):  # its rows are copied
        raise FileFormatError(problems[0])
    progress.note(f"{path}: trying the images again that were left out before: {len(finished.again)}.")
    with open_staging(path, task.plan, task.layout, replaces=finished.features.sha256) as staging:
        assert staging is not None
        embed_blocks(images, backbone, task, staging, settings, finished)
        staging.finish(images.sample_ids, images.labels, images.stamps)
        progress.note(f"{path}: images embedded in addition: {len(finished.bad) - len(staging.bad)}.")
        note_unreadable(images, path, staging.bad)


def embed_blocks(
    images: ImageSet,
    backbone: Backbone,
    task: Task,
    staging: Staging,
    settings: EmbedSettings,
    finished: Earlier | None = None,
) -> None:
    """Embed the rows that the staging lacks, one batch per block; with a finished file, only those to try again."""
    from headclust.embedding.parts import decoder, pixel_shape

    layout = task.layout
    # --max-bad counts over all shards.
    elsewhere = {} if settings.max_bad is None else bad_elsewhere(staging.path, layout.shard)
    bad = dict(still_bad(images, elsewhere | staging.bad if finished is None else finished.lasting, settings))
    n_earlier = max(0, layout.first_row - layout.rows_of_shard.start)  # slots of the first block
    done, total = max(0, staging.done.n_rows - n_earlier), len(layout.rows_of_shard) - n_earlier
    if done:
        part = "" if layout.shard == WHOLE else f" shard {layout.shard}:"
        progress.note(f"{staging.path}:{part} resuming after {done} of {total} images.")
    model = forward(backbone.model, backbone.preprocessing.normalize, task.device, task.plan["precision"])
    decode, blocks = decoder(images, backbone, task), staging.done.missing
    to_decode = [layout.rows(block) for block in blocks]
    if finished is not None:
        decode, to_decode = finished.decoder(decode), [rows for rows in to_decode if finished.touches(rows)]
    shape = pixel_shape(backbone, layout.block_rows, layout.n_views)
    try:
        with (
            reuse_memory(task.device),
            progress.bar("embedding", total, start=done) as advance,
            closing(decoded_batches(decode, to_decode, shape, timeout=settings.timeout)) as batches,
            writing_behind() as write,
        ):
            for rows in map(layout.rows, blocks):
                if finished is not None and not finished.touches(rows):
                    write(partial(staging.append, finished.stored(rows), _within(rows, finished.bad)))
                else:
                    _, pixels, unread = next(batches)
                    bad |= unread
                    if unread and settings.max_bad is not None:
                        bad |= bad_elsewhere(staging.path, layout.shard)
                    settings.check_unreadable(images.sample_ids, bad)
                    # Plain images and each view go through the model in separate batches of one shape, so that the
                    # plain features have the same bits with and without views.
                    planes = [model(plane) for plane in pixels]
                    write(partial(_write, staging, images, planes, rows, unread, finished))
                advance(rows.stop - max(rows.start, layout.first_row))
    except KeyboardInterrupt:
        if (done := staging.done.n_rows - n_earlier) > 0:
            progress.note(f"stopped after {done} of {total} images: the same command resumes there.")
        raise


def _write(
    staging: Staging,
    images: ImageSet,
    planes: Sequence[torch.Tensor],
    rows: range,
    unread: dict[int, Reason],
    finished: Earlier | None,
) -> None:
    """Write a block, from the features of the images and of each view, (batch, dim) on the device."""
    import torch

    features = torch.stack([plane[: len(rows)] for plane in planes]).cpu()  # (1 + n_views, rows, dim)
    if finished is None:
        staging.append(_stored(images, features, rows, unread, staging.plan), unread)
        return
    black = [row for row in rows if row in unread or row not in finished.again]
    values = finished.merged(rows, _stored(images, features, rows, black, staging.plan), unread)
    staging.append(values, _within(rows, finished.lasting) | unread)


def _within(rows: range, reasons: Mapping[int, Reason]) -> dict[int, Reason]:
    return {row: reasons[row] for row in rows if row in reasons}


def note_unreadable(images: ImageSet, path: Path, bad: Mapping[int, Reason]) -> None:
    """Log the number of images that are left out, and the first of them."""
    if bad:
        first = describe_unreadable(images.sample_ids[min(bad)], bad[min(bad)])
        progress.note(f"{left_out_count(images, bad)} in {path}; the first: {first}.")


def _stored(
    images: ImageSet, features: torch.Tensor, rows: range, bad: Iterable[int], plan: Mapping[str, Any]
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
