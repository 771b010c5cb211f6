"""The groups that follow from the fixes of a person, and contradictions between fixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError
from headclust.progress import printable
from headclust.runs.assignments import Assignments
from headclust.runs.fixes.file import Fix


@dataclass(frozen=True, eq=False)
class Resolved:
    """The groups of a run after its fixes, and what the next fit has to keep.

    Attributes:
        clusters: Group of each sample now, int64 (n_samples,).
        pinned: Group that each sample belongs to by a fix, int64 (n_samples,); -1 for all others.
        together: Pairs of rows that belong in one group.
        apart: Pairs of rows that do not.
        splits: Number of parts of each group that is to be split.
        ended: Group that each merged group went to.
        names: The person's name of groups, by id.
    """

    clusters: NDArray[np.int64]
    pinned: NDArray[np.int64]
    together: tuple[tuple[int, int], ...]
    apart: tuple[tuple[int, int], ...]
    splits: Mapping[int, int]
    ended: Mapping[int, int]
    names: Mapping[int, str]


def apply_fixes(assigned: Assignments, fixes: Sequence[Fix]) -> NDArray[np.int64]:
    """The group of each sample now, int64 (n_samples,), without a fit.

    Images that belong together move together: to the group that one of them is fixed to, else to that of the image
    with the higher confidence. `apart` and `split` wait for a fit.

    Args:
        assigned: The samples of the run, and their clusters.
        fixes: Its fixes, in order.

    Raises:
        DataError: A fix names an image that is not in the run.
    """
    state = _State(assigned, fixes)
    state.apply()
    return state.clusters


def check_fixes(fixes: Sequence[Fix], assigned: Assignments, n_clusters: int) -> None:
    """Raise if the fixes of a run contradict each other, or name images or groups that it does not have.

    Of two `move` rows of one image the later counts. The arguments are those of `resolve_fixes`.

    Raises:
        DataError: They do; the line names both rows.
    """
    resolve_fixes(assigned, fixes, n_clusters)


def resolve_fixes(assigned: Assignments, fixes: Sequence[Fix], n_clusters: int) -> Resolved:
    """The groups of a run after its fixes, and what the next fit has to keep.

    Args:
        assigned: The samples of the run, and their clusters.
        fixes: Its fixes, in order.
        n_clusters: Clusters of the run's model: ids below it are groups, and the next one makes a new group.

    Raises:
        DataError: As for `check_fixes`.
    """
    state = _State(assigned, fixes)
    state.apply(n_clusters)
    state.check()
    pinned = state.pinned.copy()
    for members in state.members.values():
        fixed = [row for row in members if pinned[row] >= 0]
        if fixed:  # images that belong together with a fixed one
            pinned[members] = pinned[fixed[0]]
    return Resolved(
        state.clusters,
        pinned,
        tuple((first, second) for first, second, _ in state.together),
        tuple((first, second) for first, second, _ in state.apart),
        {group: fixes[position].parts for group, position in state.splits.items()},
        {group: state.now(group) for group in state.ended},
        state.names,
    )


class _State:
    """The groups while fixes are applied in order.

    Attributes:
        clusters: Group of each sample, int64 (n_samples,).
        pinned, pinned_by: Group that a sample is fixed to by a row of its own, and the position of that fix; -1.
        members: Rows that belong together, by their first; `root` has the first of each.
        together, apart: Pairs of rows, and the position of the fix.
        splits, ended: Position of the fix, by group; names: by group.
    """

    def __init__(self, assigned: Assignments, fixes: Sequence[Fix]) -> None:
        self.fixes, self.assigned = fixes, assigned
        self.clusters = assigned.clusters.copy()
        self.pinned, self.pinned_by = (np.full(len(self.clusters), -1, dtype=np.int64) for _ in range(2))
        self.root: dict[int, int] = {}
        self.members: dict[int, list[int]] = {}
        self.together: list[tuple[int, int, int]] = []
        self.apart: list[tuple[int, int, int]] = []
        self.splits: dict[int, int] = {}
        self.ended: dict[int, int] = {}
        self.names: dict[int, str] = {}
        images = {fix.image for fix in fixes} | {fix.other for fix in fixes}
        self.rows = {name: row for row, name in enumerate(assigned.sample_ids) if name in images}

    def apply(self, n_clusters: int | None = None) -> None:
        """Apply the fixes in order; with `n_clusters`, check that their groups exist."""
        steps = {
            "rename": self._rename,
            "merge": self._merge,
            "split": self._split,
            "move": self._move,
            "together": self._together,
            "apart": self._apart,
            "right": self._right,
        }
        n_groups = n_clusters
        for position, fix in enumerate(self.fixes):
            if n_groups is not None:
                n_groups = self._check_groups(position, n_groups)
            steps[fix.fix](position, fix)

    def _rename(self, position: int, fix: Fix) -> None:
        self.names[_id(fix.group)] = fix.name or ""

    def _merge(self, position: int, fix: Fix) -> None:
        group = _id(fix.group)
        for groups in (self.clusters, self.pinned):
            groups[groups == group] = _id(fix.other)
        self.ended[group] = position
        self.names.pop(group, None)
        self.splits.pop(group, None)

    def _split(self, position: int, fix: Fix) -> None:
        self.splits[_id(fix.group)] = position

    def _move(self, position: int, fix: Fix) -> None:
        row = self._row(position, fix.image)
        self.pinned[row], self.pinned_by[row] = _id(fix.group), position
        self.clusters[self._linked(row)] = _id(fix.group)

    def _right(self, position: int, fix: Fix) -> None:
        rows = self.clusters == _id(fix.group)
        self.pinned[rows], self.pinned_by[rows] = _id(fix.group), position

    def _together(self, position: int, fix: Fix) -> None:
        first, second = pair = self._row(position, fix.image), self._row(position, fix.other)
        sides = [self._linked(row) for row in pair]
        # The group of both: of a fixed image if there is one, else of the surer of the two.
        fixed = [row for side in sides for row in side if self.pinned[row] >= 0]
        surer = max(pair, key=lambda row: self.assigned.confidence[row])
        group = self.pinned[fixed[0]] if fixed else self.clusters[surer]
        root = self.root.get(first, first)
        self.members[root] = list(dict.fromkeys([*sides[0], *sides[1]]))
        for row in self.members[root]:
            if self.root.get(row, row) != root:
                self.members.pop(self.root.get(row, row), None)
            self.root[row] = root
        self.clusters[self.members[root]] = group
        self.together.append((first, second, position))

    def _apart(self, position: int, fix: Fix) -> None:
        self.apart.append((self._row(position, fix.image), self._row(position, fix.other), position))

    def now(self, group: int) -> int:
        """The group that a merged group, or that which it went to, has become."""
        while group in self.ended:
            group = _id(self.fixes[self.ended[group]].other)
        return group

    def _linked(self, row: int) -> list[int]:
        """All rows that belong together with a row, itself included."""
        return self.members.get(self.root.get(row, row), [row])

    def _row(self, position: int, image: str | int | None) -> int:
        if image not in self.rows:
            raise DataError(f"{self._place(position)}: no image {printable(str(image))[:200]!r} in the run.")
        return self.rows[image]

    def _place(self, position: int) -> str:
        fix = self.fixes[position]
        return f"line {fix.line} ({fix})" if fix.line else f"fix {position + 1} ({fix})"

    def _check_groups(self, position: int, n_groups: int) -> int:
        """Raise unless the groups of a fix exist; return the number of groups after it."""
        fix = self.fixes[position]
        other = fix.other if fix.fix == "merge" else None
        for group in (fix.group, other):
            if group is None:
                continue
            group = _id(group)
            if group in self.ended:
                self._contradict(position, self.ended[group], f"group {group} has ended")
            if group == n_groups and fix.fix == "move":
                n_groups += 1
            elif group >= n_groups:
                raise DataError(
                    f"{self._place(position)}: no group {group} in the run: it has 0 to {n_groups - 1}, and the next "
                    f"new one, for images to move to, is {n_groups}."
                )
        return n_groups

    def check(self) -> None:
        """Raise if fixes contradict each other, after all of them have been applied."""
        for first, _, position in self.together:
            fixed = [row for row in self._linked(first) if self.pinned[row] >= 0]
            if len({int(self.pinned[row]) for row in fixed}) > 1:
                self._check_linked(fixed, position)
        for first, second, position in self.apart:
            if second in self._linked(first):
                rows = self._linked(first)
                other = max(place for row, _, place in self.together if row in rows)
                self._contradict(position, other, "other images connect them" if len(rows) > 2 else "")
            sides = [[row for row in self._linked(row) if self.pinned[row] >= 0] for row in (first, second)]
            if all(sides) and (group := self.pinned[sides[0][0]]) == self.pinned[sides[1][0]]:
                other = max(int(self.pinned_by[side[0]]) for side in sides)
                self._contradict(position, other, f"both images belong to group {group}")
        for group, position in self.splits.items():
            self._check_split(group, position)

    def _check_linked(self, fixed: Sequence[int], position: int) -> NoReturn:
        """Raise for images that belong together and are fixed to different groups."""
        fixed = sorted(fixed, key=lambda row: self.pinned_by[row])
        last = fixed[-1]
        first = next(row for row in fixed if self.pinned[row] != self.pinned[last])
        name, last_name = (printable(self.assigned.sample_ids[row])[:100] for row in (first, last))
        reason = f"{name} belongs to group {self.pinned[first]}, {last_name} to group {self.pinned[last]}"
        self._contradict(position, int(self.pinned_by[last]), reason)

    def _check_split(self, group: int, position: int) -> None:
        """Raise if a group that is to be split has too few images that are not fixed to it."""
        rows = np.flatnonzero(self.clusters == group)
        fixed = rows[self.pinned[rows] == group]
        n_parts = self.fixes[position].parts
        # The fixed images are one part, which keeps the id.
        if len(rows) - len(fixed) >= n_parts - (len(fixed) > 0):
            return
        if len(fixed):
            reason = f"{len(fixed)} of its {len(rows)} images are fixed"
            self._contradict(position, int(self.pinned_by[fixed].max()), reason)
        raise DataError(f"{self._place(position)}: group {group} has {len(rows)} images: expected at least {n_parts}.")

    def _contradict(self, first: int, second: int, reason: str) -> NoReturn:
        early, late = sorted((first, second))
        because = f": {reason}" if reason else ""
        raise DataError(f"{self._place(late)} contradicts {self._place(early)}{because}. Delete one of them.")


def _id(group: int | str | None) -> int:
    """The id of a group in a fix that uses one."""
    assert isinstance(group, int)
    return group
