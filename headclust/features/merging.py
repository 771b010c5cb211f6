"""One feature file from staged blocks: of one process, or of all shards, with the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headclust.disk import write_errors
from headclust.errors import ConflictError, DataError, Reason
from headclust.features.checks import check_labels
from headclust.features.format import FEATURE_DTYPES, MACHINE_ATTRIBUTES
from headclust.features.left_out import Stamp, stored_kinds
from headclust.features.lock import writer_lock
from headclust.features.plan import check_replaceable, is_finished, plan_difference
from headclust.features.sharded import begun_shards, check_like, discard_shards, read_plan, unfinished_shards
from headclust.features.staged import DATA, Layout, StagedBlocks
from headclust.features.writing import Table, side_tables, staging_folder, write_file
from headclust.progress import printable
from headclust.shards import Shard

_MOST_NAMED = 5  # shards in a message


class Samples(NamedTuple):
    """The images of a feature file, unreadable ones included.

    Attributes:
        sample_ids: Their names.
        labels: int64 (n_listed,), or None.
        stamps: Size and time of the file of each; without them the kinds of reasons are not stored.
    """

    sample_ids: Sequence[str]
    labels: NDArray[np.int64] | None
    stamps: Sequence[Stamp] | None


def write_parts(path: Path, plan: Mapping[str, Any], parts: Sequence[StagedBlocks], samples: Samples) -> Path:
    """Write a feature file of the rows of consecutive parts, without the bad rows; return its path.

    Args:
        path: The file. The caller holds its lock.
        plan: Its attributes.
        parts: Complete blocks.
        samples: All images, of which the parts have some or all.

    Raises:
        DataError: No image could be read.
        HeadclustError: The file cannot be written.
    """
    rows = range(parts[0].layout.rows_of_shard.start, parts[-1].layout.rows_of_shard.stop)
    reasons: dict[int, Reason] = {}
    for part in parts:
        reasons |= part.bad
    good, bad = [row for row in rows if row not in reasons], sorted(reasons)
    ids, labels, stamps = samples
    if not good:
        first = f"{printable(ids[rows[0]])}: {printable(reasons[rows[0]])}"
        raise DataError(f"none of {len(rows)} images can be read (the first: {first}): check the source.")
    check_labels(labels, plan["class_names"])
    skipped = [(ids[row], reasons[row]) for row in bad]
    others = side_tables([ids[row] for row in good], None if labels is None else labels[good], skipped)
    kinds = {"skipped_kinds": stored_kinds((reasons[row], stamps[row]) for row in bad)} if bad and stamps else {}
    return write_file(path, [*_feature_tables(parts, len(good)), *others], {**plan, **kinds})


def _feature_tables(parts: Sequence[StagedBlocks], n_good: int) -> list[Table]:
    layout = parts[0].layout
    dtype, shape = FEATURE_DTYPES[layout.dtype], (n_good, layout.feature_dim)

    def rows(planes: range) -> Iterator[NDArray[np.floating[Any]]]:
        return chain.from_iterable(part.good_rows(plane) for plane in planes for part in parts)

    tables = [Table("features", dtype, shape, rows(range(1)))]
    if layout.n_views:
        tables.append(Table("views", dtype, (layout.n_views, *shape), rows(range(1, 1 + layout.n_views))))
    return tables


def merge_shards(
    path: Path,
    samples: Samples,
    plan: Mapping[str, Any],
    *,
    check_bad: Callable[[Mapping[int, Reason]], None],
    overwrite: bool = False,
    allow_unlike: bool = False,
) -> dict[int, Reason] | None:
    """Write the feature file of which all shards are complete, and remove their staging.

    Args:
        path: The feature file.
        samples: Its images.
        plan: What is known of the plan: it is compared with that of the shards.
        check_bad: Function that raises if there are too many bad rows.
        overwrite: Replace a finished file.
        allow_unlike: The shards may be made on different machines, which the file then records.

    Returns:
        Reasons of the images that could not be read, by row; None if the file was finished already.

    Raises:
        DataError: No shard was begun, or no image could be read.
        ConflictError: A shard is missing or was made with other settings, or another file is in the way.
        BusyError: Another process merges.
        HeadclustError: The file cannot be written; the shards stay.
    """
    with write_errors(path):
        check_replaceable(path)
    if not begun_shards(path):
        return _nothing_to_merge(path)
    with writer_lock(staging_folder(path)) as lease:
        shards = begun_shards(path)
        if not shards:  # another process has just merged them
            return _nothing_to_merge(path)
        whole = _common_plan(path, shards, plan, allow_unlike=allow_unlike)
        if not overwrite and is_finished(path, whole, allow_unlike=allow_unlike):  # a merge was killed after its rename
            discard_shards(path, skip_held=True)
            return None
        parts = _complete_parts(path, shards[0], whole)
        bad = {row: reason for part in parts for row, reason in part.bad.items()}
        check_bad(bad)
        lease.check()
        write_parts(path, whole, parts, samples)
        discard_shards(path, skip_held=True)
    return bad


def _nothing_to_merge(path: Path) -> None:
    """Do nothing if the feature file exists.

    Raises:
        DataError: It does not.
    """
    if not path.exists():
        raise DataError(
            f"{printable(str(path))} has no shards to merge: make them first, with --shard 1/N to --shard N/N."
        )


def _common_plan(
    path: Path, shards: Sequence[Shard], known: Mapping[str, Any], *, allow_unlike: bool
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
    if difference := plan_difference({key: whole.get(key) for key in known}, known):
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


def _complete_parts(path: Path, shard: Shard, plan: Mapping[str, Any]) -> list[StagedBlocks]:
    """The blocks of all shards that have some, compared with their checksums.

    Raises:
        ConflictError: A block is missing.
    """
    layout = _layout(path, shard, plan)
    layouts = [replace(layout, shard=sibling) for sibling in shard.siblings()]
    parts = [StagedBlocks(staging_folder(path, part.shard), part) for part in layouts if part.blocks]
    _check_complete(path, unfinished_shards(path, layout))  # before anything large is read
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
