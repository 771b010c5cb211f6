"""An earlier run whose groups, ids and fixes a new fit keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headclust.errors import ConflictError, DataError
from headclust.features import Features
from headclust.filenames import storable_name
from headclust.methods import DEFAULT_METHOD
from headclust.methods.constraints import Constraints
from headclust.progress import note, printable
from headclust.runs.added import with_added
from headclust.runs.assignments import Assignments
from headclust.runs.fixes import FIXES, Fix, Resolved, read_fixes, resolve_fixes
from headclust.runs.inputs import check_alike
from headclust.runs.reading import read_assigned, read_run
from headclust.runs.record import Record, find_run, is_run, read_record
from headclust.scoring.metrics import match_clusters

if TYPE_CHECKING:
    from headclust.model import ClusterModel

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Earlier:
    """A run, and the groups that it has after its fixes.

    Attributes:
        record: The run.
        assigned: Its rows.
        resolved: Its groups after the fixes, and what these ask for.
        fixes: The fixes.
        file: The file that they are read from; None if the run has none.
        is_kept: True if the fit keeps the fixes, False if it is only given the ids.
    """

    record: Record
    assigned: Assignments
    resolved: Resolved
    fixes: tuple[Fix, ...]
    file: Path | None
    is_kept: bool

    @property
    def n_ids(self) -> int:
        """Number of ids in use: those of the run's clusters, and of groups that a person made."""
        return max(self.record.n_clusters, int(self.resolved.clusters.max()) + 1)

    def later_fixes(self) -> tuple[Fix, ...]:
        """Fixes that were added to the file after it was read.

        Raises:
            ConflictError: Others have changed.
        """
        now = read_fixes(self.file) if self.file else ()
        if now[: len(self.fixes)] != self.fixes:
            raise ConflictError(f"{printable(str(self.file))} has changed during the fit: fit again.")
        return now[len(self.fixes) :]


def read_earlier(fixes: Path | None, like: Path | None) -> Earlier | None:
    """The run in whose folder a file of fixes lies, or to which ids are aligned; None without either.

    Args:
        fixes: A file of fixes that the fit keeps, or the run folder that holds it.
        like: The run, if the file lies elsewhere or there is none. Without `fixes`, its own fixes only give its groups.

    Raises:
        DataError: The file lies in no run, or its fixes contradict each other or the run.
        HeadclustError: A file cannot be read.
    """
    if fixes is None and like is None:
        return None
    file = fixes if fixes is None or not fixes.is_dir() else find_run(fixes) / FIXES
    if like is None and file is not None and not is_run(file.parent):
        raise DataError(
            f"{printable(str(file))} lies in no run folder: name the run whose groups it fixes with --like."
        )
    record = read_record(like or (file or Path()).parent)
    assigned = with_added(record, read_assigned(record))
    if file is None and (record.path / FIXES).exists():
        file = record.path / FIXES
    rows = read_fixes(file) if file else ()
    try:
        resolved = resolve_fixes(assigned, rows, record.n_clusters)
    except DataError as error:
        raise DataError(f"{printable(str(file))}, {error}") from None
    return Earlier(record, assigned, resolved, rows, file, is_kept=fixes is not None)


@dataclass(frozen=True, eq=False)
class Ids:
    """Ids of the clusters of a fit: the id of each, and the number of ids."""

    of: tuple[int, ...]
    count: int


def model_of(earlier: Earlier, spaces: Sequence[Features]) -> ClusterModel | None:
    """The model of the run, whose heads a fit of these features can go on from; None if it cannot."""
    config = earlier.record.config
    if config["method"] != DEFAULT_METHOD:
        return None
    try:
        check_alike(config["features"], spaces)
    except DataError:
        note("the features differ from those of the run: its groups are learned again.")
        return None
    return read_run(earlier.record.path).model


