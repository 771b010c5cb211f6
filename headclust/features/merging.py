"""The feature file of all shards, with the bytes of one process; or a folder of shards in its place."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headclust.disk import write_errors
from headclust.errors import ConflictError, DataError, HeadclustError, Reason
from headclust.features.assembly import Samples, write_parts
from headclust.features.folder_writing import begun_folder, covered, write_folder
from headclust.features.format import MACHINE_ATTRIBUTES
from headclust.features.lock import writer_lock
from headclust.features.plan import check_replaceable, is_finished, plan_difference
from headclust.features.sharded import (
    begun_shards,
    check_like,
    discard_shards,
    is_merging,
    read_plan,
    unfinished_shards,
)
from headclust.features.staged import DATA, Layout, StagedBlocks
from headclust.features.writing import staging_folder
from headclust.progress import printable
from headclust.shards import Shard

_MOST_NAMED = 5  # shards in a message


def merge_shards(
    path: Path,
    samples: Samples,
    plan: Mapping[str, Any],
    *,
    check_bad: Callable[[Mapping[int, Reason]], None],
    overwrite: bool = False,
    allow_unlike: bool = False,
    keep_shards: bool = False,
) -> dict[int, Reason] | None:
    """Write the feature file of which all shards are complete, and remove their staging.

    A merge that was killed goes on, in the form that it had.

    Args:
        path: The feature file.
        samples: Its images.
        plan: What is known of the plan: it is compared with that of the shards.
        check_bad: Function that raises if there are too many bad rows.
        overwrite: Replace a finished file.
        allow_unlike: The shards may be made on different machines, which the file then records.
        keep_shards: Write a folder of shards, which needs disk for one shard more instead of for all.

    Returns:
        Reasons of the images that could not be read, by row; None if the file was finished already.

    Raises:
        DataError: No shard was begun, or no image could be read.
        ConflictError: A shard is missing or was made with other settings, or another file is in the way.
        BusyError: Another process merges.
        HeadclustError: The file cannot be written; the shards stay.
    """
    with write_errors(path):
        check_replaceable(path, overwrite=overwrite)
    if not begun_shards(path) and not is_merging(path):
        _check_merged(path)
        return None
    with writer_lock(staging_folder(path)) as lease:
        shards, folder = begun_shards(path), begun_folder(path)
        if folder is not None:
            whole, layout = folder
        elif shards:
            whole = _common_plan(path, shards, plan, allow_unlike=allow_unlike)
            layout = _layout(path, shards[0], whole)
        else:  # another process has just merged them
            _check_merged(path)
            return None
        if not overwrite and is_finished(path, whole, allow_unlike=allow_unlike):  # a merge was killed after its rename
            discard_shards(path, skip_held=True)
            return None
        parts = _complete_parts(path, layout, covered(path) if folder else [])
        bad = {row: reason for part in parts for row, reason in part.bad.items()}
        check_bad(bad)
        lease.check()
        if folder or keep_shards:
            bad = write_folder(path, whole, layout, parts, samples)
        else:
            _check_space(path, parts)
            write_parts(path, whole, parts, samples)
        discard_shards(path, skip_held=True)
    return bad


def _check_space(path: Path, parts: Sequence[StagedBlocks]) -> None:
    needed, free = sum(part.layout.data_bytes for part in parts), shutil.disk_usage(staging_folder(path)).free
    if needed > free:
        largest = max(part.layout.data_bytes for part in parts)
        raise HeadclustError(
            f"{printable(str(path))}: one file takes {needed / 1e6:.1f} MB of disk, {free / 1e6:.1f} MB are free: free "
            f"some, or use --keep-shards, which takes {largest / 1e6:.1f} MB."
        )


def _check_merged(path: Path) -> None:
    """Raise if there is no feature file, and no shard either."""
    if not path.exists():
        raise DataError(
            f"{printable(str(path))} has no shards to merge: make them first, with --shard 1/N to --shard N/N."
        )


def _common_plan(
    path: Path, shards: Sequence[Shard], given: Mapping[str, Any], *, allow_unlike: bool
) -> dict[str, Any]:
    """The plan of the first shard, compared with those of all others and with what is known of it.

    Where machines differ, its attribute `machines` lists them: first row, device, threads and versions of each.
    """
    first, *others = shards
    if others and others[-1].of != first.of:
        counts = " and ".join(str(of) for of in sorted({shard.of for shard in shards}))
        raise ConflictError(
            f"{printable(str(staging_folder(path)))} holds shards of {counts}: delete the folders of all but one count."
        )
    whole = read_plan(path, first)
    if difference := plan_difference({key: whole.get(key) for key in given}, given):
        raise ConflictError(
            f"{printable(str(path))}: its shards were made with other settings ({difference}): repeat those."
        )
    machines: list[list[Any]] = []
    for shard in shards:
        plan = read_plan(path, shard)
        check_like(path, shard, plan, first, whole, allow_unlike=allow_unlike)
        machine = [plan.get(name) for name in MACHINE_ATTRIBUTES]
        if not machines or machines[-1][1:] != machine:
            machines.append([_layout(path, shard, plan).rows_of_shard.start, *machine])
    return {**whole, "machines": machines} if len(machines) > 1 else whole


def _layout(path: Path, shard: Shard, plan: Mapping[str, Any]) -> Layout:
    """The layout of a begun shard, from its plan and the size of its data."""
    try:
        layout = Layout(plan["n_listed"], 1, plan["dtype"], plan["batch_size"], plan.get("n_views", 0), shard)
        size = (staging_folder(path, shard) / DATA).stat().st_size
        return replace(layout, feature_dim=size // layout.data_bytes)
    except (KeyError, TypeError, ArithmeticError, OSError):
        folder = printable(str(staging_folder(path, shard)))
        raise ConflictError(f"{folder} is incomplete: do shard {shard} again, then merge.") from None


def _complete_parts(path: Path, layout: Layout, done: Sequence[range]) -> list[StagedBlocks]:
    """The blocks of all shards that have some, compared with their checksums, but not those of the rows that are done.

    Raises:
        ConflictError: A block is missing.
    """
    layouts = [replace(layout, shard=sibling) for sibling in layout.shard.siblings()]
    rest = [part for part in layouts if part.blocks and not any(part.rows_of_shard[0] in rows for rows in done)]
    shards = {part.shard for part in rest}
    # Before anything large is read.
    _check_complete(path, [item for item in unfinished_shards(path, layout) if item[0] in shards])
    parts = [StagedBlocks(staging_folder(path, part.shard), part) for part in rest]
    for part in parts:
        part.replay()
    damaged = [part for part in parts if part.missing]
    _check_complete(path, [(part.layout.shard, part.n_blocks, len(part.layout.blocks)) for part in damaged])
    return parts


def _check_complete(path: Path, unfinished: Sequence[tuple[Shard, int, int]]) -> None:
    if not unfinished:
        return
    named = [f"{shard} ({done} of {total} blocks)" for shard, done, total in unfinished[:_MOST_NAMED]]
    more = f" and {len(unfinished) - _MOST_NAMED} others" if len(unfinished) > _MOST_NAMED else ""
    raise ConflictError(
        f"{printable(str(path))} cannot be merged: incomplete are the shards {', '.join(named)}{more}: wait for them, "
        f"or run the same command with --shard {unfinished[0][0]}."
    )
