"""Groups and images as the page lists them: summaries of groups, and ordered rows of which it asks for a part."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headclust.progress import printable
from headclust.review.session import Session
from headclust.runs.groups import Groups

Order = Literal["sure", "unsure", "name"]
ORDERS = ("sure", "unsure", "name")
N_TYPICAL = 6  # images that stand for a group


def describe_groups(session: Session, level: int | None) -> list[dict[str, Any]]:
    """The groups at a level, one object per group, in the order of their ids.

    Keys: `id`; `name`, None without one; `proposed`, True if the name is not the person's; `count`; `confidence`, the
    mean; `typical`, rows of images; `parts`, the groups of the finest level in it; `right`; `split`, the number of
    things that the person says it is, or None.
    """
    with session.lock:
        groups, finest = session.groups(level), session.groups()
        right, resolved = session.right, session.resolved
    rows, starts = rows_by_group(groups)
    parts = _parts(groups, finest)
    described = []
    for group, first, last in zip(groups.ids, starts, [*starts[1:], len(rows)], strict=True):
        own, name = rows[first:last], groups.names.get(group)
        described.append(
            {
                "id": group,
                "name": None if name is None else printable(name),
                "proposed": name is not None and resolved.names.get(group) != name,
                "count": len(own),
                "confidence": round(float(groups.confidence[own].mean()), 4),
                "typical": _typical(own),
                "parts": parts[group],
                "right": set(parts[group]) <= right,
                "split": resolved.splits.get(group) if len(parts[group]) == 1 else None,
            }
        )
    return described


def rows_by_group(groups: Groups) -> tuple[NDArray[np.int64], list[int]]:
    """All rows, group by group in the order of `groups.ids`, the surest first; and the place where each one begins."""
    order = np.lexsort((np.arange(len(groups.clusters)), -groups.confidence, groups.clusters))
    return order, np.searchsorted(groups.clusters[order], groups.ids).tolist()


def _typical(rows: NDArray[np.int64]) -> list[int]:
    """Rows evenly from the surest quarter: the surest ones alone are often copies of each other."""
    quarter = rows[: max(N_TYPICAL, len(rows) // 4)]
    places = np.unique(np.linspace(0, len(quarter) - 1, min(N_TYPICAL, len(quarter))).round().astype(int))
    return [int(row) for row in quarter[places]]


def _parts(groups: Groups, finest: Groups) -> dict[int, list[int]]:
    """The groups of the finest level in each group, ascending."""
    firsts = np.unique(finest.clusters, return_index=True)[1]
    parts: dict[int, list[int]] = {group: [] for group in groups.ids}
    for row in firsts.tolist():
        parts[int(groups.clusters[row])].append(int(finest.clusters[row]))
    return parts


def rows_of_group(session: Session, level: int | None, group: int, order: Order) -> NDArray[np.int64]:
    """The rows of a group in an order, ties by row."""
    groups = session.groups(level)
    rows = np.flatnonzero(groups.clusters == group)
    if order == "name":
        keys: NDArray[Any] = session.fitted.places[rows]
    else:
        keys = groups.confidence[rows] * (1 if order == "unsure" else -1)
    return rows[np.argsort(keys, kind="stable")]


def rows_with_name(names: Sequence[str], query: str) -> NDArray[np.int64]:
    """The rows whose name holds every word of the query, in any case and composition."""
    words = _plain(query).split()
    rows = [row for row, name in enumerate(names) if all(word in name for word in words)] if words else []
    return np.array(rows, np.int64)


def plain_names(names: Sequence[str]) -> list[str]:
    """Names as `rows_with_name` compares them."""
    return list(map(_plain, names))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def describe_images(session: Session, level: int | None, rows: Sequence[int]) -> list[list[Any]]:
    """Images for the page: row, name, group, confidence in per mille, and 1 if a fix has fixed its group."""
    with session.lock:
        groups, pinned, shown = session.groups(level), session.resolved.pinned, session.fitted.shown
    return [
        [row, shown[row], int(groups.clusters[row]), round(1000 * float(groups.confidence[row])), int(pinned[row] >= 0)]
        for row in rows
    ]
