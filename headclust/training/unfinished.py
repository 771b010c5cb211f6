"""The state of a training that has not ended, kept in a folder: a fit that was killed goes on after its last state.

`NAME.partial/` beside the result holds one file per stage and process, in the safetensors format: the tensors of the
training, and as text its key and what else a `State` holds. It is replaced every two minutes. The key is a hash of
everything that the training depends on, so that a fit with other settings, features or versions starts anew.
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
from headclust.errors import one_line
from headclust.group import Group
from headclust.progress import note, printable

if TYPE_CHECKING:
    from torch import Tensor

_INTERVAL = 120.0  # seconds between two states: what a kill costs, beside the seconds before the training
_PREFIX, _SUFFIX = "training-", ".safetensors"


@dataclass(frozen=True)
class State:
    """A training after some of its steps.

    Attributes:
        tensors: Every tensor that the next step depends on, by name.
        values: Everything else, as JSON holds it.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]


@dataclass
class Unfinished:
    """The place of the states of one fit.

    Attributes:
        folder: The folder; it is made with the first state.
        key: Hash of everything that the fit depends on.
        seconds: Seconds that killed processes have spent on the stages that this fit goes on with.
        is_written: True if a state was written or read.
        can_write: False after the folder could not be written.
    """

    folder: Path
    key: str
    seconds: float = 0.0
    is_written: bool = False
    can_write: bool = True


_current: ContextVar[Unfinished | None] = ContextVar("where the states of the fit that runs are kept", default=None)


def seconds_before() -> float:
    """Seconds that killed processes have spent on the stages that the present fit goes on with."""
    unfinished = _current.get()
    return unfinished.seconds if unfinished else 0.0


@contextmanager
def keep(folder: Path, *, depends_on: object | None) -> Iterator[None]:
    """Keep the states of the trainings in the context in a folder, which is removed at its end unless an error ends it.

    Args:
        folder: `NAME.partial`, beside the result.
        depends_on: Everything that the fit depends on, as JSON holds it: states of other fits are not used. None keeps
            no states.
    """
    if depends_on is None:
        yield
        return
    key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
    unfinished = Unfinished(folder, key)
    outer = _current.set(unfinished)
    try:
        yield
    except KeyboardInterrupt:
        if unfinished.is_written:
            note(f"{printable(str(folder))} keeps the training: the same command goes on with it.")
        raise
    finally:
        _current.reset(outer)
    with suppress(OSError):  # other files in the folder stay, and so does the folder with them
        for file in folder.iterdir():
            if is_temporary(file) or (file.name.startswith(_PREFIX) and file.name.endswith(_SUFFIX)):
                file.unlink(missing_ok=True)
        folder.rmdir()


class StageStates:
    """The states of one stage; without effect outside of `keep`.

    Args:
        position: Number of the stage in its recipe, from 0.
        group: The processes that share the training; each keeps its own part.

    Attributes:
        seconds_before: Seconds that killed processes have spent on the stage, after `read`.
    """

    def __init__(self, position: int, group: Group) -> None:
        self.seconds_before = 0.0
        self._fit = _current.get()
        self._group = group
        self._start = self._last = time.monotonic() if self._fit else 0.0
        self._written = False
        process = f"-{group.rank + 1}-of-{group.size}" if group.size > 1 else ""
        self._name = f"{_PREFIX}{position + 1}{process}{_SUFFIX}"

    def read(self) -> State | None:
        """The last state; None if there is none of this fit, or not one of the same step in all processes."""
        import torch

        if self._fit is None:
            return None
        state = self._read(self._fit)
        steps = self._group.stack(torch.tensor(state.values["step"] if state else 0))
        if state is None or not (steps == steps[0]).all():
            return None
        self.seconds_before = state.values["seconds"]
        self._fit.seconds += self.seconds_before
        self._fit.is_written = self._written = True
        return state

    def write_if_due(self, state: Callable[[], State], *, together: bool) -> None:
        """Replace the state if the last one is old enough.

        Args:
            state: Returns the present state.
            together: True at steps at which several processes can agree on it.
        """
        if self._fit is None or not (together or self._group.size == 1):
            return
        if self._group.any(self._fit.can_write and time.monotonic() - self._last >= _INTERVAL):
            self._write(self._fit, state())

    def end(self, state: Callable[[], State]) -> None:
        """Keep the state at the end of the stage, if an earlier one was kept: the stages after it take time too."""
        if self._fit is not None and self._written:
            self._write(self._fit, state())

    def _read(self, fit: Unfinished) -> State | None:
        from safetensors import safe_open

        path = fit.folder / self._name
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                text = file.metadata()
                if text["key"] != fit.key:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            if text["sha256"] != _digest(tensors, text["values"]):
                raise ValueError("its checksum differs")
            return State(tensors, json.loads(text["values"]))
        except Exception as error:  # the library's own error, and others on malformed files
            note(f"{printable(str(path))} cannot be read ({printable(one_line(error))}): the training starts anew.")
            return None

    def _write(self, fit: Unfinished, state: State) -> None:
        """Write the state. A full disk does not end the fit: a line says so, once."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        seconds = self.seconds_before + time.monotonic() - self._start
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
        values = json.dumps({**state.values, "seconds": seconds})
        text = {"key": fit.key, "values": values, "sha256": _digest(tensors, values)}
        try:
            fit.folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(fit.folder / self._name) as temporary:
                save_file(tensors, temporary, metadata=text)
            fit.is_written = self._written = True
        except (OSError, SafetensorError) as error:
            fit.can_write = False
            note(f"cannot write {printable(str(fit.folder))} ({one_line(error)}): a fit that is killed starts anew.")
        self._last = time.monotonic()


def _digest(tensors: Mapping[str, Tensor], values: str) -> str:
    digest = hashlib.sha256(values.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
