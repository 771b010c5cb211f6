"""Groups of copies: how pairs become groups, and which image of a group is the best one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_MOST_COMPARED = 5  # images of each of two groups whose pairs decide whether the groups are one
_SHARPNESS_STEP = math.log(1.05)  # sharpness that differs by less than about 5 % is the same


class Facts(NamedTuple):
    """Properties of an image by which the best one of a group is chosen.

    Attributes:
        n_pixels: Width times height.
        sharpness: As `sketch.sharpness` gives it.
        size: Bytes of the file; 0 if unknown.
        time: Modification time of the file; 0 if unknown.
    """

    n_pixels: int
    sharpness: float
    size: int
    time: int


UNKNOWN = Facts(0, 0.0, 0, 0)


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are copies of one another.

    Attributes:
        rows: Their rows, the best one first.
        similarity: Least cosine similarity of two of them by which they were found, 0 to 1.
        reason: Why the first is the best one, as part of a sentence.
    """

    rows: tuple[int, ...]
    similarity: float
    reason: str

    @property
    def best(self) -> int:
        """The row of the best image."""
        return self.rows[0]

    @property
    def copies(self) -> tuple[int, ...]:
        """The rows of the others."""
        return self.rows[1:]


@dataclass(frozen=True)
class Duplicates:
    """The copies among the samples.

    Attributes:
        groups: Groups of two images or more, the most alike first.
        n_searched: Number of images that were searched: all, or a random sample of many.
        by_pixels: True if pixels were compared; False if the images cannot be read, and features alone decided.
        n_not_compared: Pairs with similar features that were not compared, as there were too many.
    """

    groups: tuple[DuplicateGroup, ...]
    n_searched: int
    by_pixels: bool = True
    n_not_compared: int = 0

    @property
    def copies(self) -> frozenset[int]:
        """Rows of all images that are not the best one of their group."""
        return frozenset(row for group in self.groups for row in group.copies)


def link(pairs: Iterable[tuple[int, int]], alike: Callable[[int, int], bool]) -> list[list[int]]:
    """Groups of images, from pairs of copies.

    Average linkage: two groups become one if more than half of the pairs across them are alike. So an image that is
    like many others, which are not like one another, joins no more than one of them.

    Args:
        pairs: Pairs that are alike, the most certain first.
        alike: True if two images are alike; asked of pairs across groups.

    Returns:
        Groups of two images or more, each ascending.
    """
    group_of: dict[int, list[int]] = {}
    for first, second in pairs:
        group, other = (group_of.setdefault(row, [row]) for row in (first, second))
        if group is other:
            continue
        across = [(a, b) for a in group[:_MOST_COMPARED] for b in other[:_MOST_COMPARED]]
        if 2 * sum(pair == (first, second) or alike(*pair) for pair in across) > len(across):
            group += other
            group_of.update(dict.fromkeys(other, group))
    groups = {id(group): group for group in group_of.values() if len(group) > 1}
    return [sorted(group) for group in groups.values()]


def best_first(rows: Sequence[int], facts: Callable[[int], Facts], names: Sequence[str]) -> tuple[list[int], str]:
    """The rows of a group, the best one first, and the reason.

    The best has the most pixels; of equals, the sharpest (differences below 5 % do not count); then the largest file;
    then the oldest; then the first by name.

    Args:
        rows: The rows.
        facts: Function of a row.
        names: Name of each sample.
    """

    def key(row: int) -> tuple[float, ...]:
        n_pixels, sharpness, size, time = facts(row)
        level = round(math.log(sharpness) / _SHARPNESS_STEP) if sharpness > 0 else -math.inf
        return -n_pixels, -level, -size, time

    ordered = sorted(rows, key=lambda row: (key(row), names[row]))
    reasons = ("it has the most pixels", "it is the sharpest", "its file is the largest", "its file is the oldest")
    differing = [reason for reason, a, b in zip(reasons, key(ordered[0]), key(ordered[1]), strict=True) if a != b]
    return ordered, (differing or ["it is the first by name"])[0]
