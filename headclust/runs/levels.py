"""levels.json of a run: how its clusters join, from fine to coarse. See docs/run-folder.md."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from headclust.errors import FileFormatError, SettingError
from headclust.progress import printable
from headclust.runs.checksums import check_file, read_regular
from headclust.runs.record import Record, parse_json

LEVELS = "levels.json"
_DIGITS = 6  # of a height


class Join(NamedTuple):
    """Cluster `joined` becomes part of `kept`, whose id the union has; `height` is their distance, 0 or more."""

    kept: int
    joined: int
    height: float


@dataclass(frozen=True)
class Levels:
    """The joins of a run's clusters, from fine to coarse; none if the run has a single cluster, or no levels.json."""

    joins: tuple[Join, ...] = ()

    def __repr__(self) -> str:
        return f"Levels({len(self.joins)} joins)"

    @property
    def clusters(self) -> tuple[int, ...]:
        """The clusters that join, ascending: those with samples in the fit."""
        return tuple(sorted({cluster for join in self.joins for cluster in join[:2]}))

    def cut(self, n_groups: int, ids: Collection[int] | None = None) -> dict[int, int]:
        """The group of each cluster after the first joins, so many that `n_groups` groups are left.

        Args:
            n_groups: Number of groups.
            ids: Groups that there are now, if not those of the fit: see `among`.

        Raises:
            SettingError: No cut has this number of groups.
        """
        return self.after(self.count(n_groups, ids), ids)

    def among(self, ids: Collection[int] | None = None) -> list[tuple[int, Join]]:
        """The joins of the groups that there are now, each with its place in `joins`, counted from 1.

        A join of clusters of which one has no samples any more joins nothing, and is left out. A union has the id that
        its joins keep; if no samples are left in that group, the next id that has some.

        Args:
            ids: Groups that have samples now, if not those of the fit: a group that a person made joins nothing.
        """
        present = set(self.clusters if ids is None else ids)
        group_of = {cluster: cluster if cluster in present else None for cluster in self.clusters}
        made = []
        for place, join in enumerate(self.joins, start=1):
            union, joined = group_of[join.kept], group_of[join.joined]
            if union is None:
                group_of[join.kept] = joined
            elif joined is not None:
                made.append((place, Join(union, joined, join.height)))
        return made

    def count(self, n_groups: int, ids: Collection[int] | None = None) -> int:
        """The least number of joins after which `n_groups` are left; `ids` as for `among`.

        Raises:
            SettingError: No number of joins leaves as many.
        """
        n_ids = len(set(self.clusters if ids is None else ids))
        places = [0, *(place for place, _ in self.among(ids))]
        if not n_ids - len(places) < n_groups <= n_ids:
            least = n_ids - len(places) + 1
            expected = f"{least} to {n_ids}, the numbers" if least < n_ids else f"{n_ids}, the number"
            raise SettingError(f"level {n_groups}: expected {expected} of groups of this run.")
        return places[n_ids - n_groups]

    def after(self, n_joins: int, ids: Collection[int] | None = None) -> dict[int, int]:
        """The group of each cluster, and of each of `ids`, after the first `n_joins` joins; `ids` as for `among`."""
        present = set(self.clusters if ids is None else ids)
        parts = {group: [group] for group in sorted({*self.clusters, *present})}
        for join in self.joins[:n_joins]:
            parts[join.kept] += parts.pop(join.joined)
        names = {union: next((part for part in members if part in present), union) for union, members in parts.items()}
        return {part: names[union] for union, members in parts.items() for part in members}

    def renumbered(self, ids: Sequence[int]) -> Levels:
        """The same joins with other ids: the new id of each cluster."""
        return Levels(tuple(Join(ids[join.kept], ids[join.joined], join.height) for join in self.joins))


def levels_bytes(levels: Levels) -> bytes:
    """The content of levels.json."""
    joins = [[join.kept, join.joined, round(join.height, _DIGITS)] for join in levels.joins]
    return (json.dumps({"joins": joins}) + "\n").encode()


def read_levels(run: Record) -> Levels:
    """The joins in a run's levels.json; none if an older version made the run.

    Raises:
        FileFormatError: The file is damaged or changed since the fit, or does not belong to the run.
    """
    path = run.path / LEVELS
    check_file(path)
    if not path.exists():
        return Levels()
    try:
        joins = tuple(map(_join, parse_json(path, read_regular(path))["joins"]))
        _check_tree(joins, run.n_clusters, run.metrics["clusters_used"])
    except (KeyError, TypeError, ValueError) as error:
        reason = printable(str(error))[:100]
        raise FileFormatError(
            f"{printable(str(path))} cannot be read ({reason}): restore it from a copy, or fit again."
        ) from None
    return Levels(joins)


def _join(value: Any) -> Join:
    union, joined, height = value
    if not (type(union) is int and type(joined) is int and type(height) in (int, float)):
        raise ValueError(f"join {str(value)[:50]}, expected two clusters and a height")
    return Join(union, joined, float(height))


def _check_tree(joins: Sequence[Join], n_clusters: int, n_used: int) -> None:
    """Raise ValueError unless the joins lead from `n_used` of the clusters 0 to n_clusters - 1 to a single one."""
    gone: set[int] = set()
    for union, joined, height in joins:
        if union == joined or not {union, joined} <= set(range(n_clusters)) - gone or not 0 <= height < math.inf:
            raise ValueError(f"clusters {union} and {joined} do not join at {height}")
        gone.add(joined)
    if len(joins) != n_used - 1:
        raise ValueError(f"{len(joins)} joins of {n_used} clusters, expected {n_used - 1}")
