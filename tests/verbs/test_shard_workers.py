"""Processes for all shards: one that is killed is started again, one that fails ends all, here and on Ray."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from headclust import verbs
from headclust.embedding import EmbedSettings
from headclust.errors import BusyError, HeadclustError, SettingError
from headclust.features import staging_folder
from headclust.features.lock import writer_lock
from headclust.shards import WHOLE, Shard
from headclust.verbs import ray_tasks, shard_launch, shard_workers
from headclust.verbs.shard_workers import Job, Worker, run_local

ARGUMENTS = {"model": "m", "data": None, "classes": None, "weights": None, "exclude": []}


@dataclass(frozen=True)
class Shell(Job):
    """A job that is a shell command; $0 is a file of its own."""

    def start(self) -> Worker:
        return Worker.start(["sh", "-c", self.arguments["command"], f"{self.path}-{self.shard.number}"], os.environ)


def shell(path: Path, *commands: str) -> list[Job]:
    return [
        Shell(path, Shard(number, len(commands)), {"command": command}, 1, 1)
        for number, command in enumerate(commands, start=1)
    ]


DIE_ONCE = 'test -e "$0" || { touch "$0"; kill -9 $$; }; echo done >> "$0"'


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_workers, "_POLL", 0.01)
    monkeypatch.setattr(ray_tasks, "_POLL", 0.01)


def test_a_killed_process_is_started_again(tmp_path: Path, capsys: Any) -> None:
    run_local(shell(tmp_path / "a", DIE_ONCE, "true", DIE_ONCE), lambda: None)
    assert [(tmp_path / f"a-{number}").read_text() for number in (1, 3)] == ["done\n"] * 2
    error = capsys.readouterr().err
    assert (
        error.count("was killed (signal 9: perhaps the machine ran out of memory): it is started again (1 of 2)") == 2
    )


def test_not_for_ever(tmp_path: Path) -> None:
    with pytest.raises(HeadclustError, match=r"shard 1/1 was killed 3 times \(signal 15\): mend the cause"):
        run_local(shell(tmp_path / "a", 'echo >> "$0"; kill $$'), lambda: None)
    assert (tmp_path / "a-1").read_text() == "\n" * 3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("""echo '{"error": "the disk is full: free some."}'; exit 2""", "^the disk is full: free some.$"),
        ("echo nothing; exit 1", "shard 2/2 ended with exit code 1: see its messages above"),
    ],
)
def test_one_that_fails_ends_all(tmp_path: Path, command: str, message: str) -> None:
    start = time.monotonic()
    with pytest.raises(HeadclustError, match=message):
        run_local(shell(tmp_path / "a", "sleep 600", command), lambda: None)
    assert time.monotonic() - start < 60


def test_an_interrupt_ends_all(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_local(shell(tmp_path / "a", "sleep 600"), interrupt)
    assert time.monotonic() - start < 60


def test_a_worker_ends_with_the_process_that_started_it() -> None:
    code = "import threading; from headclust.verbs.shard_workers import _end_with_parent as end; "
    code += "threading.Thread(target=end).start(); print('ready', flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.stdin.close()
        assert process.wait(60) == 1


# --- what a worker does


def run_main(monkeypatch: pytest.MonkeyPatch, embed: Callable[..., object], path: Path = Path("a.h5")) -> list[int]:
    """Runs `main` with another verb; returns the exit codes."""
    codes = list[int]()

    def leave(code: int) -> None:
        codes.append(code)
        raise SystemExit(code)

    job = {**ARGUMENTS, "output": str(path), "shard": [2, 3], "settings": {"batch_size": 4}}
    monkeypatch.setattr(sys, "argv", ["-c", json.dumps(job)])
    monkeypatch.setattr(verbs, "embed", embed)
    monkeypatch.setattr(shard_workers, "_end_with_parent", lambda: None)
    monkeypatch.setattr(shard_workers, "be_quiet", lambda: None)
    monkeypatch.setattr(shard_workers, "os", SimpleNamespace(_exit=leave, environ={}))
    monkeypatch.setattr(shard_workers.time, "sleep", lambda seconds: None)
    with contextlib.suppress(SystemExit):
        shard_workers.main()
    return codes


def test_a_worker_embeds_its_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    assert run_main(monkeypatch, lambda **arguments: called.append(arguments)) == []
    expected = {**ARGUMENTS, "output": Path("a.h5"), "shard": Shard(2, 3), "settings": EmbedSettings(batch_size=4)}
    assert called == [expected]


def test_a_worker_prints_its_error(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def fail(**_: object) -> None:
        raise SettingError("no.")

    assert run_main(monkeypatch, fail) == [2]
    assert json.loads(capsys.readouterr().out) == {"error": "no."}


def test_a_worker_waits_for_the_lock_of_a_dead_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of this machine for seconds, of another one until its lease ends."""
    folder, clock = staging_folder(tmp_path / "a.h5", Shard(2, 3)), [0.0]

    def busy(**_: object) -> None:
        clock[0] += 1
        raise BusyError("held")

    monkeypatch.setattr(shard_workers.time, "monotonic", lambda: clock[0])
    assert run_main(monkeypatch, busy, tmp_path / "a.h5") == [2]
    assert clock[0] == shard_workers._HELD_HERE + 1
    folder.mkdir(parents=True)
    (folder / "lock").write_text(json.dumps({"host": "elsewhere.example", "pid": 1, "beats": True}))
    clock[0] = 0
    assert run_main(monkeypatch, busy, tmp_path / "a.h5") == [2]
    assert shard_workers.LEASE < clock[0] < shard_workers.LEASE + 60


