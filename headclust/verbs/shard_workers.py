"""Processes that embed shards: on this machine, or as Ray tasks on a cluster.

A worker is a Python process that calls the verb `embed` with its shard. It gets its arguments as JSON, prints one line
of JSON, and ends when its standard input is closed, so when the process that started it is gone, however it ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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

    def start(self) -> Worker:
        """Start a process that does it."""
        text = json.dumps({**self.arguments, "output": str(self.path), "shard": [self.shard.number, self.shard.of]})
        environment = {"OMP_WAIT_POLICY": "passive", **os.environ, "OMP_NUM_THREADS": str(self.threads)}
        environment["LOCAL_WORLD_SIZE"] = str(self.processes)
        environment.pop("LOCAL_RANK", None)
        return Worker.start([sys.executable, "-c", _COMMAND, text], environment)


@dataclass(frozen=True)
class Worker:
    """A process that does a job: the leader of its own group, which Ctrl-C at a terminal does not reach.

    Args:
        process: The process. Its standard input stays open as long as it is wanted.
        output: A file with what it prints. A pipe would stay open as long as any process that it has started.
    """

    process: subprocess.Popen[bytes]
    output: IO[bytes]

    @staticmethod
    def start(command: Sequence[str], environment: Mapping[str, str]) -> Worker:
        """Start it."""
        output = tempfile.TemporaryFile()  # noqa: SIM115 - `end` closes it
        process = subprocess.Popen(  # noqa: S603 - without a shell
            command, stdin=subprocess.PIPE, stdout=output, env=environment, start_new_session=True
        )
        return Worker(process, output)

    @property
    def is_running(self) -> bool:
        """True until the process has ended."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill it, with the processes that it has started; its finished blocks stay."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and what it printed."""
        code = self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        with self.output:
            self.output.seek(0)
            return code, self.output.read().decode(errors="replace")


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
    running, deaths = dict[int, Worker](), dict.fromkeys(range(len(jobs)), 0)
    try:
        for number, job in enumerate(jobs):
            running[number] = job.start()
        while running:
            time.sleep(_POLL)
            show()
            for number in [number for number, worker in running.items() if not worker.is_running]:
                if reason := outcome(jobs[number], *running.pop(number).end()):
                    deaths[number] += 1
                    killed(jobs[number], reason, deaths[number])
                    running[number] = jobs[number].start()
    finally:
        for worker in running.values():
            worker.kill()
        for worker in running.values():
            worker.end()


def main() -> None:
    """Do the job in the first argument."""
    from headclust import verbs

    threading.Thread(target=_end_with_parent, daemon=True).start()
    be_quiet()  # the process that started this one shows progress and results
    arguments = json.loads(sys.argv[1])
    for name in ("output", "classes", "weights"):
        arguments[name] = arguments[name] and Path(arguments[name])
    arguments["shard"] = Shard(*arguments["shard"])
    start = time.monotonic()
    while True:
        try:
            verbs.embed(**{**arguments, "settings": EmbedSettings(**arguments["settings"])})
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
