"""Stage 1 in several processes: each embeds a shard, the blocks of a contiguous range; one merges them to one file.

The processes share nothing but the folder `NAME.h5.partial/`, so any scheduler can start them, on one machine or many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headclust import progress
from headclust.embedding.again import left_out_count
from headclust.embedding.embed import embed_blocks, embed_images, note_unreadable
from headclust.embedding.settings import EmbedSettings
from headclust.errors import BusyError
from headclust.features import is_folder, open_staging
from headclust.features.assembly import Samples
from headclust.features.format import MACHINE_ATTRIBUTES
from headclust.features.merging import merge_shards
from headclust.features.plan import is_finished
from headclust.features.sharded import begun_shards, check_begun, is_merging, unfinished_shards
from headclust.shards import WHOLE, Shard

if TYPE_CHECKING:
    from headclust.backbones import Backbone
    from headclust.embedding.parts import Task
    from headclust.images.datasets import ImageSet


def embed_shard(
    images: ImageSet,
    backbone: Backbone,
    path: Path,
    shard: Shard,
    settings: EmbedSettings | None = None,
    *,
    allow_unlike: bool = False,
    keep_shards: bool = False,
) -> bool:
    """Embed the images of one shard; the process that completes the last one merges them. True if the file is complete.

    The same call resumes it, in another process too. Together all shards end in the file that `embed_images` makes in
    one process with the same device, versions and number of threads, byte for byte.

    Args:
        images: All images, of all shards.
        backbone: The frozen model and its preprocessing.
        path: The file to make; `NAME.h5.partial/3-of-8/` beside it holds the work of shard 3/8.
        shard: The part to embed: a contiguous range of whole batches.
        settings: How to embed; `max_bad` counts over all shards.
        allow_unlike: Shards may be made on different devices, with different versions and numbers of threads. The file
            then records them, and is not that of one process.
        keep_shards: Merge to a folder of shards, not to one file.

    Raises:
        HeadclustError: As for `embed_images`, or the file was begun with another number of shards.
    """
    from headclust.embedding.parts import make_task

    settings, path = settings or EmbedSettings(), Path(path)
    if shard == WHOLE:
        embed_images(images, backbone, path, settings)
        return True
    task = make_task(images, backbone, settings)
    task = replace(task, layout=replace(task.layout, shard=shard))
    layout = task.layout

    def merge_now() -> bool:
        try:
            merge(images, path, settings, task.plan, allow_unlike=allow_unlike, keep_shards=keep_shards)
        except BusyError:
            progress.note(f"{path}: all shards are complete, and another process merges them.")
            return False
        return True

    if is_merging(path) and not settings.overwrite:  # a process was killed that did so
        return merge_now()
    _embed_own(images, backbone, path, task, settings, allow_unlike=allow_unlike)
    if not settings.overwrite and is_finished(path, task.plan, allow_unlike=allow_unlike):
        return merge_now()
    unfinished = unfinished_shards(path, layout)
    if not unfinished:
        return merge_now()
    if not begun_shards(path):  # another process has just merged them
        return path.exists()
    count = f"{len(unfinished)} of {shard.of} shards are not complete yet"
    progress.note(f"{path}: {count}; the last one merges them.")
    return False


def _embed_own(
    images: ImageSet, backbone: Backbone, path: Path, task: Task, settings: EmbedSettings, *, allow_unlike: bool
) -> None:
    """Embed the rows of the shard that its staging lacks."""
    layout, rows, shard = task.layout, task.layout.rows_of_shard, task.layout.shard
    if not layout.blocks:
        check_begun(path, shard, task.plan, overwrite=settings.overwrite, allow_unlike=allow_unlike)
        progress.note(f"{path}: shard {shard} has no images: there are only {layout.n_blocks} batches.")
        return
    with open_staging(path, task.plan, layout, overwrite=settings.overwrite, allow_unlike=allow_unlike) as staging:
        if staging is not None:
            embed_blocks(images, backbone, task, staging, settings)
            bad = f"; {left_out_count(rows, staging.bad)}" if staging.bad else ""
            progress.note(f"{path}: shard {shard} is complete (rows {rows.start} to {rows.stop - 1}){bad}.")


def merge(
    images: ImageSet,
    path: Path,
    settings: EmbedSettings,
    plan: Mapping[str, Any],
    *,
    allow_unlike: bool = False,
    keep_shards: bool = False,
) -> None:
    """Merge all shards to one feature file; nothing is done if it is complete already.

    Args:
        images: All images.
        path: The file to make.
        settings: As of the shards.
        plan: What is known of their plan.
        allow_unlike: As for `embed_shard`.
        keep_shards: As for `embed_shard`.

    Raises:
        HeadclustError: A shard is missing, they do not belong together, too many images cannot be read, another process
            merges, or the file cannot be written.
    """
    bad = merge_shards(
        path,
        Samples(images.sample_ids, images.labels, images.stamps),
        {name: value for name, value in plan.items() if name not in MACHINE_ATTRIBUTES},
        check_bad=lambda bad: settings.check_unreadable(images.sample_ids, bad),
        overwrite=settings.overwrite,
        allow_unlike=allow_unlike,
        keep_shards=keep_shards,
    )
    if bad is None:
        progress.note(f"{path} is finished already, with the same settings: nothing to do.")
        return
    progress.note(f"{path}: merged{' to a folder of shards' if is_folder(path) else ''}.")
    note_unreadable(images, path, bad)
    if passing := sum(reason.passing for reason in bad.values()):
        progress.note(f"{path}: {passing} of these may be readable later: the same command without shards tries again.")
