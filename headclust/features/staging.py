"""Write a feature file block by block, so that a killed run loses at most one block of rows.

`NAME.h5.partial/` holds `lock`, `plan.json` (every setting that the rows depend on), `data.bin` (the blocks of rows)
and `journal.jsonl` (one line per finished block). A block is written and synced before its line is, so a complete line
proves that its block is complete, even after a power failure. Shards, which other processes make, have a folder below
it each, `3-of-8/`, with the same files; `merging.py` makes one feature file of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.disk import allocate, check_space, sync_folder, write_at, write_errors
from headclust.errors import ConflictError, Reason
from headclust.features.assembly import Samples, write_parts
from headclust.features.format import FEATURE_DTYPES, MACHINE_ATTRIBUTES
from headclust.features.growth import write_grown
from headclust.features.left_out import LeftOut, Stamp, kind_of
from headclust.features.lock import Lease, writer_lock
from headclust.features.plan import check_replaceable, discard, is_finished, store_plan
from headclust.features.reading import Features, load_features
from headclust.features.sharded import check_begun, discard_shards
from headclust.features.staged import DATA, JOURNAL, Layout, StagedBlocks, block_sha256, n_journaled
from headclust.features.writing import staging_folder
from headclust.progress import note, printable
from headclust.shards import WHOLE


@contextmanager
def open_staging(
    path: Path,
    plan: Mapping[str, Any],
    layout: Layout,
    *,
    overwrite: bool = False,
    replaces: str = "",
    allow_unlike: bool = False,
) -> Iterator[Staging | None]:
    """The staging of `path`, or of a shard of it, new or resumed, locked for this process; None if `path` is finished.

    Args:
        path: The feature file to write.
        plan: Everything the rows depend on; becomes the attributes of the file (types as in `write_features`).
        layout: Shape and blocks of the rows, and the shard.
        overwrite: Replace a finished file, and staging with another plan.
        replaces: Checksum of the finished file of this plan that is made again with more rows; it stays until the new
            file is complete. Staging of anything else is discarded.
        allow_unlike: Other shards may be made on another device, with other versions or numbers of threads.

    Raises:
        ConflictError: The file to replace has changed, a file or staging with another plan exists, another process is
            writing, `path` is no feature file, or it was begun with other shards.
        HeadclustError: The disk is full, or the folder cannot be written.
    """
    plan = json.loads(json.dumps(plan))  # with the types that reading it back gives
    folder = staging_folder(path, layout.shard)
    with write_errors(path):
        check_replaceable(path, overwrite=overwrite)
    new = not (overwrite or replaces)
    finished = new and is_finished(path, plan, allow_unlike=allow_unlike)
    if finished and not folder.exists():
        yield None  # nothing was written: the folder may be read-only
        return
    if not finished:
        check_begun(path, layout.shard, plan, overwrite=not new, allow_unlike=allow_unlike)
    with writer_lock(folder) as lease:
        # The last holder of the lock may have finished it.
        if new and is_finished(path, plan, allow_unlike=allow_unlike):
            if layout.shard == WHOLE:
                discard_shards(path, skip_held=True)
            discard(folder)
            yield None
            return
        if replaces:
            _check_replaced(path, replaces)
            store_plan(folder, {**plan, "replaces": replaces}, overwrite=True)
        else:
            store_plan(folder, plan, overwrite, allow_unlike=allow_unlike)
        staging = Staging(path, plan, layout, lease)
        try:
            staging.open()
            yield staging
        finally:
            staging.close()
            if not n_journaled(folder):
                discard(folder)


@dataclass
class Staging:
    """Unfinished rows of `path`, or of a shard of it: call `append` once per block, then `finish` if it is all.

    Args:
        path: The feature file to write.
        plan: Its attributes.
        layout: Shape and blocks of its rows, and the shard.
        lease: The lock of its folder.
    """

    path: Path
    plan: Mapping[str, Any]
    layout: Layout
    lease: Lease
    done: StagedBlocks = field(init=False)
    _data: int = field(default=-1, init=False)
    _journal: int = field(default=-1, init=False)

    def __post_init__(self) -> None:
        self.done = StagedBlocks(staging_folder(self.path, self.layout.shard), self.layout)

    @property
    def bad(self) -> dict[int, Reason]:
        """Reasons of the images of the finished blocks that could not be read, by row."""
        return self.done.bad

    def open(self) -> None:
        """Allocate the disk space, then count the blocks that the journal proves complete."""
        folder = self.done.folder
        with write_errors(self.path):
            if not (folder / DATA).exists():
                # A file needs space for its rows twice: here and in the new file. Shards are merged by one process.
                file_bytes = self.layout.file_bytes if self.layout.shard == WHOLE else 0
                check_space(folder, file_bytes + self.layout.staging_bytes)
            self._data = os.open(folder / DATA, os.O_RDWR | os.O_CREAT, 0o666)
            allocate(self._data, self.layout.data_bytes)
            self._journal = os.open(folder / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            sync_folder(folder)
            self._replay()

    def close(self) -> None:
        """Close the files."""
        for descriptor in (self._data, self._journal):
            if descriptor >= 0:
                os.close(descriptor)
        self._data = self._journal = -1

    def append(self, values: NDArray[np.floating[Any]], bad: Mapping[int, Reason]) -> None:
        """Write the next block durably.

        Args:
            values: Its rows (1 + n_views, rows of the block, feature_dim); bad rows may hold anything.
            bad: Reason per row (numbered over all blocks) of the images that could not be read.

        Raises:
            ConflictError: Another process has taken the lock.
            HeadclustError: The block cannot be written.
        """
        block = self.done.missing[0]
        shape = (1 + self.layout.n_views, len(self.layout.rows(block)), self.layout.feature_dim)
        assert values.shape == shape, f"{values.shape} is not {shape}"
        assert values.dtype == FEATURE_DTYPES[self.layout.dtype], values.dtype
        content = values.tobytes()
        listed = [[row, bad[row], kind_of(bad[row])] for row in sorted(bad)]
        entry = {"block": block, "sha256": block_sha256(content, listed), "bad": listed}
        self.lease.check()
        with write_errors(self.path):
            write_at(self._data, content, self.layout.offset(block))
            os.fsync(self._data)
            _append_line(self._journal, entry)
            os.fsync(self._journal)
        self.bad.update(bad)
        self.done.n_blocks += 1

    def finish(
        self,
        sample_ids: Sequence[str],
        labels: NDArray[np.int64] | None,
        stamps: Sequence[Stamp] | None = None,
    ) -> Path:
        """Write the feature file without the bad rows, remove the staging, and return the path.

        Args:
            sample_ids: Names of all listed rows.
            labels: Labels of all listed rows, or None.
            stamps: Size and time of the file of each listed row; without them the kinds of the reasons are not stored.

        Raises:
            DataError: No image could be read.
            HeadclustError: The file cannot be written; the staging stays.
        """
        self.lease.check()
        if len(self.bad) == self.layout.n_listed:  # `write_parts` raises
            discard(self.done.folder)
        write_parts(self.path, self.plan, [self.done], Samples(sample_ids, labels, stamps))
        discard(self.done.folder)
        return self.path

    def finish_grown(
        self,
        base: Features,
        old_rows: NDArray[np.int64],
        left_out: Sequence[LeftOut],
        later: Samples,
        attributes: Mapping[str, Any],
    ) -> Path:
        """Write the file of the rows of an earlier one and of the staged ones, remove the staging, return the path.

        Args:
            base: The earlier file.
            old_rows: Its rows to keep, int64, ascending.
            left_out: The images that it leaves out and that stay so.
            later: The staged images.
            attributes: What the file records otherwise than the earlier one, besides the machine of these rows.

        Raises:
            HeadclustError: The file cannot be written; the staging stays.
        """
        self.lease.check()
        machine = {name: self.plan[name] for name in MACHINE_ATTRIBUTES if name in self.plan}
        write_grown(self.path, base, old_rows, left_out, later, self.done, {**attributes, **machine})
        discard(self.done.folder)
        return self.path

    def _replay(self) -> None:
        """Count the blocks up to the first that is not as journaled; that block and later ones are made again."""
        valid, rest = self.done.replay()
        if rest:
            if b"\n" in rest:  # more is lost than the line that the process was writing when it was killed
                block = self.layout.blocks.start + self.done.n_blocks
                note(f"{self.done.folder}: block {block} is damaged: resuming from there.")
            os.ftruncate(self._journal, valid)
            os.fsync(self._journal)


def _check_replaced(path: Path, sha256: str) -> None:
    if not path.exists() or load_features(path).sha256 != sha256:
        raise ConflictError(f"{printable(str(path))} was changed by another process meanwhile: start again.")


def _append_line(descriptor: int, entry: dict[str, Any]) -> None:
    line = memoryview(json.dumps(entry).encode() + b"\n")
    while line:
        line = line[os.write(descriptor, line) :]
