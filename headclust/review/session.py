"""The run under review: its groups now, and the file of fixes that every change is written to at once."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headclust import runs
from headclust.errors import DataError
from headclust.progress import printable
from headclust.runs.added import with_added
from headclust.runs.assignments import Assignments
from headclust.runs.fixes import FIXES, Fix, Resolved, append_fixes, read_fixes, resolve_fixes, undo_fixes
from headclust.runs.groups import Groups, groups_of
from headclust.runs.levels import Levels, read_levels
from headclust.runs.names import Names, read_names
from headclust.runs.record import Record

_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, eq=False)
class Fitted:
    """The files of a run that do not change while it is reviewed, and what follows from them alone.

    Attributes:
        record: Its config and metrics.
        assigned: Its samples.
        levels: How its clusters join.
        names: The names that headclust name has proposed; None without any.
    """

    record: Record
    assigned: Assignments
    levels: Levels
    names: Names | None

    @cached_property
    def shown(self) -> list[str]:
        """The names of the samples, printable."""
        return [printable(name) for name in self.assigned.sample_ids]

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """The place of each sample in the order of names, int64 (n_samples,): numbers in names count as numbers."""
        order = sorted(range(len(self.shown)), key=lambda row: _natural(self.shown[row]))
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        return places


class Session:
    """A run and its fixes. Every method may be called by several threads.

    Args:
        path: The run folder.

    Raises:
        HeadclustError: The run, its fixes or its names cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.version = 0  # grows with every change
        self.load()

    def load(self) -> None:
        """Read the run and its fixes anew."""
        with self.lock:
            record = runs.read_record(self.path)
            names = read_names(record.path)
            assigned = with_added(record, runs.read_assigned(record))
            self.fitted = Fitted(record, assigned, read_levels(record), names)
            self._actions: list[int] = []  # fixes per action of this session, for undo
            self._read()

    @property
    def file(self) -> Path:
        """The file of fixes."""
        return self.path / FIXES

    def _read(self) -> None:
        """Read the fixes; fixes that cannot be used change nothing here."""
        stamp = self._stamp()
        fixes = read_fixes(self.file) if stamp else ()
        resolved = self._resolve(fixes)
        self.fixes, self.resolved, self._stamp_read = fixes, resolved, stamp
        self._changed()

    def _resolve(self, fixes: Sequence[Fix]) -> Resolved:
        return resolve_fixes(self.fitted.assigned, fixes, self.fitted.record.n_clusters)

    def _changed(self) -> None:
        self.version += 1
        self._groups: dict[int | None, Groups] = {}

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            state = self.file.stat()
        except FileNotFoundError:
            return None
        return state.st_mtime_ns, state.st_size, state.st_ino

    def refresh(self) -> None:
        """Read the fixes again if another program has changed the file.

        Raises:
            HeadclustError: They cannot be used; the last ones that could stay.
        """
        with self.lock:
            if self._stamp() != self._stamp_read:
                self._actions = []
                self._read()

    def groups(self, level: int | None = None) -> Groups:
        """The groups now, joined to `level` groups; the finest ones when None.

        Raises:
            SettingError: No level has this number of groups.
        """
        with self.lock:
            if level not in self._groups:
                fitted = self.fitted
                self._groups[level] = groups_of(
                    fitted.record, fitted.assigned, self.resolved, fitted.levels, fitted.names, level=level
                )
            return self._groups[level]

    @property
    def next_group(self) -> int:
        """The id of the next new group."""
        targets = [fix.group + 1 for fix in self.fixes if fix.fix == "move" and fix.group is not None]
        return max([self.fitted.record.n_clusters, *targets])

    @property
    def right(self) -> set[int]:
        """Groups that the person has confirmed, and those whose images are all fixed, as a new fit keeps them."""
        resolved = self.resolved
        confirmed = {fix.group for fix in self.fixes if fix.fix == "right" and fix.group is not None}
        fixed = set(self.groups().ids) - set(np.unique(resolved.clusters[resolved.pinned < 0]).tolist())
        return {resolved.ended.get(group, group) for group in confirmed} | fixed

    def add(self, fixes: Sequence[Fix]) -> None:
        """Write fixes to the file, as one action; they are on disk when this returns.

        Raises:
            DataError: They contradict others, or name images or groups that the run does not have; none is written.
            HeadclustError: The file cannot be written.
        """
        with self.lock:
            self.refresh()
            together = (*self.fixes, *fixes)
            resolved = self._resolve(together)
            append_fixes(self.file, fixes)
            self.fixes, self.resolved, self._stamp_read = together, resolved, self._stamp()
            self._actions.append(len(fixes))
            self._changed()

    def undo(self) -> tuple[Fix, ...]:
        """Take back the last action: one of this session, or else the last fix in the file; return its fixes.

        Raises:
            DataError: There is none.
            HeadclustError: The file cannot be written.
        """
        with self.lock:
            self.refresh()
            if not self.fixes:
                raise DataError("there is no change to undo.")
            removed = undo_fixes(self.file, self.last)
            if self._actions:
                self._actions.pop()
            self._read()
            return removed

    @property
    def last(self) -> int:
        """Number of fixes of the last action."""
        return self._actions[-1] if self._actions else min(1, len(self.fixes))


def _natural(text: str) -> list[tuple[int, str]]:
    """A key by which names sort as a person sorts them: IMG_9 before IMG_10, small and capital letters together."""
    parts = _DIGITS.split(text.casefold())
    return [(int(part) if part.isdecimal() and len(part) < 20 else -1, part) for part in parts]
