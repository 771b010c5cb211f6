"""Embed all shards of a feature file in processes that are started here, with one progress bar over all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from headclust.choices import Launcher
from headclust.device import usable_cores
from headclust.embedding import EmbedSettings
from headclust.features import staging_folder
from headclust.features.lock import writer_lock
from headclust.features.plan import check_replaceable
from headclust.features.sharded import begun_shards, check_begun
from headclust.features.staged import n_journaled
from headclust.progress import bar, note
from headclust.shards import WHOLE, Shard
from headclust.verbs.shard_workers import Job, run_local


def embed_shards(
    arguments: Mapping[str, Any],
    path: Path,
    settings: EmbedSettings,
    n_images: int,
    n_shards: int | None,
    on: Launcher,
) -> None:
    """Embed all shards, each in a process of its own; a finished file is compared and completed by one process.

    Args:
        arguments: Of the verb `embed`, without `settings`, `output` and `shard`.
        path: The feature file.
        settings: How to embed.
        n_images: Images of all shards.
        n_shards: The number of shards; by default that of unfinished work, or one per GPU, or one per four cores.
        on: Where processes are started.

    Raises:
        HeadclustError: A worker fails, or was killed too often; finished blocks stay.
    """
    check_replaceable(path, overwrite=settings.overwrite)
    begun = begun_shards(path)
    finished = path.exists() and not settings.overwrite
    texts = {name: str(arguments[name]) for name in ("classes", "weights") if arguments[name]}
    with _workers(on, n_shards or (begun[0].of if begun else None), settings) as workers:
        parts = [WHOLE] if finished else Shard(1, workers.n).siblings()
        devices = [workers.devices[part.number % len(workers.devices)] for part in parts]
        given = [{**arguments, **texts, "settings": asdict(replace(settings, device=device))} for device in devices]
        jobs = [Job(path, part, own, workers.threads, workers.n_local) for part, own in zip(parts, given, strict=True)]
        note(_equality(path, workers))
        if settings.overwrite and len(parts) > 1:
            check_begun(path, parts[0], {}, overwrite=True)
        # With this lock no worker merges, and no second command starts the same shards; a single one takes it itself.
        with writer_lock(staging_folder(path)) if len(parts) > 1 else nullcontext():
            _run_jobs(jobs, n_images, settings.batch_size, workers.run)


class _Workers(NamedTuple):
    """Processes: their number and that per machine, threads of each, devices in turn, and how jobs are done by them."""

    n: int
    n_local: int
    threads: int
    devices: Sequence[str | None]
    run: Callable[[Sequence[Job], Callable[[], None]], None]


@contextmanager
def _workers(on: Launcher, n_shards: int | None, settings: EmbedSettings) -> Iterator[_Workers]:
    gpu = settings.device is None or settings.device.startswith("cuda")
    if on == "ray":
        from headclust.verbs.ray_tasks import cluster, run_on_ray, share

        with cluster() as ray:
            n, resources = share(ray, n_shards, gpu=gpu)
            yield _Workers(n, 1, resources.cpus, [settings.device], partial(run_on_ray, ray, resources))
        return
    gpus = _gpus() if gpu else 0
    n = n_shards or gpus or max(1, usable_cores() // 4)
    in_turn = [f"cuda:{number}" for number in range(gpus)] if settings.device in (None, "cuda") else []
    yield _Workers(n, n, _threads(n), in_turn or [settings.device], run_local)


def _gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _threads(n: int) -> int:
    """Threads of each of `n` processes: those of OMP_NUM_THREADS, else a share of the cores."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) else max(1, usable_cores() // n)


def _equality(path: Path, workers: _Workers) -> str:
    count = "1 process" if workers.n == 1 else f"{workers.n} processes, one per shard,"
    of = f"{count} of {workers.threads} thread{'s' if workers.threads > 1 else ''}"
    return f"{path}: {of}: the bytes are those of one process with OMP_NUM_THREADS={workers.threads}."


def _run_jobs(
    jobs: Sequence[Job], n_images: int, batch_size: int, run: Callable[[Sequence[Job], Callable[[], None]], None]
) -> None:
    """Run jobs with one progress bar over all of them.

    Args:
        jobs: One per shard.
        n_images: Images of all shards.
        batch_size: Images per block.
        run: `run_local`, or another function like it.
    """
    path, shown = jobs[0].path, 0

    def done() -> int:
        parts = (staging_folder(path, shard) for shard in [*begun_shards(path), WHOLE])
        return min(n_images, batch_size * sum(map(n_journaled, parts)))

    start = shown = done()
    if start:
        note(f"{path}: resuming after about {start} of {n_images} images.")
    with bar("embedding", n_images, start=start) as advance:

        def show() -> None:
            nonlocal shown
            now = max(shown, done())
            advance(now - shown)
            shown = now

        try:
            run(jobs, show)
        except KeyboardInterrupt:
            note(f"stopped after about {done()} of {n_images} images: the same command resumes there.")
            raise
