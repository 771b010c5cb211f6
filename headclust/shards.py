"""Shards: the parts of a work that several processes share, each a contiguous range of its blocks.

A process is told its shard by `I/N`, or finds it in the environment of torchrun or of a SLURM array.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from headclust.errors import SettingError
from headclust.progress import note

MOST = 100_000  # shards


@dataclass(frozen=True)
class Shard:
    """One of several parts of a work.

    Args:
        number: Its number, 1 to `of`.
        of: The number of parts.
    """

    number: int
    of: int

    @property
    def name(self) -> str:
        """The shard as part of a file name: `3-of-8`."""
        return f"{self.number}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def range(self, n_blocks: int) -> range:
        """The blocks of this shard; all shards together have each of 0 to `n_blocks` - 1 once, in order.

        Sizes differ by at most one; with more shards than blocks, some shards are empty.
        """
        return range(n_blocks * (self.number - 1) // self.of, n_blocks * self.number // self.of)

    def siblings(self) -> list[Shard]:
        """All shards of the work, in order, this one included."""
        return [Shard(number, self.of) for number in range(1, self.of + 1)]


WHOLE = Shard(1, 1)


def parse_shard(text: str) -> Shard:
    """The shard of `I/N`.

    Raises:
        SettingError: The text has another form, or not 1 <= I <= N.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if match and 1 <= int(match[1]) <= int(match[2]) <= MOST:
        return Shard(int(match[1]), int(match[2]))
    raise SettingError(f"shard {text!r}: expected I/N, such as 3/8, with I from 1 to N, and N at most {MOST:,}.")


def process_shard(text: str | None, environment: Mapping[str, str] | None = None) -> Shard | None:
    """The shard of this process: `text`, or that of the environment, which a line on stderr names; None without.

    torchrun sets RANK and WORLD_SIZE, an array of SLURM jobs SLURM_ARRAY_TASK_ID, _MIN, _MAX, _COUNT and _STEP. If both
    are set, each job of the array runs torchrun, and the shards are counted over all. A single process and a single job
    are no shard, and `1/1` is the whole work in this process, whatever the environment.

    Args:
        text: `I/N`; None if the user named no shard.
        environment: Environment variables; those of this process when None.

    Raises:
        SettingError: The text is no shard, the environment is not consistent, or they contradict each other.
    """
    environment = os.environ if environment is None else environment
    named = None if text is None else parse_shard(text)
    if named == WHOLE:
        return None
    rank, task = torchrun_shard(environment), _slurm(environment, required=named is None)
    if rank and task:
        shard = Shard((task.number - 1) * rank.of + rank.number, task.of * rank.of)
        source = "SLURM's array and torchrun"
    elif rank:
        shard, source = rank, "torchrun (RANK, WORLD_SIZE)"
    elif task:
        shard, source = task, "SLURM_ARRAY_TASK_ID"
    else:
        return named
    if named is None:
        note(f"this process does shard {shard}, from {source}; --shard 1/1 does all in one process.")
        return shard
    # Some jobs of an array are submitted again under another count, with their shards named.
    if named != shard and (rank or named.of == shard.of):
        raise SettingError(f"--shard {named} contradicts {source}, which gives {shard}: leave out one of them.")
    return named


def local_rank(environment: Mapping[str, str] | None = None) -> int | None:
    """The number of this process on its machine, from 0, as torchrun sets it (LOCAL_RANK); None without.

    Raises:
        SettingError: It is not a whole number.
    """
    return _number(os.environ if environment is None else environment, "LOCAL_RANK")


def local_processes(environment: Mapping[str, str] | None = None) -> int:
    """The number of processes that share this machine, as torchrun sets it (LOCAL_WORLD_SIZE); 1 without.

    Raises:
        SettingError: It is not a whole number.
    """
    return _number(os.environ if environment is None else environment, "LOCAL_WORLD_SIZE") or 1


def torchrun_shard(environment: Mapping[str, str]) -> Shard | None:
    """The process of torchrun as a shard; None without torchrun, and for a single process.

    Raises:
        SettingError: RANK and WORLD_SIZE are no whole numbers, or do not fit together.
    """
    rank, size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if rank is None or size is None or size == 1:
        return None
    if rank >= size:
        raise SettingError(f"RANK is {rank} and WORLD_SIZE {size}: expected 0 to {size - 1}, as torchrun sets it.")
    return Shard(rank + 1, size)


def _slurm(environment: Mapping[str, str], *, required: bool) -> Shard | None:
    """The job of an array as a shard; None outside of arrays, in one of a single job, and if it is not `required`."""
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "COUNT", "STEP")]
    task, first, last, count, step = (_number(environment, name) for name in names)
    if task is None or count == 1:
        return None
    step = step or 1
    if first is not None and last is not None:
        shard = Shard((task - first) // step + 1, (last - first) // step + 1)
        if count in (None, shard.of) and first <= task <= last and (task - first) % step == 0:
            return shard
    if not required:
        return None
    raise SettingError(
        f"SLURM_ARRAY_TASK_ID is {task}, of an array with gaps or without MIN and MAX: name the shard with --shard I/N."
    )


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    if text and not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise SettingError(f"{name} is {text!r}: expected a whole number.")
    return int(text) if text else None
