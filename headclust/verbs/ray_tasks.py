"""Shards as Ray tasks: one per shard, on the machines of a cluster that share a file system."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headclust.device import usable_cores
from headclust.errors import HeadclustError, SettingError, one_line
from headclust.shards import Shard
from headclust.verbs.shard_workers import RETRIES, Job, killed, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

_STORE_BYTES = 100_000_000  # nothing but short texts goes through Ray's object store
_POLL = 0.5  # seconds between two looks at the progress


@dataclass(frozen=True)
class Resources:
    """Resources of one task.

    Args:
        cpus: Cores, of which the decoding processes and the model make use.
        gpus: 0 or 1.
    """

    cpus: int
    gpus: int


class WorkerKilledError(Exception):
    """The process of a shard was killed; Ray starts the task again."""


@contextmanager
def cluster() -> Iterator[Any]:
    """Ray, connected to the cluster of RAY_ADDRESS, or to one that is started on this machine and ended afterwards.

    Raises:
        SettingError: Ray is not installed.
        HeadclustError: The cluster does not answer, or cannot be started.
    """
    try:
        import ray
    except ImportError:
        raise SettingError("--on ray needs Ray: pip install 'headclust[ray]', or use --on local.") from None
    address = os.environ.get("RAY_ADDRESS")
    own = {} if address else {"object_store_memory": _STORE_BYTES, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=True, logging_level="ERROR", **own)
    except Exception as error:  # Ray raises errors of many kinds here
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise HeadclustError(f"{where} cannot be used ({one_line(error)}): check it, or use --on local.") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def share(ray: Any, n_shards: int | None, *, gpu: bool) -> tuple[int, Resources]:
    """The number of shards and the resources of each, for what the cluster has.

    Args:
        ray: Ray, connected.
        n_shards: The number, if the user chose it; by default one per GPU, or one per four cores.
        gpu: True if the model may run on a GPU.
    """
    total = ray.cluster_resources()
    cpus, gpus = max(1, int(total.get("CPU", 1))), int(total.get("GPU", 0)) if gpu else 0
    n = n_shards or gpus or max(1, cpus // 4)
    return n, Resources(max(1, cpus // min(n, gpus or n)), 1 if gpus else 0)


def run_on_ray(ray: Any, resources: Resources, jobs: Sequence[Job], show: Callable[[], None]) -> None:
    """Do all jobs, each in a task of its own; Ray starts a task again whose worker or machine dies.

    Args:
        ray: Ray, connected.
        resources: Of a task.
        jobs: The jobs; their paths lead to the same files on all machines.
        show: Function that shows the progress, called often.

    Raises:
        HeadclustError: A job fails, or was killed too often. All others are ended.
    """
    task = ray.remote(
        num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=RETRIES, retry_exceptions=[WorkerKilledError]
    )(do_job)
    place = Path.cwd()
    waiting = [task.remote({**asdict(job), "path": str(job.path)}, str(place)) for job in jobs]
    numbers = {reference: number for number, reference in enumerate(waiting)}
    try:
        while waiting:
            ready, waiting = ray.wait(waiting, timeout=_POLL)
            show()
            for reference in ready:
                job = jobs[numbers[reference]]
                try:
                    outcome(job, *ray.get(reference))
                except ray.exceptions.RayError as error:  # the last of its tries
                    killed(job, one_line(error), RETRIES + 1)
    finally:
        for reference in waiting:
            with suppress(Exception):  # the error that ends this matters more
                ray.cancel(reference, force=True)


def do_job(job: dict[str, Any], place: str) -> tuple[int, str]:
    """Do a job in a process of its own, from a Ray worker; return its exit code and what it printed.

    Raises:
        WorkerKilledError: It was killed.
    """
    os.chdir(place)
    work = Job(**{**job, "path": Path(job["path"]), "shard": Shard(**job["shard"])})
    # Decoding processes: those of a machine's cores that belong to the task.
    code, printed = replace(work, processes=max(1, usable_cores() // work.threads)).start().end()
    if code < 0:
        raise WorkerKilledError(outcome(work, code, printed))
    return code, printed
