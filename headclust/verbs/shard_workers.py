"""Processes that embed shards: on this machine, or as Ray tasks on a cluster.

A worker is a Python process that calls the verb `embed` with its shard. It gets its arguments as JSON, prints one line
of JSON, and ends when its standard input is closed, so when the process that started it is gone, however it ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headclust.embedding import EmbedSettings
from headclust.errors import BusyError, HeadclustError
from headclust.features import staging_folder
from headclust.features.lock import LEASE, is_held_elsewhere
from headclust.progress import alert, be_quiet
from headclust.shards import Shard

RETRIES = 2  # of a worker that was killed
_POLL = 0.2  # seconds between two looks at the workers
_COMMAND = "from headclust.verbs.shard_workers import main; main()"
_HELD_HERE = 15.0  # seconds until the lock of a process of this machine that has just died is free, at most


@dataclass(frozen=True)
class Job:
    """The work of a worker.

    Args:
        path: The feature file.
        shard: The part to embed, or `WHOLE`.
        arguments: Of the verb `embed`, JSON-like; `settings` are those of EmbedSettings.
        threads: Of the computation.
        processes: Workers that share a machine.
    """

    path: Path
    shard: Shard
    arguments: Mapping[str, Any]
    threads: int
    processes: int

    def start(self) -> subprocess.Popen[str]:
        """Start a process that does it, which Ctrl-C at a terminal does not reach."""
        text = json.dumps({**self.arguments, "output": str(self.path), "shard": [self.shard.number, self.shard.of]})
        environment = {"OMP_WAIT_POLICY": "passive", **os.environ, "OMP_NUM_THREADS": str(self.threads)}
        environment["LOCAL_WORLD_SIZE"] = str(self.processes)
        environment.pop("LOCAL_RANK", None)
        return subprocess.Popen(  # noqa: S603 - this interpreter, without a shell
            [sys.executable, "-c", _COMMAND, text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )


def outcome(job: Job, code: int, printed: str) -> str:
    """The end of a worker: empty if it has done its job, else the reason why it was killed.

    Raises:
        HeadclustError: It failed, and would fail again.
    """
    if code == 0:
        return ""
    if code < 0:
        return f"signal {-code}" + (": perhaps the machine ran out of memory" if code == -9 else "")
    try:
        raise HeadclustError(json.loads(printed)["error"])
    except (ValueError, TypeError, KeyError):
        raise HeadclustError(f"{_name(job)} ended with exit code {code}: see its messages above.") from None


def killed(job: Job, reason: str, times: int) -> None:
    """Log that a worker was killed and is started again.

    Raises:
        HeadclustError: It was killed too often.
    """
    if times > RETRIES:
        raise HeadclustError(
            f"{_name(job)} was killed {times} times ({reason}): mend the cause, then run the same command again, which "
            "resumes it."
        )
    alert(f"{_name(job)} was killed ({reason}): it is started again ({times} of {RETRIES}).")


def run_local(jobs: Sequence[Job], show: Callable[[], None]) -> None:
    """Do all jobs at once, each in a process of this machine; one that is killed is started again.

    Args:
        jobs: The jobs.
        show: Function that shows the progress, called often.

    Raises:
        HeadclustError: A job fails, or was killed too often. All other processes are ended.
    """
    running, deaths = dict[int, subprocess.Popen[str]](), dict.fromkeys(range(len(jobs)), 0)
    try:
        for number, job in enumerate(jobs):
            running[number] = job.start()
        while running:
            time.sleep(_POLL)
            show()
            for number, process in list(running.items()):
                if process.poll() is None:
                    continue
                printed, _ = process.communicate()
                if reason := outcome(jobs[number], process.returncode, printed):
                    deaths[number] += 1
                    killed(jobs[number], reason, deaths[number])
                    running[number] = jobs[number].start()
                else:
                    del running[number]
    finally:
        for process in running.values():
            process.kill()  # its decoding processes end with it, and its finished blocks stay
        for process in running.values():
            process.communicate()


def main() -> None:
    """Do the job in the first argument."""
    from headclust import verbs

    threading.Thread(target=_end_with_parent, daemon=True).start()
    be_quiet()  # the process that started this one shows progress and results
    arguments = json.loads(sys.argv[1])
    for name in ("output", "classes", "weights"):
        arguments[name] = arguments[name] and Path(arguments[name])
    arguments["shard"] = Shard(*arguments["shard"])
    arguments["settings"] = EmbedSettings(**arguments["settings"])
    start = time.monotonic()
    while True:
        try:
            verbs.embed(**arguments)
            return
        except BusyError as error:  # of a worker that was killed: of another machine, until its lease has ended
            folder = staging_folder(arguments["output"], arguments["shard"])
            limit = LEASE + 2 * _HELD_HERE if is_held_elsewhere(folder) else _HELD_HERE
            if time.monotonic() - start > limit:
                _fail(error)
            time.sleep(1)
        except HeadclustError as error:
            _fail(error)


def _fail(error: HeadclustError) -> None:
    print(json.dumps({"error": str(error)}), flush=True)
    os._exit(2)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _name(job: Job) -> str:
    return f"{job.path}: the process of shard {job.shard}"
