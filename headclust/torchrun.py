"""Processes that torchrun has started: how they connect, and which of them prints an error."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from headclust.errors import LostProcessError
from headclust.group import ALONE, Group, current, use
from headclust.progress import be_quiet, note
from headclust.shards import local_processes, local_rank, torchrun_shard

# Time in which a process waits for the others, in seconds: between two sums, one may search neighbors or solve for
# eigenvectors. A process that dies closes its connections, which the others notice at once.
_PATIENCE = 3600


def launched() -> Group:
    """This process among those that torchrun has started, from the environment; ALONE without torchrun."""
    shard = torchrun_shard(os.environ)
    return ALONE if shard is None else Group(shard.number - 1, shard.of)


def local_device(name: str | None) -> str | None:
    """The device `name` of this process: with CUDA, each process that torchrun has started has its own by default."""
    if launched().size == 1 or name not in (None, "cuda"):
        return name
    import torch

    if not torch.cuda.is_available():
        return name
    return f"cuda:{(local_rank() or 0) % torch.cuda.device_count()}"


@contextmanager
def join() -> Iterator[Group]:
    """Connect the processes that torchrun has started: they share the fits in the context. ALONE without torchrun.

    All but the first print nothing from now on; see `prints_error`.

    Raises:
        LostProcessError: Another process has ended or does not answer.
    """
    group = launched()
    if group.size == 1 or current().size > 1:
        yield current()
        return
    import torch
    import torch.distributed as dist

    from headclust.collectives import one_line_errors

    if group.rank:
        be_quiet()
    _note_threads()
    before = signal.signal(signal.SIGTERM, _terminated)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        with one_line_errors():
            dist.init_process_group(backend, timeout=timedelta(seconds=_PATIENCE))
        with use(group):
            yield group
        dist.destroy_process_group()
    finally:
        signal.signal(signal.SIGTERM, before)


def prints_error(line: str, *, is_cause: bool) -> bool:
    """True if this process is to print the line with which it ends; the others of torchrun then do not print it.

    Args:
        line: The line.
        is_cause: False if it only says that another process has ended; such a line is printed if there is no other.
    """
    group = launched()
    if group.size == 1:
        return True
    import torch.distributed

    try:  # torchrun itself serves this store, so it outlives a process
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        make = torch.distributed.TCPStore  # type: ignore[attr-defined]  # documented, but not in its __all__
        store = make(address, port, is_master=False, timeout=timedelta(seconds=10))
        key = f"headclust-error-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        n_lines = int(store.add(key, 1))
        return (
            int(store.add(f"{key}-{hashlib.sha256(line.encode()).hexdigest()}", 1)) == 1 if is_cause else n_lines == 1
        )
    except (RuntimeError, LookupError, ValueError):
        return True


def _note_threads() -> None:
    """Log if the processes of this machine leave cores unused: torchrun gives each a single thread by default."""
    from headclust.device import usable_cores

    processes = local_processes()
    cores = usable_cores() // processes
    if os.environ.get("OMP_NUM_THREADS") == "1" and cores > 1:
        note(
            f"each of {processes} processes uses one thread: for {cores}, start torchrun with OMP_NUM_THREADS={cores}."
        )


def _terminated(number: int, frame: Any) -> None:
    raise LostProcessError("stopped by torchrun, as another process ended or it was interrupted. Nothing was written.")
