"""The answers to the page: what it shows of a run, and what it changes. One method per address of `app`."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from headclust.backbones.entry import PROJECTED
from headclust.errors import DataError, HeadclustError
from headclust.progress import note, printable
from headclust.report.images import Source, open_images
from headclust.review import listing
from headclust.review.actions import MOST_IMAGES, fixes_of
from headclust.review.guard import Keys
from headclust.review.questions import Questions, interleaved
from headclust.review.refit import Refit
from headclust.review.session import Session
from headclust.review.space import Space
from headclust.review.thumbnails import Thumbnails
from headclust.runs.fixes import Fix
from headclust.runs.inputs import locate_features

_MOST_AT_ONCE = 500  # images of a list per request
_MOST_QUESTIONS = 60
_MOST_CHANGES = 200
_N_SIMILAR = 120
_LISTS = 32  # ordered lists that are held


class Desk:
    """A run under review.

    Args:
        path: The run folder.
        keys: The secrets of this review.

    Raises:
        HeadclustError: The run, its fixes or its names cannot be used.
    """

    def __init__(self, path: Path, keys: Keys) -> None:
        self._keys = keys
        self.session = Session(path)
        self.source = _source(self.session)
        if self.source.problem:
            note(f"images: {self.source.problem}")
        self.thumbnails = Thumbnails(self.source)
        self.fitting = Refit(self.session)
        self._lists: OrderedDict[tuple[Any, ...], NDArray[np.int64]] = OrderedDict()
        self._lock = threading.Lock()
        self._open_space()

    def _open_space(self) -> None:
        self.space = Space(self.session.fitted)
        self.asking = Questions(self.session, self.space)

    def close(self) -> None:
        """End all processes."""
        self.fitting.close()
        self.thumbnails.close()

    @property
    def n_samples(self) -> int:
        """Number of images."""
        return len(self.session.fitted.assigned.sample_ids)

    @cached_property
    def _plain_names(self) -> list[str]:
        return listing.plain_names(self.session.fitted.shown)

    def state(self, values: Mapping[str, str]) -> dict[str, Any]:
        """The run, the parts of the page that are possible, and the number of changes."""
        session = self.session
        session.refresh()
        groups, fitted = session.groups(), session.fitted
        joined = {cluster for join in fitted.levels.joins for cluster in join[:2]} & set(groups.ids)
        return {
            **self._after(),
            "run": printable(str(session.path)),
            "samples": self.n_samples,
            "clusters": fitted.record.n_clusters,
            "finest": len(groups.ids),
            "coarsest": len(groups.ids) - max(0, len(joined) - 1),
            "images": self.source.images is not None,
            "problem": printable(self.source.problem),
            "key": self._keys.images,
            "text": self.text_problem,
            "most": MOST_IMAGES,
        }

    def _after(self) -> dict[str, Any]:
        """The parts of the state that a change changes."""
        session = self.session
        undo = [str(fix) for fix in session.fixes[len(session.fixes) - session.last :]]
        return {
            "version": session.version,
            "fixes": len(session.fixes),
            "undo": "" if not undo else undo[-1] if len(undo) == 1 else f"{undo[0]} and {len(undo) - 1} more",
            "refit": self.fitting.stage,
        }

    @cached_property
    def text_problem(self) -> str:
        """The reason why images cannot be found by text, in one line; empty if they can."""
        from headclust.backbones import find_entry

        (recorded, *_) = self.session.fitted.record.config["features"]
        try:
            entry = find_entry(recorded.get("backbone", ""))
            if entry.loader == "open_clip" and recorded.get("feature_point") == PROJECTED:
                return ""
        except HeadclustError:
            pass  # a backbone of another program
        return "the features are not those of a model that compares images with texts (open_clip)."

    def groups(self, values: Mapping[str, str]) -> dict[str, Any]:
        """All groups at a level."""
        self.session.refresh()
        level = _level(values)
        with self.session.lock:
            return {"groups": listing.describe_groups(self.session, level), **self._after()}

    def images(self, values: Mapping[str, str]) -> dict[str, Any]:
        """A part of a list: of a `group` in an `order`, with a `name`, `near` an image, like a `text`, or `moved`."""
        level, start, count = _level(values), _number(values, "start", 0), _number(values, "count", _MOST_AT_ONCE)
        rows = self._rows(level, values)
        part = rows[start : start + min(count, _MOST_AT_ONCE)].tolist()
        described = listing.describe_images(self.session, level, part)
        return {"total": len(rows), "images": described, "version": self.session.version}

    def _rows(self, level: int | None, values: Mapping[str, str]) -> NDArray[np.int64]:
        session = self.session
        kinds = [name for name in ("group", "name", "near", "text", "moved") if name in values]
        if len(kinds) != 1:
            raise DataError("a list of images is that of a group, a name, an image, a text or a move: found "
                            f"{len(kinds)} of them.")  # fmt: skip
        (kind,) = kinds
        version = session.version if kind in ("group", "moved") else 0
        key = (kind, values[kind], values.get("order"), level, version, self.fitting.stage if kind == "moved" else "")
        with self._lock:
            if key in self._lists:
                self._lists.move_to_end(key)
                return self._lists[key]
        if kind == "group":
            order = values.get("order", "sure")
            if order not in listing.ORDERS:
                raise DataError(f"order {printable(order)[:20]!r}: expected one of {', '.join(listing.ORDERS)}.")
            rows = listing.rows_of_group(session, level, _number(values, "group"), cast(listing.Order, order))
        elif kind == "name":
            rows = listing.rows_with_name(self._plain_names, values["name"])
            rows = rows[np.argsort(session.fitted.places[rows])]
        elif kind == "near":
            rows, _ = self.space.similar_to(self._row(values, "near"), _N_SIMILAR)
        elif kind == "text":
            if self.text_problem:
                raise DataError(f"images cannot be found by text: {self.text_problem}")
            rows, _ = self.space.similar_to_text(values["text"][:500], _N_SIMILAR)
        else:
            before, _, after = values["moved"].partition("-")
            moves = self.fitting.moves
            pair = _whole(before, "moved"), _whole(after, "moved")
            rows = np.array([], np.int64) if moves is None else moves.of(*pair)
        with self._lock:
            self._lists[key] = rows
            while len(self._lists) > _LISTS:
                self._lists.popitem(last=False)
        return rows

    def image(self, values: Mapping[str, str]) -> dict[str, Any]:
        """One image: its name, its group, the groups that it may belong to, and why it cannot be read, if so."""
        row = self._row(values, "row")
        (described,) = listing.describe_images(self.session, _level(values), [row])
        candidates = self.asking.candidates(row)
        return {"image": described, "groups": candidates, "reason": printable(self.thumbnails.reason(row))}

    def questions(self, values: Mapping[str, str]) -> dict[str, Any]:
        """The next questions about images and pairs, and how far the search for them is."""
        self.asking.start()
        images, pairs = self.asking.images(_MOST_QUESTIONS), self.asking.pairs(_MOST_QUESTIONS)
        rows = [question["row"] for question in images] + [row for question in pairs for row in question["rows"]]
        described = listing.describe_images(self.session, None, rows)
        return {
            "progress": round(self.asking.progress, 3),
            "problem": printable(self.asking.problem),
            "questions": interleaved(images, pairs),
            "images": described,
            "version": self.session.version,
        }

    def changes(self, values: Mapping[str, str]) -> dict[str, Any]:
        """A part of the fixes, the newest first."""
        self.session.refresh()
        with self.session.lock:
            fixes = self.session.fixes
            start = _number(values, "start", 0)
            part = list(reversed(fixes))[start : start + _MOST_CHANGES]
            numbered = [[len(fixes) - start - place, _described(fix)] for place, fix in enumerate(part)]
            return {"total": len(fixes), "changes": numbered, "file": printable(str(self.session.file))}

    def fix(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Write the fixes of an action; they are on disk when the page gets the answer."""
        with self.session.lock:
            self.session.refresh()
            fixes = fixes_of(self.session, values)
            self.session.add(fixes)
            return {**self._after(), "group": fixes[0].group, "count": len(fixes)}

    def undo(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Take the last action back."""
        with self.session.lock:
            removed = self.session.undo()
            text = str(removed[0]) if len(removed) == 1 else f"{removed[0]} and {len(removed) - 1} more"
            return {**self._after(), "undone": text}

    def refit(self, values: Mapping[str, str]) -> dict[str, Any]:
        """The state of the fit with the fixes: its output, its progress, and what it has moved."""
        fitting, moves = self.fitting, self.fitting.moves
        end = time.monotonic() if fitting.stage == "running" else fitting.ended
        before = self.session.fitted.record.metrics.get("seconds")
        return {
            "stage": fitting.stage,
            "method": "" if fitting.keeps_method else self.session.fitted.record.config["method"],
            "lines": fitting.lines[-20:],
            "step": fitting.step,
            "seconds": round(end - fitting.started, 1) if fitting.stage != "none" else 0,
            "before": before if isinstance(before, int | float) else None,
            "fixes": len(self.session.fixes),
            "fitted": fitting.n_fixes,
            "moved": None if moves is None else len(moves.rows),
            "images": None if moves is None else moves.n_images,
            "moves": [] if moves is None else moves.counts(),
            "labels": {} if moves is None else moves.labels,
        }

    def change_refit(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Start a fit with the fixes, stop it, or keep or drop its result."""
        step = values.get("step")
        if step == "start":
            self.fitting.start()
        elif step == "stop":
            self.fitting.stop()
        elif step == "drop":
            self.fitting.drop()
        elif step == "keep":
            old = self.fitting.keep()
            note(f"the new groups are in {self.session.path}, those before in {old}.")
            self._open_space()
            return {**self._after(), "old": printable(str(old))}
        else:
            raise DataError("step: expected start, stop, keep or drop.")
        return self._after()

    def _row(self, values: Mapping[str, str], name: str) -> int:
        row = _number(values, name)
        if row >= self.n_samples:
            raise DataError(f"image {row}: the run has {self.n_samples} images.")
        return row


def _source(session: Session) -> Source:
    """The images of a run, listed as they are now; its feature file, if it is at hand, records them best."""
    from headclust.features import load_features, stored_states

    record, ids = session.fitted.record, session.fitted.assigned.sample_ids
    recorded = locate_features(record.path, record.config["features"])[0]
    try:
        path = Path(recorded["path"])
        space = load_features(path)
        provenance = space.attributes if recorded["sha256"] in stored_states(path) else recorded
    except HeadclustError:
        space, provenance = None, recorded
    return open_images(provenance, ids, space)


def _described(fix: Fix) -> str:
    return printable(f"{fix} to {fix.name}" if fix.name else str(fix))


def _level(values: Mapping[str, str]) -> int | None:
    return _number(values, "level") if values.get("level") else None


def _number(values: Mapping[str, str], name: str, default: int | None = None) -> int:
    if name not in values and default is not None:
        return default
    return _whole(values.get(name, ""), name)


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise DataError(f"{name} {printable(text)[:20]!r}: expected a whole number.")
    return int(text)
