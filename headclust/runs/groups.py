"""The groups of a run as a person sees them: its clusters, then the person's fixes, a level, and names.

Everything that shows or exports groups reads them here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headclust.errors import SettingError
from headclust.progress import note, printable
from headclust.runs.added import with_added
from headclust.runs.assignments import Assignments
from headclust.runs.fixes import FIXES, Fix, Resolved, read_fixes, resolve_fixes
from headclust.runs.levels import LEVELS, Levels, read_levels
from headclust.runs.names import Names, read_names
from headclust.runs.reading import read_assigned
from headclust.runs.record import Record
from headclust.scoring import metrics


class Union(NamedTuple):
    """Group `joined` becomes part of group `kept`, whose id the union has; `name` is the union's, if it has one."""

    kept: int
    joined: int
    name: str | None


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
        unions: The joins of these groups, from fine to coarse: the first joins two of them.
        is_changed: True if fixes, a level or added images make other groups than the run's clusters.
        of_cluster: The group that images of each cluster belong to, int64 (n_clusters,): for images not in the run.
    """

    sample_ids: tuple[str, ...]
    clusters: NDArray[np.int64]
    confidence: NDArray[np.float64]
    ids: tuple[int, ...]
    names: Mapping[int, str]
    n_clusters: int
    unions: tuple[Union, ...]
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
    return groups_of(run, assigned, fixed, read_levels(run), read_names(run.path), level=level)


def groups_of(
    run: Record,
    assigned: Assignments,
    fixed: Resolved,
    levels: Levels,
    proposed: Names | None,
    *,
    level: int | None = None,
) -> Groups:
    """The groups of a run whose files have been read, as `read_groups`.

    Args:
        run: The run.
        assigned: Its samples.
        fixed: Its groups after the fixes.
        levels: How its clusters join.
        proposed: The proposed names; None without any.
        level: Number of groups; None for the finest level.

    Raises:
        SettingError: No level has this number of groups.
    """
    clusters, of_cluster = fixed.clusters, _renamed(np.arange(run.n_clusters), fixed.ended)
    ids = np.unique(clusters).tolist()
    # A word that a person has given to a group is no other group's, as exports would join the two.
    proposed = proposed.without(fixed.names.values()) if proposed else None
    unions = _unions(levels, ids, proposed, fixed.names)
    names = {group: name.name for group, name in proposed.groups.items() if name.name} if proposed else {}
    names |= fixed.names
    n_joins = 0
    if level is not None:
        n_joins = _n_joins(run, levels, level, ids)
        group_of = levels.after(n_joins, ids)
        clusters, of_cluster = _renamed(clusters, group_of), _renamed(of_cluster, group_of)
        for union in unions[: len(ids) - level]:
            names.pop(union.kept, None)
            names |= {union.kept: union.name} if union.name else {}
        unions = unions[len(ids) - level :]
        ids = np.unique(clusters).tolist()
    return Groups(
        sample_ids=assigned.sample_ids,
        clusters=clusters,
        confidence=assigned.confidence,
        ids=tuple(ids),
        names={group: names[group] for group in ids if group in names},
        n_clusters=run.n_clusters,
        unions=tuple(unions),
        is_changed=len(clusters) > run.n_samples or not np.array_equal(clusters, assigned.clusters),
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
        raise SettingError(
            f"level {level}: {printable(str(run.path))} has no {LEVELS}, as an older version made it, or it has too "
            "many clusters: fit again, with headclust fit --config RUN."
        ) from None


def _renamed(groups: NDArray[np.int64], group_of: Mapping[int, int]) -> NDArray[np.int64]:
    """Groups by their new ids; ids that `group_of` lacks stay."""
    ids, places = np.unique(groups, return_inverse=True)
    renamed: NDArray[Any] = np.array([group_of.get(group, group) for group in ids.tolist()], np.int64)
    return renamed[places]


def _unions(levels: Levels, ids: Sequence[int], proposed: Names | None, own: Mapping[int, str]) -> list[Union]:
    """The joins of the groups `ids`, with the name of each union.

    That is the one proposed for it. Without one, the union is called after the part whose id it has, with the number of
    the others, if a person named that part: the name of a part alone does not cover the union.

    Args:
        levels: The levels of the run.
        ids: The groups.
        proposed: The proposed names, if there are some.
        own: The person's names.
    """
    others, unions = dict.fromkeys(ids, 0), []
    suggestions = proposed.joins if proposed else ()
    for place, (union, joined, _) in levels.among(ids):
        others[union] += 1 + others[joined]
        name = suggestion.name if place <= len(suggestions) and (suggestion := suggestions[place - 1]) else None
        if name is None and union in own:
            name = f"{own[union]} and {others[union]} more"
        unions.append(Union(union, joined, name))
    return unions


def describe_groups(clusters: NDArray[np.int64], labels: NDArray[np.int64] | None = None) -> dict[str, Any]:
    """Metrics of groups by any ids, with the keys of metrics.json but those of a fit; scores if a label is known.

    Args:
        clusters: The group of each sample, (n_samples,).
        labels: Shape (n_samples,), -1 where unknown; None without labels.
    """
    ids, places = np.unique(clusters, return_inverse=True)
    report: dict[str, Any] = dict(metrics.describe(places, len(ids)))
    if labels is not None and (labels >= 0).any():
        report |= metrics.score(places, labels)
    return report
