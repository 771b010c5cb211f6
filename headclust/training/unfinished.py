"""States of trainings that have not ended, kept in a folder: a fit that was killed goes on after its last state.

`NAME.partial/` beside the result holds one file per fit, stage and process, in the safetensors format: the tensors of
the training, and as text what else a `State` holds. One process replaces it every two minutes, several at the end of
the epoch or tenth of the steps after that time. The file's name has a key of everything that the training depends on,
so that a fit with other settings, features or versions starts anew, and leaves this file alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headclust.disk import atomic_file, is_temporary
from headclust.errors import HeadclustError, one_line
from headclust.group import Group
from headclust.progress import note, printable

if TYPE_CHECKING:
    from torch import Tensor

_INTERVAL = 120.0  # seconds between two states: what a kill costs, beside the seconds before the training
_KEY = 16  # hex digits of a key in a file name


@dataclass(frozen=True)
class State:
    """A training after some of its steps.

    Attributes:
        tensors: Every tensor that the next step depends on, by name.
        values: Everything else, as JSON holds it, `step` (steps done) among them.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]


@dataclass
class Unfinished:
    """The states of one fit.

    Attributes:
        folder: The folder; it is made with the first state.
        key: Start of a hash of everything that the fit depends on.
        seconds: Seconds that killed processes have spent on the stages that this fit goes on with.
        has_failed: True after the folder could not be written; the next state is tried again.
    """

    folder: Path
    key: str
    seconds: float = 0.0
    has_failed: bool = False

    def files(self) -> list[Path]:
        """The states of this fit in the folder."""
        with suppress(OSError):
            return list(self.folder.glob(f"training-*-{self.key}-*.safetensors"))
        return []

    def remove(self) -> None:
        """Delete the states of this fit, and the folder unless other files lie in it."""
        with suppress(OSError):
            for file in self.files():
                file.unlink(missing_ok=True)
            for file in self.folder.iterdir():  # of a process that was killed while it wrote
                if is_temporary(file) and time.time() - file.stat().st_mtime > _INTERVAL:
                    file.unlink(missing_ok=True)
            self.folder.rmdir()


_current: ContextVar[Unfinished | None] = ContextVar("the states of the fit that runs", default=None)


def seconds_before() -> float:
    """Seconds that killed processes have spent on the stages that the present fit goes on with."""
    unfinished = _current.get()
    return unfinished.seconds if unfinished else 0.0


@contextmanager
def keep(folder: Path, *, depends_on: object | None) -> Iterator[None]:
    """Keep the states of the trainings in the context in a folder; they are removed at its end unless an error ends it.

    Args:
        folder: `NAME.partial`, beside the result.
        depends_on: Everything that the fit depends on, as JSON holds it. None keeps no states.
    """
    if depends_on is None:
        yield
        return
    unfinished = Unfinished(folder, _hash(json.dumps(depends_on, sort_keys=True))[:_KEY])
    outer = _current.set(unfinished)
    try:
        yield
    except KeyboardInterrupt:
        if unfinished.files():
            note(f"{printable(str(folder))} keeps the training: the same command goes on with it.")
        raise
    finally:
        _current.reset(outer)
    unfinished.remove()


class StageStates:
    """The states of one stage; without effect outside of `keep`.

    Args:
        position: Number of the stage in its recipe, from 0.
        group: The processes that share the training; each keeps its own part.
        start: Tensors of the heads that the stage starts from, by name; empty for new heads.

    Attributes:
        seconds_before: Seconds that killed processes have spent on the stage, after `accept`.
    """

    def __init__(self, position: int, group: Group, start: Mapping[str, Tensor]) -> None:
        self.seconds_before = 0.0
        self._fit = _current.get()
        self._group = group
        self._step = 0  # of the last state
        if self._fit:
            self._start = self._last = time.monotonic()
            process = f"-{group.rank + 1}-of-{group.size}" if group.size > 1 else ""
            keys = f"{self._fit.key}-{_digest(start)[:_KEY]}"
            self._path = self._fit.folder / f"training-{position + 1}{process}-{keys}.safetensors"

    def read(self) -> State | None:
        """The last state; None if there is none of this fit, or not one of the same step in all processes."""
        import torch

        if self._fit is None:
            return None
        state = self._read()
        steps = self._group.stack(torch.tensor(state.values["step"] if state else 0))
        return state if (steps == steps[0]).all() else None

    def accept(self, state: State) -> None:
        """Count a state that was read, after which the stage goes on."""
        assert self._fit is not None
        self.seconds_before = state.values["seconds"]
        self._step = state.values["step"]
        self._fit.seconds += self.seconds_before

    def write_if_due(self, state: Callable[[], State], *, together: bool) -> None:
        """Replace the state if the last one is old enough.

        Args:
            state: Returns the present state.
            together: True at steps at which several processes can agree on it.
        """
        if self._fit is None or not (together or self._group.size == 1):
            return
        if self._group.any(time.monotonic() - self._last >= _INTERVAL):
            self._write(state())

    def end(self, state: Callable[[], State], step: int) -> None:
        """Keep the state at the end of the stage, if an earlier one was kept: the stages after it take time too."""
        if self._fit is not None and 0 < self._step < step:
            self._write(state())

    def _read(self) -> State | None:
        from safetensors import safe_open

        try:
            if not self._path.exists():
                return None
            with safe_open(self._path, framework="pt") as file:
                text = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            if text.get("sha256") != _hash(text.get("values", ""), _digest(tensors)):
                raise ValueError("its checksum differs")
            return State(tensors, json.loads(text["values"]))
        except Exception as error:  # the library's own error, and others on malformed files
            name, reason = printable(str(self._path)), printable(one_line(error))
            note(f"{name} cannot be read ({reason}): the training starts anew.")
            return None

    def _write(self, state: State) -> None:
        """Write the state. A full disk does not end the fit: a line says so, once."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        assert self._fit is not None
        seconds = self.seconds_before + time.monotonic() - self._start
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
        values = json.dumps({**state.values, "seconds": seconds})
        text = {"values": values, "sha256": _hash(values, _digest(tensors))}
        self._last = time.monotonic()
        try:
            if self._path.is_symlink():
                raise FileExistsError(f"{self._path.name} is a link")
            self._fit.folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._path) as temporary:
                save_file(tensors, temporary, metadata=text)
        except (OSError, SafetensorError, HeadclustError) as error:
            if not self._fit.has_failed:
                name, reason = printable(str(self._fit.folder)), printable(one_line(error))
                note(f"cannot write {name} ({reason}): a fit that is killed loses what it has done since.")
            self._fit.has_failed = True
        else:
            self._step = state.values["step"]


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.detach().cpu().flatten().numpy().view("u1").data)
    return digest.hexdigest()


def _hash(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
