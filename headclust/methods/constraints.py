"""Fixes of a person as a fit uses them: images that are in a group, and pairs that are together or apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from headclust.model import ClusterModel

Ints = NDArray[np.int64]
_NO_PAIRS = np.empty((0, 2), np.int64)


@dataclass(frozen=True, eq=False)
class Constraints:
    """Groups that a fit starts from, and what it has to keep. Groups are numbered from 0, all of them used.

    Attributes:
        n_groups: Number of groups after all splits.
        groups: Group of each sample so far, int64 (n_samples,); -1 for a new sample.
        pinned: Group that each sample is fixed to, int64 (n_samples,); -1 for all others.
        learned: Pinned samples that the run's heads have learned from already, bool (n_samples,); None for none.
        together: Pairs of rows in one group, int64 (n_pairs, 2).
        apart: Pairs of rows in two groups, int64 (n_pairs, 2).
        splits: The groups that each group is to be split into: itself, and new ones.
        start: The model of the run, whose heads the fit goes on from; None without one.
        group_of: The group of each cluster of that model; -1 for one without samples.
    """

    n_groups: int
    groups: Ints
    pinned: Ints
    learned: NDArray[np.bool_] | None = None
    together: Ints = field(default_factory=lambda: _NO_PAIRS)
    apart: Ints = field(default_factory=lambda: _NO_PAIRS)
    splits: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    start: ClusterModel | None = None
    group_of: tuple[int, ...] = ()

    def __repr__(self) -> str:
        pairs = f"{len(self.together)} pairs together, {len(self.apart)} apart"
        return f"Constraints({self.n_groups} groups, {(self.pinned >= 0).sum()} samples pinned, {pairs})"

    @property
    def paired(self) -> Ints:
        """Rows in pairs, ascending, int64 (n,)."""
        return np.unique(np.concatenate((self.together, self.apart)))

    def select(self, rows: Ints) -> Constraints:
        """The constraints of some samples, numbered in the order of `rows`; pairs with another sample are left out."""
        number = np.full(len(self.groups), -1, np.int64)
        number[rows] = np.arange(len(rows))
        together, apart = (number[pairs] for pairs in (self.together, self.apart))
        return replace(
            self,
            groups=self.groups[rows],
            pinned=self.pinned[rows],
            learned=None if self.learned is None else self.learned[rows],
            together=together[(together >= 0).all(1)],
            apart=apart[(apart >= 0).all(1)],
        )

    def of_copies(self, first: Ints, group: Ints) -> Constraints:
        """The constraints of different samples, of which others are copies.

        Args:
            first: A row of each different sample, int64 (n_distinct,).
            group: The number in `first` of each sample, int64 (n_samples,).
        """
        pinned, learned = np.full(len(first), -1, np.int64), np.zeros(len(first), np.bool_)
        rows = np.flatnonzero(self.pinned >= 0)[::-1]
        pinned[group[rows]] = self.pinned[rows]  # of several, the first
        learned[group[rows]] = self.learned is not None and self.learned[rows]
        together, apart = (group[pairs] for pairs in (self.together, self.apart))
        return replace(
            self,
            groups=self.groups[first],
            pinned=pinned,
            learned=learned,
            together=together[together[:, 0] != together[:, 1]],
            apart=apart[apart[:, 0] != apart[:, 1]],
        )

    def agreeing(self, first: Ints) -> Ints:
        """Groups of samples of which none has samples that are fixed to different groups, or are apart.

        Args:
            first: The first sample of the group of each sample, int64 (n_samples,).

        Returns:
            The same; each sample of a group that has such samples is alone.
        """
        rows = np.flatnonzero(self.pinned >= 0)
        pins = np.unique(np.stack((first[rows], self.pinned[rows])), axis=1)[0]  # groups, once per pin
        apart = first[self.apart]
        broken = np.concatenate((pins[1:][pins[1:] == pins[:-1]], apart[apart[:, 0] == apart[:, 1], 0]))
        return np.where(np.isin(first, broken), np.arange(len(first)), first)

    def parts(self) -> list[Ints]:
        """Rows in pairs that belong together, one array per set; a row that is only apart from others is alone."""
        from scipy import sparse

        rows = self.paired
        first, second = np.searchsorted(rows, self.together.T)
        links = sparse.coo_array((np.ones(len(first)), (first, second)), shape=(len(rows), len(rows)))
        n_parts, part = sparse.csgraph.connected_components(links, directed=False)
        order = np.argsort(part, kind="stable")
        return np.split(rows[order], np.cumsum(np.bincount(part, minlength=n_parts))[:-1]) if len(rows) else []

    def settle(self, scores: NDArray[np.floating], rows: Ints) -> tuple[Ints, int]:
        """Groups of the rows in pairs that satisfy every constraint, int64 (n_rows,), and the number that cannot.

        Samples that belong together get the group with the highest mean score. Pairs that are apart are a graph to
        color: the set with the fewest groups left is next (Brélaz, "New methods to color the vertices of a graph",
        1979, https://doi.org/10.1145/359094.359101), and takes the best of those.

        Args:
            scores: Score of each group for each row, the higher the better, (n_rows, n_groups).
            rows: `paired`.
        """
        parts = [np.searchsorted(rows, part) for part in self.parts()]
        part_of = np.empty(len(rows), np.int64)
        for number, part in enumerate(parts):
            part_of[part] = number
        means = np.stack([scores[part].mean(0) for part in parts]) if parts else np.empty((0, self.n_groups))
        rivals: dict[int, set[int]] = {}
        for first, second in part_of[np.searchsorted(rows, self.apart)].tolist():
            if first != second:
                rivals.setdefault(first, set()).add(second)
                rivals.setdefault(second, set()).add(first)
        chosen = means.argmax(1) if len(means) else np.empty(0, np.int64)
        pins = [int(self.pinned[rows[part]].max()) for part in parts]
        taken = {number: pin for number, pin in enumerate(pins) if pin >= 0}
        open_ = {number: {taken[rival] for rival in rivals[number] if rival in taken} for number in rivals}
        waiting = set(rivals) - set(taken)
        n_broken = 0
        while waiting:
            number = max(waiting, key=lambda part: (len(open_[part]), means[part].max(), -part))
            waiting.remove(number)
            free = [group for group in range(self.n_groups) if group not in open_[number]]
            n_broken += not free
            taken[number] = max(free or range(self.n_groups), key=lambda group: means[number, group])
            for rival in rivals[number]:
                open_[rival].add(taken[number])
        for number, group in taken.items():
            chosen[number] = group
        return chosen[part_of], n_broken
