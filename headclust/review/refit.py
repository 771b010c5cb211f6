"""Another fit with the fixes, in a process of its own, and what it has moved. The person then takes or drops it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headclust import runs
from headclust.disk import sync_folder, write_errors
from headclust.errors import ConflictError, DataError, HeadclustError
from headclust.filenames import numbered
from headclust.progress import PROGRESS_LINES, parse_progress, printable, quiet
from headclust.review.session import Session
from headclust.runs.fixes import FIXES, Fix, append_fixes, read_fixes, resolve_fixes
from headclust.runs.groups import read_groups

Stage = Literal["none", "running", "failed", "done"]
_FAILED: Stage = "failed"
_MOST_LINES = 200  # of the child's output that are held
_MOST_MOVES = 400  # pairs of groups that are listed


@dataclass(frozen=True, eq=False)
class Moves:
    """The images that a new fit has put into another group than they were in.

    Attributes:
        rows: Their rows in the run under review, int64 (n_moved,), the surest in the new fit first.
        before, after: Their groups, int64 (n_moved,).
        n_images: Number of images that were compared.
        labels: Labels of the new groups, by id.
    """

    rows: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    n_images: int
    labels: dict[int, str]

    def of(self, before: int, after: int) -> NDArray[np.int64]:
        """The rows that moved from one group to another."""
        rows: NDArray[np.int64] = self.rows[(self.before == before) & (self.after == after)]
        return rows

    def counts(self) -> list[tuple[int, int, int]]:
        """(group before, group after, number of images), the most first."""
        pairs = Counter(zip(self.before.tolist(), self.after.tolist(), strict=True))
        return [(*pair, count) for pair, count in pairs.most_common(_MOST_MOVES)]


class Refit:
    """The fit of the run under review with its fixes; one at a time.

    Args:
        session: The run.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self.stage: Stage = "none"
        self.lines: list[str] = []
        self.step: tuple[str, int, int] | None = None  # name, done, total
        self.started = self.ended = 0.0
        self.moves: Moves | None = None
        self._fixes: tuple[Fix, ...] = ()  # that the fit has
        self._place = session.path

    @property
    def n_fixes(self) -> int:
        """Number of fixes that the fit has."""
        return len(self._fixes)

    @property
    def keeps_method(self) -> bool:
        """True if the method of the run can keep fixes; otherwise the default method is fitted."""
        from headclust.methods import Recipe

        config = self._session.fitted.record.config
        return Recipe.of(config["method"], config["preset"]).keeps_constraints

    def start(self) -> None:
        """Start the fit.

        Raises:
            ConflictError: One is running.
            HeadclustError: The fixes cannot be used, or no process can be started.
        """
        session = self._session
        with self._lock, session.lock:
            if self.stage == "running":
                raise ConflictError("a fit is running: wait for it, or stop it.")
            session.refresh()
            self._discard()
            path = session.path
            self._place = next(place for place in numbered(path.with_name(f"{path.name}-refit")) if not place.exists())
            config = ["--config", str(path)] if self.keeps_method else []
            arguments = ["fit", *config, "--fixes", str(session.file), "-o", str(self._place)]
            try:
                self._process = subprocess.Popen(  # noqa: S603  # our own program, no shell
                    [sys.executable, "-m", "headclust", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    env={**os.environ, PROGRESS_LINES: "1"},
                )
            except OSError as error:
                raise HeadclustError(
                    f"the fit cannot be started: {error.strerror}: end some other programs."
                ) from error
            self.stage, self.lines, self.step, self.moves, self._stopped = "running", [], None, None, False
            self.started, self._fixes = time.monotonic(), session.fixes
            threading.Thread(target=self._follow, name="refit", daemon=True).start()

    def stop(self) -> None:
        """Stop the fit; nothing is left of it."""
        with self._lock:
            self._stopped = True
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()

    def close(self) -> None:
        """Stop the fit and wait for its end."""
        self.stop()
        process = self._process
        if process is not None:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def keep(self) -> Path:
        """Put the new run in the place of the one under review; return where that one lies now.

        Fixes that were made since the fit was started go along.

        Raises:
            ConflictError: There is no new run, or fixes that it has were undone.
            HeadclustError: The later fixes do not fit the new groups, or the folders cannot be renamed.
        """
        session = self._session
        with self._lock, session.lock:
            session.refresh()
            if self.stage != "done":
                raise ConflictError("there are no new groups to take: fit again first.")
            if session.fixes[: len(self._fixes)] != self._fixes:
                raise ConflictError("changes that the new groups have were undone since: fit again first.")
            self._add_later(session.fixes[len(self._fixes) :])
            path = session.path
            old = next(place for place in numbered(path.with_name(f"{path.name}-before")) if not place.exists())
            with write_errors(path):
                path.rename(old)
                try:
                    self._place.rename(path)
                except BaseException:
                    old.rename(path)
                    raise
                sync_folder(path.parent)
            self.stage, self.moves = "none", None
            session.load()
            return old

    def _add_later(self, later: tuple[Fix, ...]) -> None:
        """Append fixes that were made since the start to those of the new run, which has the first of them already."""
        record, file = runs.read_record(self._place), self._place / FIXES
        own = read_fixes(file) if file.exists() else ()
        shared = max(count for count in range(len(later) + 1) if own[len(own) - count :] == later[:count])
        resolve_fixes(runs.read_assigned(record), (*own, *later[shared:]), record.n_clusters)
        append_fixes(file, later[shared:])

    def drop(self) -> None:
        """Delete the new run."""
        with self._lock:
            if self.stage == "running":
                raise ConflictError("a fit is running: stop it first.")
            self._discard()

    def _discard(self) -> None:
        """Delete a new run that was not taken."""
        if self.stage == "done":
            shutil.rmtree(self._place, ignore_errors=True)
        self.stage, self.moves, self.lines = "none", None, []

    def _follow(self) -> None:
        """Read the output of the process until its end, then compare its groups."""
        process = self._process
        assert process is not None
        assert process.stderr is not None
        with process.stderr as output:
            for line in output:
                step = parse_progress(line)
                if step is not None:
                    self.step = step
                elif line.strip():
                    self.lines = [*self.lines[1 - _MOST_LINES :], printable(line.strip())]
        code = process.wait()
        self.ended = time.monotonic()
        moves, stage = None, _FAILED
        try:
            if code == 0:
                moves = self._compare()
        except HeadclustError as error:
            self.lines.append(str(error))
        with self._lock:
            if self._stopped and moves is None:
                stage, self.lines = "none", []
            self.moves = moves
            self.stage = stage if moves is None else "done"

    def _compare(self) -> Moves:
        """The images that the new fit has moved, compared with the groups under review now."""
        with quiet():
            new = read_groups(runs.read_record(self._place))
        with self._session.lock:
            before, ids = self._session.groups(), self._session.fitted.assigned.sample_ids
        place_of = {name: place for place, name in enumerate(new.sample_ids)}
        places = np.array([place_of.get(name, -1) for name in ids], np.int64)
        if (places < 0).any():
            raise DataError("the new fit has other images than the run.")
        after, confidence = new.clusters[places], new.confidence[places]
        rows = np.flatnonzero(after != before.clusters)
        rows = rows[np.argsort(-confidence[rows], kind="stable")]
        labels = {group: printable(new.label(group)) for group in new.ids}
        return Moves(rows, before.clusters[rows], after[rows], len(ids), labels)