def constraints_of(
    earlier: Earlier, sample_ids: Sequence[str], start: ClusterModel | None = None
) -> tuple[Constraints, Ids]:
    """Constraints on a fit of these samples, and the ids of its clusters.

    Args:
        earlier: The run, with its fixes.
        sample_ids: The samples.
        start: The model of the run, whose heads the fit goes on from.

    Raises:
        DataError: None of the samples is in the run.
    """
    resolved, n_clusters = earlier.resolved, 0 if start is None else start.n_clusters
    rows = _rows(earlier, sample_ids)
    shared = rows >= 0
    groups, pinned = (np.where(shared, values[rows], -1) for values in (resolved.clusters, resolved.pinned))
    fixed = np.flatnonzero(resolved.pinned >= 0)
    pairs = [np.array(pairs, np.int64).reshape(-1, 2) for pairs in (resolved.together, resolved.apart)]
    # Row of each sample of the run in the new features, -1 for those that are gone.
    new_row = np.full(len(resolved.clusters) + 1, -1, np.int64)
    new_row[rows[shared]] = np.flatnonzero(shared)
    gone = np.unique(np.concatenate([fixed, *(values.ravel() for values in pairs)]))
    if n_gone := int((new_row[gone] < 0).sum()):
        note(f"{n_gone:,} images with a fix are not in these features: their fixes are left out.")
    active = np.setdiff1d(np.concatenate((groups, pinned)), [-1]).tolist()
    number = {group: position for position, group in enumerate(active)}
    ids, n_ids, splits = list(active), earlier.n_ids, dict[int, tuple[int, ...]]()
    for group, n_parts in resolved.splits.items():
        if group in number:
            splits[number[group]] = (number[group], *range(len(ids), len(ids) + n_parts - 1))
            ids += range(n_ids, n_ids + n_parts - 1)
            n_ids += n_parts - 1
    together, apart = (new_row[values] for values in pairs)
    compact = np.full(n_ids + 1, -1, np.int64)
    compact[active] = np.arange(len(active))
    return (
        Constraints(
            n_groups=len(ids),
            groups=compact[groups],
            pinned=compact[pinned],
            learned=shared & (pinned == earlier.assigned.clusters[rows]) & (earlier.assigned.confidence[rows] == 1),
            together=together[(together >= 0).all(1)],
            apart=apart[(apart >= 0).all(1)],
            splits=splits,
            start=start,
            group_of=tuple(number.get(resolved.ended.get(cluster, cluster), -1) for cluster in range(n_clusters)),
        ),
        Ids(tuple(ids), n_ids),
    )


def aligned_ids(earlier: Earlier, sample_ids: Sequence[str], clusters: Ints, n_clusters: int) -> Ids:
    """Ids of the clusters of a fit, by the samples that it shares with an earlier run.

    Clusters and the groups of the run are matched one to one, such that matched ones share the most samples. A cluster
    that shares none with its match has an id that the run does not use.

    Raises:
        DataError: None of the samples is in the run.
    """
    rows = _rows(earlier, sample_ids)
    shared, n_ids = rows >= 0, earlier.n_ids
    # Shared samples in each pair of a cluster and a group, (n_clusters, n_ids).
    cells = np.bincount(
        clusters[shared] * n_ids + earlier.resolved.clusters[rows[shared]], minlength=n_clusters * n_ids
    )
    table = cells.reshape(n_clusters, n_ids)
    ids = np.full(n_clusters, -1, np.int64)
    first, second = match_clusters(table)
    overlaps = table[first, second] > 0
    ids[first[overlaps]] = second[overlaps]
    new = np.flatnonzero(ids < 0)
    ids[new] = np.arange(n_ids, n_ids + len(new))
    return Ids(tuple(ids.tolist()), n_ids + len(new))


def fixes_to_keep(earlier: Earlier, constraints: Constraints, ids: Ids, sample_ids: Sequence[str]) -> tuple[Fix, ...]:
    """The fixes of the new run, with which another fit keeps what this one has kept."""
    names, pinned = [storable_name(name) for name in sample_ids], constraints.pinned
    fixes = [Fix("merge", group=group, other=other) for group, other in sorted(earlier.resolved.ended.items())]
    fixes += [Fix("move", image=names[row], group=ids.of[pinned[row]]) for row in np.flatnonzero(pinned >= 0).tolist()]
    for kind, pairs in (("together", constraints.together), ("apart", constraints.apart)):
        free = pairs[(pinned[pairs] < 0).any(1)]  # the others follow from the moves
        fixes += [Fix(kind, image=names[first], other=names[second]) for first, second in free.tolist()]
    fixes += [Fix("rename", group=group, name=name) for group, name in sorted(earlier.resolved.names.items())]
    return tuple(fixes)


def _rows(earlier: Earlier, sample_ids: Sequence[str]) -> Ints:
    """The row of each sample in the earlier run, int64 (n_samples,); -1 for new samples."""
    row_of = {name: row for row, name in enumerate(earlier.assigned.sample_ids)}
    rows = np.array([row_of.get(storable_name(name), -1) for name in sample_ids], np.int64)
    if not (rows >= 0).any():
        raise DataError(
            f"none of the {len(rows):,} images is in {printable(str(earlier.record.path))}: name features of its "
            "images, or leave --fixes and --like out."
        )
    return rows
