"""The choice of names: contrast with the other groups, no name twice, none where none fits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headclust.naming.evidence import Evidence
from headclust.runs.names import Name

_LEAST_ELSEWHERE = 0.02  # shares of the other groups below this count as this: rare names gain nothing
_LEAST_OF_PART = 0.2  # share of every part of a union that its name has to cover
_NEARLY = 0.8  # share of what a name covers that a narrower one has to cover to take its place
_N_ALTERNATIVES = 3


def contrast(shares: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores of names by how well they tell a group from others: 0 or more, in nats.

    With p the share of the group that a name covers and q that of the others, the relative entropy
    p log(p / q) + (1 - p) log((1 - p) / (1 - q)) where p > q, and 0 elsewhere. It grows with what the name covers and
    falls with what it covers elsewhere: of five breeds "dog" covers all, "animal" too much, and a breed too little.

    Args:
        shares: p, 0 to 1.
        others: q, of the same shape.
    """
    p = np.clip(shares, 1e-6, 1 - 1e-6)
    q = np.clip(others, _LEAST_ELSEWHERE, 1 - 1e-4)
    entropy = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    positive: NDArray[np.float64] = np.where(p > q, entropy, 0.0)
    return positive


@dataclass(frozen=True, eq=False)
class Chooser:
    """Names of the groups that evidence was collected for, and of unions of them.

    Attributes:
        evidence: Shares of the groups.
        sizes: Images per group, int64 (n_groups,).
        taken: Texts that name something else already, such as the names that a person gave.
    """

    evidence: Evidence
    sizes: NDArray[np.int64]
    taken: Collection[str] = ()

    def name_groups(self) -> list[Name]:
        """A name per group: the sum of their scores is the largest possible, and no name is given twice."""
        from scipy.optimize import linear_sum_assignment

        shares = self.evidence.shares
        others = (shares.sum(axis=0) - shares) / max(1, len(shares) - 1)  # mean over the other groups
        scores = self._scores(shares, others, self.taken)
        rows, columns = linear_sum_assignment(-scores)
        chosen = dict(zip(rows.tolist(), columns.tolist(), strict=True))
        return [self._name(scores[group], shares[group], chosen.get(group)) for group in range(len(shares))]

    def name_joins(
        self, names: Sequence[Name], ids: Sequence[int], joins: Sequence[tuple[int, int]]
    ) -> list[Name | None]:
        """A name per join, for the union that it makes; no two groups have the same name at any level.

        A join of which one side has no images changes no name; None where neither side has any.

        Args:
            names: Those of the groups, from `name_groups`.
            ids: Ids of these groups.
            joins: Ids (id that the union has, id of the other part), from fine to coarse.
        """
        members = {group: [row] for row, group in enumerate(ids)}
        current = dict(zip(ids, names, strict=True))
        made: list[Name | None] = []
        for union, part in joins:
            members[union] = members.pop(union, []) + members.pop(part, [])
            parts = [current.pop(group) for group in (union, part) if group in current]
            if len(parts) == 2:
                used = {name.name for name in current.values() if name.name is not None}
                current[union] = self._name_union(members[union], used.union(self.taken))
            elif parts:
                current[union] = parts[0]
            made.append(current.get(union))
        return made

    def _name_union(self, members: Sequence[int], used: Collection[str]) -> Name:
        """The name of some groups together, none of `used`.

        Its share is the mean over all images, and it has to cover a fifth of every part: a union
        of "cat" and "car" has no name, and one of "cat" and "dog" may be "animal".
        """
        inside = np.zeros(len(self.sizes), bool)
        inside[list(members)] = True
        parts = self.evidence.shares[inside]
        union = np.average(parts, axis=0, weights=self.sizes[inside])
        # The union of all groups has none to be told from.
        others = np.zeros_like(union) if inside.all() else self.evidence.shares[~inside].mean(axis=0)
        scores = self._scores(union, others, used, possible=parts.min(axis=0) >= _LEAST_OF_PART)
        return self._name(scores, union, int(scores.argmax()) if len(scores) else None)

    def _scores(
        self,
        shares: NDArray[np.float64],
        others: NDArray[np.float64],
        used: Collection[str],
        possible: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float64]:
        """Scores of names, of the shape of `shares`; 0 for names that are not `possible` or not eligible.

        Those are the used ones, those that tell too little, and those of which a narrower one covers nearly as much:
        the lowest kind that covers the group names it.
        """
        scores = contrast(shares, others) * self.evidence.factors
        eligible = scores >= self.evidence.least_score
        eligible[..., [self._column[text.casefold()] for text in used if text.casefold() in self._column]] = False
        if possible is not None:
            eligible &= possible
        scores[~eligible] = 0
        covered = np.where(eligible, shares, 0)
        for column, narrower in self.evidence.narrower.items():
            is_covered = covered[..., narrower].max(axis=-1) >= _NEARLY * shares[..., column]
            scores[..., column][is_covered] = 0
        return scores

    @cached_property
    def _column(self) -> dict[str, int]:
        """The column of each text, in lower case."""
        return {text.casefold(): column for column, text in enumerate(self.evidence.texts)}

    def _name(self, scores: NDArray[np.float64], shares: NDArray[np.float64], chosen: int | None) -> Name:
        """The name in a column, or no name where its score is 0, with the next best ones."""
        order = [column for column in np.argsort(-scores, kind="stable")[: _N_ALTERNATIVES + 1] if scores[column] > 0]
        alternatives = tuple(self.evidence.texts[column] for column in order if column != chosen)[:_N_ALTERNATIVES]
        if chosen is None or scores[chosen] <= 0:
            return Name(None, 0.0, alternatives)
        return Name(self.evidence.texts[chosen], min(1.0, float(shares[chosen])), alternatives)