# --- all of them


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that are run, instead of running them."""
    run = list[Job]()
    monkeypatch.setattr(shard_launch, "run_local", lambda jobs, show: (run.extend(jobs), show()))
    monkeypatch.setattr(shard_launch, "usable_cores", lambda: 8)
    monkeypatch.setattr(shard_launch, "_gpus", lambda: 0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return run


def launch(path: Path, n: int | None = None, **settings: Any) -> None:
    shard_launch.embed_shards(ARGUMENTS, path, EmbedSettings(**settings), 100, n, "local")


def test_processes_share_the_cores(jobs: list[Job], tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    launch(tmp_path / "a.h5", 3)
    assert [(str(job.shard), job.threads, job.processes) for job in jobs] == [(f"{i}/3", 2, 3) for i in (1, 2, 3)]
    line = "3 processes, one per shard, of 2 threads: the bytes are those of one process with OMP_NUM_THREADS=2"
    assert line in capsys.readouterr().err
    jobs.clear()
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    launch(tmp_path / "a.h5")
    assert [(str(job.shard), job.threads) for job in jobs] == [("1/2", 5), ("2/2", 5)]  # one per four cores


def test_one_process_per_gpu(jobs: list[Job], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(shard_launch, "_gpus", lambda: 2)
    launch(tmp_path / "a.h5")
    assert sorted(job.arguments["settings"]["device"] for job in jobs) == ["cuda:0", "cuda:1"]
    jobs.clear()
    launch(tmp_path / "a.h5", 1, device="cuda:1")
    assert [job.arguments["settings"]["device"] for job in jobs] == ["cuda:1"]
    jobs.clear()
    launch(tmp_path / "a.h5", device="cpu")
    assert len(jobs) == 2
    assert {job.arguments["settings"]["device"] for job in jobs} == {"cpu"}


def test_unfinished_work_keeps_its_number_of_shards(jobs: list[Job], tmp_path: Path, capsys: Any) -> None:
    folder = staging_folder(tmp_path / "a.h5", Shard(2, 5))
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    (folder / "journal.jsonl").write_text("{}\n" * 2)
    launch(tmp_path / "a.h5", batch_size=16)
    assert len(jobs) == 5
    assert "resuming after about 32 of 100 images" in capsys.readouterr().err


def test_a_finished_file_is_left_to_one_process(jobs: list[Job], tmp_path: Path, write: Any, blobs: Any) -> None:
    path = write("a.h5", blobs.features)
    launch(path, 3)
    assert [job.shard for job in jobs] == [WHOLE]
    jobs.clear()
    launch(path, 3, overwrite=True)
    assert len(jobs) == 3


def test_a_single_process_takes_the_lock_itself(jobs: list[Job], tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "a.h5"

    def run(jobs: list[Job], show: object) -> None:
        with writer_lock(staging_folder(path)):
            assert [job.shard for job in jobs] == [WHOLE]

    monkeypatch.setattr(shard_launch, "run_local", run)
    launch(path, 1)
    launch(path, 1, overwrite=True)


def test_a_second_command_is_refused(jobs: list[Job], tmp_path: Path) -> None:
    with writer_lock(staging_folder(tmp_path / "a.h5")), pytest.raises(BusyError):
        launch(tmp_path / "a.h5", 2)
    assert jobs == []


# --- Ray


class FakeRay(ModuleType):
    """Ray, as far as it is used: tasks run when they are waited for, and are retried as they ask for."""

    class exceptions:
        class RayError(Exception):
            pass

    def __init__(self, resources: dict[str, float]) -> None:
        super().__init__("ray")
        self.resources, self.started, self.options = resources, dict[str, Any](), dict[str, Any]()
        self.cancelled, self.ended = list[int](), False
        self.tasks = list[tuple[Any, ...]]()

    def init(self, **options: Any) -> None:
        self.started = options

    def shutdown(self) -> None:
        self.ended = True

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, **options: Any) -> Callable[[Any], Any]:
        self.options = options

        def task(function: Any) -> SimpleNamespace:
            def submit(*arguments: Any) -> int:
                self.tasks.append((function, arguments))
                return len(self.tasks) - 1

            return SimpleNamespace(remote=submit)

        return task

    def wait(self, waiting: list[int], timeout: float) -> tuple[list[int], list[int]]:
        return waiting[:1], waiting[1:]

    def get(self, reference: int) -> Any:
        function, arguments = self.tasks[reference]
        for _ in range(1 + self.options["max_retries"]):
            try:
                return function(*arguments)
            except tuple(self.options["retry_exceptions"]) as error:
                last = error
        raise self.exceptions.RayError(str(last))

    def cancel(self, reference: int, force: bool) -> None:
        self.cancelled.append(reference)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay({"CPU": 8.0})
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(ray_tasks, "Job", Shell)
    return fake


def run_on_ray(ray: Any, jobs: list[Job]) -> None:
    ray_tasks.run_on_ray(ray, ray_tasks.Resources(2, 0), jobs, lambda: None)


@pytest.mark.parametrize(
    ("resources", "n", "gpu", "expected"),
    [
        ({"CPU": 8.0}, None, True, (2, 4, 0)),
        ({"CPU": 8.0}, 3, True, (3, 2, 0)),
        ({"CPU": 8.0}, 100, True, (100, 1, 0)),
        ({"CPU": 64.0, "GPU": 4.0}, None, True, (4, 16, 1)),
        ({"CPU": 64.0, "GPU": 4.0}, 32, True, (32, 16, 1)),  # four at a time
        ({"CPU": 64.0, "GPU": 4.0}, None, False, (16, 4, 0)),
        ({}, None, True, (1, 1, 0)),
    ],
)
def test_tasks_fit_the_cluster(resources: Any, n: int | None, gpu: bool, expected: tuple[int, int, int]) -> None:
    n, fit = ray_tasks.share(FakeRay(resources), n, gpu=gpu)
    assert (n, fit.cpus, fit.gpus) == expected


def test_a_task_is_retried_whose_process_is_killed(ray: FakeRay, tmp_path: Path) -> None:
    run_on_ray(ray, shell(tmp_path / "a", DIE_ONCE, "true"))
    assert (tmp_path / "a-1").read_text() == "done\n"
    assert (ray.options["num_cpus"], ray.options["num_gpus"], ray.options["max_retries"]) == (2, 0, 2)


def test_tasks_that_fail_end_all(ray: FakeRay, tmp_path: Path) -> None:
    with pytest.raises(HeadclustError, match="no space"):
        run_on_ray(ray, shell(tmp_path / "a", """echo '{"error": "no space"}'; exit 2""", "true", "true"))
    assert ray.cancelled == [1, 2]
    ray.tasks.clear()
    with pytest.raises(HeadclustError, match=r"killed 3 times \(signal 9: perhaps the machine ran out of memory\)"):
        run_on_ray(ray, shell(tmp_path / "b", "kill -9 $$"))


def test_a_cluster_is_joined_or_started(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with ray_tasks.cluster():
        assert ray.started["address"] == "local"
        assert ray.started["object_store_memory"] <= 200_000_000
    assert ray.ended
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with ray_tasks.cluster():
        assert ray.started["address"] == "head:6379"
        assert "object_store_memory" not in ray.started

    def fail(**_: object) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(HeadclustError, match=r"the Ray cluster at head:6379 cannot be used \(no answer\)"):
        ray_tasks.cluster().__enter__()


def test_without_ray_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match=r"--on ray needs Ray: pip install 'headclust\[ray\]'"):
        ray_tasks.cluster().__enter__()


def test_ray_itself_runs_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray is installed; in CI it is not."""
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    job = Job(tmp_path / "a.h5", Shard(1, 1), {**ARGUMENTS, "settings": {"batch_size": 0}}, 1, 1)
    with ray_tasks.cluster() as ray, pytest.raises(HeadclustError, match="batch size 0"):
        ray_tasks.run_on_ray(ray, ray_tasks.Resources(1, 0), [job], lambda: None)
