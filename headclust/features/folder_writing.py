"""Make a folder of shards from staged blocks: file by file, each before the staging of its rows is removed.

So the disk never holds more than one shard twice. `NAME.h5.partial/folder/` gets the files, and `folder.json` beside it
holds the plan, for a merge that is killed: the next one goes on after the last file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headclust.disk import real_place, sync_folder, write_atomically, write_errors
from headclust.errors import ConflictError, Reason
from headclust.features.assembly import Samples, write_parts
from headclust.features.folder import MANIFEST, Part, content_sha256, is_folder, joined_files, load_folder, manifest
from headclust.features.reading import load_file
from headclust.features.sharded import MERGED, MERGING, discard_shard
from headclust.features.staged import Layout, StagedBlocks
from headclust.features.writing import staging_folder
from headclust.progress import printable
from headclust.shards import Shard


def begun_folder(path: Path) -> tuple[dict[str, Any], Layout] | None:
    """Plan and layout of a folder of shards that a killed merge has begun; None without.

    Raises:
        ConflictError: They cannot be read.
    """
    state = staging_folder(path) / MERGING
    try:
        content = json.loads(state.read_bytes())
        layout = {**content["layout"], "shard": Shard(**content["layout"]["shard"])}
        return {**content["plan"]}, Layout(**layout)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        raise ConflictError(f"{printable(str(state))} cannot be read: delete its folder, and embed again.") from None


def covered(path: Path) -> list[range]:
    """The listed rows of each file that is complete in a folder that was begun, in order."""
    files = (staging_folder(path) / MERGED).glob("*-*.h5")
    return sorted((range(*map(int, file.stem.split("-"))) for file in files), key=lambda rows: rows.start)


def write_folder(
    path: Path, plan: Mapping[str, Any], layout: Layout, parts: Sequence[StagedBlocks], samples: Samples
) -> dict[int, Reason]:
    """Write a folder of shards; return the reasons of the images that could not be read, by row.

    Args:
        path: The folder. The caller holds its lock.
        plan: The attributes of the file that it stands for.
        layout: Shape of all rows.
        parts: Complete blocks, without those of the files that a killed merge has written.
        samples: All images.

    Raises:
        DataError: No image could be read.
        HeadclustError: A file cannot be written.
    """
    folder = staging_folder(path) / MERGED
    with write_errors(path):
        folder.mkdir(exist_ok=True)
        write_atomically(staging_folder(path) / MERGING, json.dumps({"plan": plan, "layout": asdict(layout)}).encode())
        for group in _groups(parts):
            first, last = group[0].layout.rows_of_shard, group[-1].layout.rows_of_shard
            own = {**plan, "n_listed": last.stop - first.start}
            write_parts(folder / f"{first.start}-{last.stop}.h5", own, group, samples)
            for part in group:
                discard_shard(path, part.layout.shard, skip_held=True)
        if not is_folder(folder):
            names = [f"{rows.start}-{rows.stop}.h5" for rows in covered(path)]
            files = [load_file(folder / name) for name in names]
            listed = [Part(name, file.sha256, file.n_samples) for name, file in zip(names, files, strict=True)]
            write_atomically(folder / MANIFEST, manifest(content_sha256(joined_files(files)), listed))
        for file in folder.glob("*.tmp"):  # of a merge that was killed
            file.unlink()
        features, place = load_folder(folder), real_place(path)
        if place.is_file():  # the file to replace
            place.unlink()
        folder.rename(place)
        sync_folder(place.parent)
    rows = {sample_id: row for row, sample_id in enumerate(samples.sample_ids)} if features.left_out else {}
    return {rows[image.sample_id]: image.reason for image in features.left_out}


def _groups(parts: Sequence[StagedBlocks]) -> list[list[StagedBlocks]]:
    """Consecutive parts, such that each group has a good row, as each file needs one."""
    groups, group = list[list[StagedBlocks]](), list[StagedBlocks]()
    for part in parts:
        group.append(part)
        if len(part.bad) < len(part.layout.rows_of_shard):
            groups.append(group)
            group = []
    if group:
        groups = [*groups[:-1], [*groups[-1], *group]] if groups else [group]
    return groups
