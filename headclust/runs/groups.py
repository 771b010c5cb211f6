"""The groups of a run as a person sees them: its clusters, then the person's fixes, a level, and names.

Everything that shows or exports groups reads them here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.errors import SettingError
from headclust.progress import note, printable
from headclust.runs.added import with_added
from headclust.runs.fixes import FIXES, Fix, read_fixes, resolve_fixes
from headclust.runs.folder import read_assigned
from headclust.runs.levels import LEVELS, Join, Levels, read_levels
from headclust.runs.names import Names, read_names
from headclust.runs.record import Record


@dataclass(frozen=True, eq=False)
class Groups:
    """The samples of a run in groups.

    Attributes:
        sample_ids: As in assignments.csv, then those that were added after the fit.
        clusters: The group of each sample, its id, int64 (n_samples,).
        confidence: The probability of the sample's cluster of the fit, float64 (n_samples,); a group that joins several
            clusters has at least this probability.
        ids: The groups that have samples, ascending.
        names: Names by id, of groups that have one.
        n_clusters: Number of clusters of the run's model; a group that a person made has an id of at least this.
        is_changed: True if fixes or a level make other groups than the run's clusters.
        of_cluster: The group that images of each cluster belong to, int64 (n_clusters,): for images not in the run.
    """

    sample_ids: tuple[str, ...]
    clusters: NDArray[np.int64]
    confidence: NDArray[np.float64]
    ids: tuple[int, ...]
    names: Mapping[int, str]
    n_clusters: int
    is_changed: bool
    of_cluster: NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Groups({len(self.sample_ids)} samples in {len(self.ids)} groups, {len(self.names)} with a name)"

    def label(self, group: int) -> str:
        """The name of a group; without one `cluster-07`, with zeros to the digits of the last cluster."""
        width = len(str(self.n_clusters - 1))
        return self.names.get(group, f"cluster-{group:0{width}d}")

    def of(self, clusters: NDArray[np.int64]) -> NDArray[np.int64]:
        """The groups of samples that are not in the run, int64, by their clusters; other ids are groups already."""
        is_cluster = clusters < self.n_clusters
        return np.where(is_cluster, self.of_cluster[np.where(is_cluster, clusters, 0)], clusters)


def read_groups(run: Record, *, level: int | None = None) -> Groups:
    """The groups of a run: its clusters, after the fixes in its folder, joined to `level` groups, with their names.

    Args:
        run: The run.
        level: Number of groups; None for the finest level, which joins nothing.

    Raises:
        SettingError: No level has this number of groups.
        FileFormatError: A file of the run is damaged, or has changed since the fit.
        HeadclustError: The fixes or the names cannot be used.
    """
    assigned, fixes = with_added(run, read_assigned(run)), _read_fixes(run)
    fixed = resolve_fixes(assigned, fixes, run.n_clusters)
    clusters, of_cluster = fixed.clusters, _renamed(np.arange(run.n_clusters), fixed.ended)
    ids = np.unique(clusters).tolist()
    joins: tuple[Join, ...] = ()
    group_of: dict[int, int] = {}
    if level is not None:
        levels = read_levels(run)
        joins = levels.joins[: _n_joins(run, levels, level, ids)]
        group_of = levels.after(len(joins), ids)
        clusters, of_cluster = _renamed(clusters, group_of), _renamed(of_cluster, group_of)
    return Groups(
        sample_ids=assigned.sample_ids,
        clusters=clusters,
        confidence=assigned.confidence,
        ids=tuple(np.unique(clusters).tolist()),
        names=_names(read_names(run.path), fixed.names, joins, group_of, ids),
        n_clusters=run.n_clusters,
        is_changed=bool(joins or fixes),
        of_cluster=of_cluster,
    )


def _read_fixes(run: Record) -> tuple[Fix, ...]:
    """The fixes in the folder of a run; none if it has no such file."""
    path = run.path / FIXES
    if not path.exists():
        return ()
    fixes = read_fixes(path)
    if fixes:
        note(f"{len(fixes)} {'fix' if len(fixes) == 1 else 'fixes'} of {printable(str(path))} applied.")
    return fixes


def _n_joins(run: Record, levels: Levels, level: int, ids: list[int]) -> int:
    try:
        return levels.count(level, ids)
    except SettingError:
        if (run.path / LEVELS).exists() or run.metrics["clusters_used"] == 1:
            raise
        name = printable(str(run.path))
        raise SettingError(
            f"level {level}: {name} has no {LEVELS}, as an older version made it or it has too many clusters: to fit it "
            f"again, headclust fit --config {name} -o {name} --overwrite."
        ) from None


def _renamed(groups: NDArray[np.int64], group_of: Mapping[int, int]) -> NDArray[np.int64]:
    """Groups by their new ids; ids that `group_of` lacks stay."""
    ids, places = np.unique(groups, return_inverse=True)
    renamed: NDArray[Any] = np.array([group_of.get(group, group) for group in ids.tolist()], np.int64)
    return renamed[places]


def _names(
    proposed: Names | None,
    own: Mapping[int, str],
    joins: Sequence[Join],
    group_of: Mapping[int, int],
    ids: Sequence[int],
) -> dict[int, str]:
    """The name of each group that has one.

    A person's name for a group comes first. A union is called as is proposed for it; else after its part whose id it
    has, if a person named that one, with the number of the others, as the name of a part does not cover the union.

    Args:
        proposed: The proposed names.
        own: The person's names, by the id before any join.
        joins: The joins that are applied.
        group_of: The group of each id after them.
        ids: The groups before them that have samples.
    """
    names: dict[int, str] = {}
    if proposed is not None:
        suggestions = proposed.after([(join.kept, join.joined) for join in joins])
        names = {group_of.get(group, group): name for group, name in suggestions.items()}
    parts = Counter(group_of.get(group, group) for group in ids)
    for group, name in own.items():
        others = parts[group] - 1
        if others == 0:
            names[group] = name
        elif others > 0:
            names.setdefault(group, f"{name} and {others} more")
    return {group: names[group] for group in sorted(names) if group in parts}
