"""Goes through a plan and makes the cells that are not there yet. Safe to kill, and to run several times at once.

A cell that a killed process was making is taken over by the next one on the same machine. Of a process on another
machine nobody here can say whether it lives: its cells are waited for, and given up in the end.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from headclust.device import resolve_device
from headclust.disk import write_atomically, write_errors
from headclust.errors import BusyError, ConflictError, HeadclustError, one_line
from headclust.features import load_features
from headclust.features.lock import writer_lock
from headclust.progress import note
from headclust.runs.inputs import check_alike, fingerprint, load_spaces
from study.cells import Pair, code_of, failed, identity, key_of, make_fit, make_probes, recipe_of
from study.places import Places, make_features
from study.plan import Cell, Wanted
from study.results import ASSIGNMENTS, append, has_assignments, hides, read_lines

_POLL = 2.0  # seconds between looks whether other processes are done
_PATIENCE = 24 * 3600.0  # seconds without any new result after which they are taken for dead
Outcome = Literal["kept", "made", "failed", "busy"]


@dataclass(frozen=True)
class Tally:
    """What became of a plan's cells.

    Attributes:
        kept: Were in the results file already.
        made: Are there now, made by this process.
        failed: Could not be made, now or before; their lines say why.
        left: Were claimed by other processes that did not finish them.
    """

    kept: int = 0
    made: int = 0
    failed: int = 0
    left: int = 0


def make(
    cells: Sequence[Cell],
    places: Places,
    *,
    device: str | None = None,
    retry: bool = False,
    poll: float = _POLL,
    patience: float = _PATIENCE,
) -> Tally:
    """Makes what is missing of a plan, and returns when every cell is there or has failed.

    A cell is made again only when something that determines it has changed, or its assignments are gone. What another
    process is making is left to it, and waited for at the end; a dead process's cell is taken over, if that process ran
    on this machine.

    Args:
        cells: The plan, or a shard of one.
        places: Where everything is.
        device: Where to compute; see `headclust.device.resolve_device`.
        retry: Try fits again that have failed before, though nothing has changed.
        poll: Seconds between looks at what other processes are doing.
        patience: Seconds after which their cells are left, when there was nothing new in the results file.

    Raises:
        HeadclustError: The results cannot be read or written, say on a full disk. What fails in a cell is recorded, and
            the next one made.
    """
    for cell in cells:
        with suppress(HeadclustError):  # said when its turn comes
            code_of(cell)  # now, as it is what this process has loaded: the files may be edited while it runs
    maker = _Maker(places, device, retry)
    tally = {"kept": 0, "made": 0, "failed": 0}
    waiting, told = list(cells), False
    seen, since = 0, time.monotonic()
    while waiting:
        busy = []
        for cell in waiting:
            outcome = maker.make(cell)
            if outcome == "busy":
                busy.append(cell)
            else:
                tally[outcome] += 1
                if outcome != "kept":
                    note(f"[{sum(tally.values())}/{len(cells)}] {_shown(maker.told)}")
        if busy and len(busy) == len(waiting):
            maker.look()
            if maker.n_lines != seen:
                seen, since = maker.n_lines, time.monotonic()
            if time.monotonic() - since >= patience:
                hours = f"{patience / 3600:g} hours"
                note(f"{len(busy)} cells of other processes are left after {hours} without a result: {maker.reason}")
                return Tally(**tally, left=len(busy))
            if not told:
                note(f"waiting for {len(busy)} cells that other processes are making: {maker.reason}")
                told = True
            time.sleep(poll)
        waiting = busy
    return Tally(**tally)


class _Maker:
    """Makes cells one by one, and keeps what the next one may need too.

    Args:
        places: Where everything is.
        device: Where to compute.
        retry: Whether fits that have failed are tried again.
    """

    def __init__(self, places: Places, device: str | None, retry: bool) -> None:
        self.places = places
        self.device = resolve_device(device)
        self.retry = retry
        self.reason = ""  # why the last cell was busy
        self.told: Mapping[str, Any] = {}  # what there is to say of the last cell
        self.n_lines = 0  # in the results file when it was last read
        self.newest: dict[str, Mapping[str, Any]] = {}
        self.by_key: dict[str, Mapping[str, Any]] = {}
        self._tried: set[str] = set()
        self._wanted: tuple[Wanted, Wanted] | None = None
        self._pair: Pair | HeadclustError | None = None
        self._checked: Pair | None = None
        self.look()

    def make(self, cell: Cell) -> Outcome:
        """What became of a cell.

        Raises:
            HeadclustError: The results, a claim or the assignments cannot be written: no fault of the cell's.
        """
        key = None
        try:
            pair = self._features(cell)
            recipe = recipe_of(cell, pair.fit) if cell.kind == "fit" else ()
            key = key_of(cell, pair, recipe)
        except BusyError as error:
            return self._busy(error)
        except HeadclustError as error:
            return self._fail(cell, key, str(error))
        known = self._known(cell, key)
        if known:
            return known
        try:
            with writer_lock(self.places.claim(key)):
                self.look()  # another process may have been faster
                return self._known(cell, key) or self._make(cell, pair, key, recipe)
        except BusyError as error:
            return self._busy(error)

    def _busy(self, error: BusyError) -> Outcome:
        self.reason = str(error)
        return "busy"

    def _make(self, cell: Cell, pair: Pair, key: str, recipe: tuple[Any, ...]) -> Outcome:
        content = None
        try:
            pair = self._ready(pair)
            if cell.kind == "probes":
                line = make_probes(cell, pair, key)
            else:
                line, content = make_fit(cell, pair, key, recipe)
        except BusyError:
            raise
        except HeadclustError as error:
            return self._fail(cell, key, str(error))
        except Exception as error:
            note(traceback.format_exc())  # a mistake of ours: the night's other cells are made all the same
            return self._fail(cell, key, f"{type(error).__name__}: {one_line(error)}")
        if content is not None:
            folder = self.places.root / ASSIGNMENTS
            with write_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / f"{key}.npz", content)
        self._append(line)
        return "made"

    def _known(self, cell: Cell, key: str) -> Outcome | None:
        """What the results say of a cell; None if it has to be made."""
        line, same = self.newest.get(cell.id), self.by_key.get(key)
        if same and has_assignments(same, self.places.root):
            if not (line and line.get("key") == key and line["status"] == "done"):
                # The same fit by another name, or as it was before something changed back.
                self._append({**same, **identity(cell)})
            return "kept"
        if line and line.get("key") == key and line["status"] == "failed" and not self._again(cell):
            self.told = line
            return "failed"
        return None

    def _again(self, cell: Cell) -> bool:
        return self.retry and cell.id not in self._tried

    def _features(self, cell: Cell) -> Pair:
        """The features of a cell's place; those of the last place are kept.

        Raises:
            HeadclustError: They cannot be made or used.
        """
        wanted = (cell.fit, cell.evaluation)
        if self._wanted != wanted:
            self._wanted, self._pair, self._checked = None, None, None  # never two places are held at once
            try:
                self._pair = self._opened(cell)
            except BusyError:
                raise
            except HeadclustError as error:
                self._pair = error
            self._wanted = wanted
        if isinstance(self._pair, HeadclustError):
            raise self._pair
        assert self._pair is not None
        return self._pair

    def _opened(self, cell: Cell) -> Pair:
        """The features, of which no row has been read: that is left to those who hold a claim."""
        paths = [make_features(wanted, self.places, device=str(self.device)) for wanted in (cell.fit, cell.evaluation)]
        fit, evaluation = map(load_features, paths)
        return Pair(fit, evaluation, self.device)

    def _ready(self, pair: Pair) -> Pair:
        """The same, after a look at every row.

        Raises:
            HeadclustError: They cannot be fitted, or are not of one kind.
        """
        if self._checked is None:
            checked = [load_spaces([one.path])[0] for one in (pair.fit, pair.evaluation) if one.path]
            if [one.sha256 for one in checked] != [pair.fit.sha256, pair.evaluation.sha256]:
                raise ConflictError(f"{pair.fit.path}: the features were changed meanwhile: run it again.")
            check_alike([fingerprint(checked[0])], checked[1:])
            self._checked = Pair(checked[0], checked[1], self.device)
        return self._checked

    def _fail(self, cell: Cell, key: str | None, error: str) -> Outcome:
        line, before = failed(cell, key, error), self.newest.get(cell.id)
        self._tried.add(cell.id)
        is_new = before is None or any(before.get(name) != line[name] for name in ("key", "status", "error"))
        if is_new and not hides(line, before):
            self._append(line)
        self.told = line
        return "failed"

    def _append(self, line: Mapping[str, Any]) -> None:
        append(self.places.results, line)
        self._take(line)

    def look(self) -> None:
        """Reads what other processes have added to the results."""
        lines = read_lines(self.places.results)
        self.n_lines = len(lines)
        for line in lines:
            self._take(line)

    def _take(self, line: Mapping[str, Any]) -> None:
        if not hides(line, self.newest.get(line["id"])):
            self.newest[line["id"]] = self.told = line
        if line["status"] == "done":
            self.by_key[line["key"]] = line


def _shown(line: Mapping[str, Any]) -> str:
    """A cell in a line, for the person at the terminal."""
    if line["status"] == "failed":
        return f"{line['id']}: failed: {line['error']}"
    if line["kind"] == "probes":
        return f"{line['id']}: " + ", ".join(f"{name} {100 * score:.1f}" for name, score in line["scores"].items())
    steps = line["steps"]
    reached = f", {steps['reached']} of {steps['planned']} steps" if steps and steps["capped"] else ""
    accuracy = f"ACC {100 * line['scores']['accuracy']:.1f}" if "accuracy" in line["scores"] else "no labels"
    return f"{line['id']}: {accuracy} in {line['seconds']['fit']:.0f} s{reached}"
