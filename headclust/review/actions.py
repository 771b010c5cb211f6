"""Actions on the page, as fixes: one function per action, from the values that the page sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from headclust.errors import DataError
from headclust.progress import printable
from headclust.review.session import Session
from headclust.runs.fixes import Fix

MOST_IMAGES = 5_000  # per action


def fixes_of(session: Session, values: Mapping[str, Any]) -> list[Fix]:
    """The fixes of an action.

    Args:
        session: The run.
        values: `action`, a name in `ACTIONS`, and what that needs: `group` and `into`, groups of the finest level;
            `groups`, several; `rows`, images; `name`; `parts`, a number of groups.

    Raises:
        DataError: A value is missing or of another kind, or names a group or an image that is not in the run.
    """
    name = values.get("action")
    if not isinstance(name, str) or name not in ACTIONS:
        raise DataError(f"action {printable(str(name))[:50]!r}: expected one of {', '.join(ACTIONS)}.")
    return ACTIONS[name](session, values)


def _rename(session: Session, values: Mapping[str, Any]) -> list[Fix]:
    name = values.get("name")
    if not isinstance(name, str):
        raise DataError("a new name is needed.")
    return [Fix("rename", group=_group(session, values.get("group")), name=" ".join(name.split()))]


def _merge(session: Session, values: Mapping[str, Any]) -> list[Fix]:
    into, groups = _group(session, values.get("into")), values.get("groups")
    if not isinstance(groups, list):
        raise DataError("groups to merge are needed.")
    others = dict.fromkeys(_group(session, group) for group in groups)
    others.pop(into, None)
    if not others:
        raise DataError("a group cannot be merged with itself: choose another one.")
    return [Fix("merge", group=group, other=into) for group in others]


def _split(session: Session, values: Mapping[str, Any]) -> list[Fix]:
    parts = values.get("parts", 2)
    if type(parts) is not int:
        raise DataError("the number of groups to split into is needed.")
    return [Fix("split", group=_group(session, values.get("group")), other=parts)]


def _move(session: Session, values: Mapping[str, Any]) -> list[Fix]:
    into = values.get("into")
    group = session.next_group if into == "new" else _group(session, into)
    ids = session.fitted.assigned.sample_ids
    return [Fix("move", image=ids[row], group=group) for row in _rows(session, values)]


def _together(session: Session, values: Mapping[str, Any]) -> list[Fix]:
    ids = [session.fitted.assigned.sample_ids[row] for row in _rows(session, values, least=2)]
    # One image with each of the others: so all of them belong together.
    return [Fix("together", image=ids[0], other=other) for other in ids[1:]]


def _apart(session: Session, values: Mapping[str, Any]) -> list[Fix]:
    rows = _rows(session, values, least=2)
    if len(rows) > 2:
        raise DataError(f"{len(rows)} images: expected two that do not belong together.")
    first, second = (session.fitted.assigned.sample_ids[row] for row in rows)
    return [Fix("apart", image=first, other=second)]


def _right(session: Session, values: Mapping[str, Any]) -> list[Fix]:
    return [Fix("right", group=_group(session, values.get("group")))]


ACTIONS: Mapping[str, Callable[[Session, Mapping[str, Any]], list[Fix]]] = {
    "rename": _rename,
    "merge": _merge,
    "split": _split,
    "move": _move,
    "together": _together,
    "apart": _apart,
    "right": _right,
}


def _group(session: Session, value: object) -> int:
    """A group that has images now."""
    if type(value) is not int or value not in session.groups().ids:
        raise DataError(f"group {printable(str(value))[:20]}: no such group now; look again.")
    return value


def _rows(session: Session, values: Mapping[str, Any], least: int = 1) -> list[int]:
    """Different rows of images of the run."""
    rows, n_samples = values.get("rows"), len(session.fitted.assigned.sample_ids)
    if not (isinstance(rows, list) and all(type(row) is int and 0 <= row < n_samples for row in rows)):
        raise DataError("the images are not those of this run; look again.")
    rows = list(dict.fromkeys(rows))
    if len(rows) < least:
        raise DataError(f"{len(rows)} images are chosen: expected at least {least}.")
    if len(rows) > MOST_IMAGES:
        raise DataError(f"{len(rows):,} images at once: expected at most {MOST_IMAGES:,}; merge whole groups instead.")
    return rows
