"""The runner: makes the missing cells of a plan; several processes may run at once, and can be killed at any time."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from headclust.device import resolve_device
from headclust.errors import BusyError, ConflictError, HeadclustError, one_line
from headclust.features import load_features
from headclust.features.lock import Lease
from headclust.methods import Recipe
from headclust.progress import note
from headclust.runs.inputs import check_alike, fingerprint, load_spaces
from study.cells import Pair, code_of, failed, identity, key_of, make_fit, make_probes, recipe_of
from study.places import Places, make_features
from study.plan import Cell, FeatureSpec
from study.results import ASSIGNMENTS, Index, append, read_lines, write_file

Outcome = Literal["kept", "made", "failed"]


@dataclass(frozen=True)
class Tally:
    """Number of cells of a plan by outcome."""

    kept: int = 0  # were in the results file already
    made: int = 0  # were made by this process
    failed: int = 0  # could not be made, now or before; their lines have the reason
    left: int = 0  # are claimed by other processes that did not finish them


def make(
    cells: Sequence[Cell],
    places: Places,
    *,
    device: str | None = None,  # see `headclust.device.resolve_device`
    retry: bool = False,  # repeat cells that failed before, even if nothing has changed
    poll: float = 2.0,  # seconds between checks for results of other processes
    patience: float = 24 * 3600.0,  # seconds without a new result after which the cells of other processes are left
) -> Tally:
    """Make what is missing of a plan; return when every cell is done or has failed.

    A cell is made again only if something that determines it has changed, or its assignments are gone. Cells that
    another process has claimed are skipped, and waited for at the end; those of a process that died are made here.

    Raises:
        HeadclustError: The results cannot be read or written, for example on a full disk. An error in a cell is
            recorded, and the next cell is made.
    """
    for cell in cells:
        with suppress(HeadclustError):  # raised again when the cell is made
            code_of(cell)  # now, while the files are those that this process has loaded; they may be edited later
    maker = _Maker(places, device, retry)
    counts: Counter[str] = Counter()
    waiting, n_lines, since, reason, is_told = list(cells), -1, 0.0, "", False
    while waiting:
        busy = []
        for cell in waiting:
            try:
                outcome = maker.make(cell)
            except BusyError as error:
                busy.append(cell)
                reason = str(error)
                continue
            counts[outcome] += 1
            if outcome != "kept":
                note(f"[{counts.total()}/{len(cells)}] {_shown(maker.line)}")
        if len(busy) == len(waiting):
            if (n_read := maker.read()) != n_lines:
                n_lines, since = n_read, time.monotonic()
            if time.monotonic() - since >= patience:
                hours = f"{patience / 3600:g} hours"
                note(f"{len(busy)} cells of other processes are left after {hours} without a result: {reason}")
                break
            if not is_told:
                note(f"waiting for {len(busy)} cells that other processes are making: {reason}")
            is_told = True
            time.sleep(poll)
        waiting = busy
    return Tally(**counts, left=len(waiting))


class _Maker:
    """A maker of cells, one by one; features and results that the next cell may need stay in memory."""

    def __init__(self, places: Places, device: str | None, retry: bool) -> None:
        self.places, self.device, self.retry = places, resolve_device(device), retry
        self.line: Mapping[str, Any] = {}  # of the last cell that was made or has failed
        self._specs: tuple[FeatureSpec, FeatureSpec] | None = None  # whose features, or error, are in `_pair`
        self._pair: Pair | HeadclustError | None = None
        self._is_checked = False
        self.read()

    def read(self) -> int:
        """Read the results file, to which other processes add; return its number of lines."""
        lines = read_lines(self.places.results)
        self._index = Index(lines)
        return len(lines)

    def make(self, cell: Cell) -> Outcome:
        """Make a cell, unless it is done.

        Raises:
            BusyError: Another process is making it, or its features.
            HeadclustError: The results, a claim or the assignments cannot be written.
        """
        key = None
        try:
            pair = self._features(cell)
            recipe = recipe_of(cell, pair.fit) if cell.kind == "fit" else None
            key = key_of(cell, pair, recipe)
        except HeadclustError as error:
            return self._fail(cell, key, error)
        if outcome := self._recorded(cell, key):
            return outcome
        with self.places.claim(key) as lease:
            self.read()  # another process may have been faster
            return self._recorded(cell, key) or self._make(cell, key, recipe, lease)

    def _recorded(self, cell: Cell, key: str) -> Outcome | None:
        """The outcome of a cell by the results file; None if it has to be made."""
        line = self._index.by_id.get(cell.id, {})
        state = self._index.state(cell.id, key, self.places.root)
        if state == "done":
            if line.get("key") != key or line["status"] != "done":
                # The same fit under another name, or of an earlier state that has been restored.
                self._append({**self._index.by_key[key], **identity(cell)})
            return "kept"
        if state == "failed" and not self.retry:
            self.line = line
            return "failed"
        return None

    def _make(self, cell: Cell, key: str, recipe: Recipe | None, lease: Lease) -> Outcome:
        content = None
        try:
            pair = self._checked_features(cell)
            if recipe is None:
                line = make_probes(cell, pair, key)
            else:
                line, content = make_fit(cell, pair, key, recipe)
        except Exception as error:
            _check(lease)
            return self._fail(cell, key, error)
        _check(lease)
        if content is not None:
            write_file(self.places.root / ASSIGNMENTS / f"{key}.npz", content)
        self._append(line)
        return "made"

    def _features(self, cell: Cell) -> Pair:
        """The features of a cell; no row is read before a claim, and those of the last place stay in memory."""
        specs = (cell.fit, cell.evaluation)
        if self._specs != specs:
            self._specs, self._pair, self._is_checked = (
                None,
                None,
                False,
            )  # so that only one place is in memory at a time
            try:
                paths = [make_features(spec, self.places, device=str(self.device)) for spec in specs]
                fit, evaluation = map(load_features, paths)
                self._pair = Pair(fit, evaluation, self.device)
            except HeadclustError as error:
                if isinstance(error, BusyError):
                    raise
                self._pair = error
            self._specs = specs
        if isinstance(self._pair, HeadclustError):
            raise self._pair
        assert self._pair is not None
        return self._pair

    def _checked_features(self, cell: Cell) -> Pair:
        """The same after a check of every row; raise if they cannot be fitted or do not belong together."""
        pair = self._features(cell)
        if not self._is_checked:
            fit, evaluation = (load_spaces([part.path])[0] for part in (pair.fit, pair.evaluation) if part.path)
            if (fit.sha256, evaluation.sha256) != (pair.fit.sha256, pair.evaluation.sha256):
                raise ConflictError(f"{fit.path}: the features were changed meanwhile: run it again.")
            check_alike([fingerprint(fit)], [evaluation])
            self._pair, self._is_checked = Pair(fit, evaluation, self.device), True
        return self._features(cell)

    def _fail(self, cell: Cell, key: str | None, error: Exception) -> Outcome:
        if isinstance(error, BusyError):
            raise error
        reason = str(error)
        if not isinstance(error, HeadclustError):
            note("".join(traceback.format_exception(error)))  # a bug; the other cells are made nevertheless
            reason = f"{type(error).__name__}: {one_line(error)}"
        self.line, before = failed(cell, key, reason), self._index.by_id.get(cell.id, {})
        is_new = any(before.get(name, "") != self.line[name] for name in ("key", "status", "error"))
        if is_new and not self._index.hides(self.line):
            self._append(self.line)
        return "failed"

    def _append(self, line: Mapping[str, Any]) -> None:
        append(self.places.results, line)
        self._index.add(line)
        self.line = line


def _check(lease: Lease) -> None:
    """Raise BusyError if another process has taken the claim, for example while this one was suspended."""
    try:
        lease.check()
    except ConflictError as error:
        raise BusyError(str(error)) from None


def _shown(line: Mapping[str, Any]) -> str:
    """A cell in one line for the terminal."""
    if line["status"] == "failed":
        return f"{line['id']}: failed: {line['error']}"
    if line["kind"] == "probes":
        shares = {name: score for name, score in line["scores"].items() if not name.endswith("_samples")}
        return f"{line['id']}: " + ", ".join(f"{name} {100 * score:.1f}" for name, score in shares.items())
    steps = line["steps"]
    reached = f", {steps['reached']} of {steps['planned']} steps" if steps and steps["capped"] else ""
    accuracy = f"ACC {100 * line['scores']['accuracy']:.1f}" if "accuracy" in line["scores"] else "no labels"
    return f"{line['id']}: {accuracy} in {line['seconds']['fit']:.0f} s{reached}"
