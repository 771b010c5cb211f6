"""The shards of a feature file that were begun: folders in its staging folder, and whether they belong together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from headclust.disk import write_errors
from headclust.errors import BusyError, ConflictError, Reason, SettingError
from headclust.features.lock import writer_lock
from headclust.features.plan import discard, plan_difference
from headclust.features.staged import Layout, journaled_bad_rows, n_journaled
from headclust.features.writing import staging_folder
from headclust.progress import printable
from headclust.shards import WHOLE, Shard, parse_shard

PLAN = "plan.json"
MERGING, MERGED = "folder.json", "folder"  # of a merge to a folder of shards: its plan, and the folder


def begun_shards(path: Path) -> list[Shard]:
    """The shards of a feature file with a plan in its staging folder, by count and number."""
    shards = []
    for plan in staging_folder(path).glob(f"*-of-*/{PLAN}"):
        with suppress(SettingError):
            shard = parse_shard(plan.parent.name.replace("-of-", "/"))
            if shard.name == plan.parent.name:
                shards.append(shard)
    return sorted(shards, key=lambda shard: (shard.of, shard.number))


def is_merging(path: Path) -> bool:
    """True if a merge to a folder of shards was begun, and is not finished."""
    return (staging_folder(path) / MERGING).exists()


def read_plan(path: Path, shard: Shard) -> dict[str, Any]:
    """The plan of a shard.

    Raises:
        ConflictError: It is missing, or is no JSON object.
    """
    folder = staging_folder(path, shard)
    try:
        return {**json.loads((folder / PLAN).read_bytes())}
    except (OSError, ValueError, TypeError, RecursionError):
        raise ConflictError(
            f"{printable(str(folder / PLAN))} cannot be read: delete that folder, and do shard {shard} again."
        ) from None


def check_begun(
    path: Path, shard: Shard, plan: Mapping[str, Any], *, overwrite: bool = False, allow_unlike: bool = False
) -> None:
    """Raise if the staging of `path` holds work that does not fit to a shard: of another count, or another plan.

    Args:
        path: The feature file.
        shard: The shard to make, or `WHOLE`.
        plan: Its plan.
        overwrite: Discard that work instead; other shards of the same count stay, as their own processes replace them.
        allow_unlike: Other shards may be made on other machines.

    Raises:
        ConflictError: It does.
        BusyError: It is to be discarded, and another process does it.
    """
    folder, name = staging_folder(path), printable(str(staging_folder(path)))
    others = begun_shards(path)
    foreign = next((other for other in others if other.of != shard.of), None)
    whole = shard != WHOLE and (folder / PLAN).exists()
    if is_merging(path) and not overwrite:
        raise ConflictError(
            f"{name} is being merged to a folder of shards: finish it with --merge, or use --overwrite."
        )
    if overwrite:
        if is_merging(path):
            with writer_lock(folder):
                _discard_merging(path)
        if foreign:
            discard_shards(path, keep=shard.of)
        if whole:
            with writer_lock(folder):
                discard(folder)
        return
    if whole:
        raise ConflictError(
            f"{name} holds work of one process: finish it without --shard, delete the folder, or use --overwrite."
        )
    if foreign:
        step = f"go on with --shard I/{foreign.of}, delete the folder, or use --overwrite"
        raise ConflictError(f"{name} was begun in {foreign.of} shards, this is {_in_words(shard)}: {step}.")
    for other in others[:1]:
        check_like(path, shard, plan, other, read_plan(path, other), allow_unlike=allow_unlike)


def check_like(
    path: Path,
    shard: Shard,
    plan: Mapping[str, Any],
    other: Shard,
    other_plan: Mapping[str, Any],
    *,
    allow_unlike: bool = False,
) -> None:
    """Raise if two shards have different plans.

    Raises:
        ConflictError: They have.
    """
    if shard == other or not plan_difference(other_plan, plan, allow_unlike=allow_unlike):
        return
    difference = plan_difference(other_plan, plan, allow_unlike=True)
    step = f"repeat the settings of the others, or delete {printable(str(staging_folder(path)))}"
    if not difference:
        difference = plan_difference(other_plan, plan)
        step = "make all on like machines with the same OMP_NUM_THREADS, or add --allow-unlike, which records them"
    raise ConflictError(f"{printable(str(path))}: shard {shard} differs from shard {other} ({difference}): {step}.")


def discard_shards(path: Path, keep: int = 0, *, skip_held: bool = False) -> None:
    """Remove the staging of all shards.

    Args:
        path: The feature file.
        keep: Leave shards of this count.
        skip_held: Leave a shard that a process works on, which removes it when it sees that the file is finished.

    Raises:
        BusyError: A process works on one of them.
    """
    for shard in begun_shards(path):
        if shard.of != keep:
            discard_shard(path, shard, skip_held=skip_held)
    if not keep:
        _discard_merging(path)
    with suppress(OSError):  # it is not empty, or was not there
        staging_folder(path).rmdir()


def discard_shard(path: Path, shard: Shard, *, skip_held: bool = False) -> None:
    """Remove the staging of a shard; arguments and errors as of `discard_shards`."""
    folder = staging_folder(path, shard)
    with suppress(*([BusyError] if skip_held else [])), writer_lock(folder):
        discard(folder)


def _discard_merging(path: Path) -> None:
    shutil.rmtree(staging_folder(path) / MERGED, ignore_errors=True)
    (staging_folder(path) / MERGING).unlink(missing_ok=True)


def bad_elsewhere(path: Path, shard: Shard) -> dict[int, Reason]:
    """Images that the other shards could not read so far, by row."""
    bad: dict[int, Reason] = {}
    for other in begun_shards(path):
        if other.of == shard.of and other != shard:
            with write_errors(path):
                bad |= journaled_bad_rows(staging_folder(path, other))
    return bad


def unfinished_shards(path: Path, layout: Layout) -> list[tuple[Shard, int, int]]:
    """The shards without all blocks in their journals: each with its number of blocks there, and that to be there."""
    counts = (
        (shard, n_journaled(staging_folder(path, shard)), len(shard.range(layout.n_blocks)))
        for shard in layout.shard.siblings()
    )
    return [(shard, done, total) for shard, done, total in counts if done < total]


def _in_words(shard: Shard) -> str:
    return "one process" if shard == WHOLE else f"shard {shard}"
