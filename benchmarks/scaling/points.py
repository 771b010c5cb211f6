"""Points of the curves: what is measured, in a process of its own, and the results file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headclust.disk import write_errors
from headclust.errors import DataError
from headclust.progress import note, printable

_POLL = 0.02  # seconds between two looks at the memory
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """A part of the package at one size.

    Args:
        part: A name in `scaling.parts.PARTS`.
        n: Samples.
        d: Feature dimensions.
        k: Clusters.
        option: More, if the part has options.
        dtype: Of the feature file.
    """

    part: str
    n: int
    d: int = 256
    k: int = 10
    option: str = ""
    dtype: str = "float32"

    def __str__(self) -> str:
        more = " ".join(filter(None, (self.option, "" if self.dtype == "float32" else self.dtype)))
        return f"{self.part} {self.n:,} x {self.d:,}, K {self.k:,}{f', {more}' if more else ''}"


def point_of(line: Line) -> Point:
    """The point of a line of the results file."""
    return Point(**line["point"])


def measure(point: Point, work: Path) -> dict[str, Any]:
    """Seconds, memory and figures of a point, measured in this process.

    Returns:
        `seconds` of the wall clock, `cpu` seconds of all threads and finished child processes, `private_mb` (largest
        RssAnon: memory of this process that is not of a mapped file), `peak_mb` (VmHWM: with pages of mapped files),
        `before_mb` (RssAnon at the start, mostly libraries), and what the part reports. Memory is null where the system
        has no /proc.
    """
    from scaling.parts import PARTS

    run = PARTS[point.part](point, work)
    before = _memory("RssAnon")
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    with _largest_private() as private:
        start, cpu = time.perf_counter(), _cpu()
        figures = run()
        seconds, cpu = time.perf_counter() - start, _cpu() - cpu
    memory = {"private_mb": private[0], "peak_mb": _memory("VmHWM"), "before_mb": before}
    return {"seconds": round(seconds, 3), "cpu": round(cpu, 3), **memory, **figures()}


def _cpu() -> float:
    return sum(os.times()[:4])


def _memory(name: str) -> int | None:
    """A line of /proc/self/status in MB; None if the system has none."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) // 1024
    return None


@contextmanager
def _largest_private() -> Iterator[list[int | None]]:
    """A list whose item is the largest RssAnon in MB so far, which the system itself does not record."""
    largest, end = [_memory("RssAnon")], threading.Event()

    def poll() -> None:
        while not end.wait(_POLL):
            largest[0] = max(filter(None, (largest[0], _memory("RssAnon"))), default=None)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield largest
    finally:
        end.set()
        thread.join()


def measure_apart(point: Point, work: Path, script: Path) -> dict[str, Any]:
    """The same in a new process, so that peaks of memory are those of the point alone.

    Raises:
        DataError: The process failed; the message is the last line that it printed.
    """
    command = [sys.executable, str(script), "--point", json.dumps(asdict(point)), "--work", str(work)]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        raise DataError((finished.stderr.strip().splitlines() or [f"exit code {finished.returncode}"])[-1])
    result: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
    return result


def measure_all(
    points: Sequence[Point], results: Path, work: Path, script: Path, *, apart: bool = True, retry: bool = False
) -> int:
    """Measure the points that the results file lacks, and add a line for each; return the number of failed ones.

    A killed run goes on with the next point. A point that failed is left unless `retry` is true.
    """
    done = {point_of(line): line for line in read(results)}
    failed = 0
    for number, point in enumerate(points, start=1):
        line = done.get(point)
        if line is None or (retry and "error" in line):
            note(f"[{number}/{len(points)}] {point} ...")
            line = {"point": asdict(point), **_result(point, work, script, apart=apart)}
            with write_errors(results):
                results.parent.mkdir(parents=True, exist_ok=True)
                with results.open("a", encoding="utf-8") as file:
                    file.write("\n" + json.dumps(line) + "\n")  # apart from a line that was cut short
            done[point] = line
            note(f"    {line['error']}" if "error" in line else f"    {line['seconds']} s, {line['private_mb']} MB")
        failed += "error" in line
    return failed


def _result(point: Point, work: Path, script: Path, *, apart: bool) -> dict[str, Any]:
    import torch

    try:
        result = measure_apart(point, work, script) if apart else measure(point, work)
    except Exception as error:
        return {"error": printable(str(error))}
    return {**result, "threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 2)}


def read(results: Path) -> list[dict[str, Any]]:
    """The lines of a results file, the last of each point; a line that a killed process left unfinished is left out."""
    try:
        texts = results.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    lines: dict[Point, dict[str, Any]] = {}
    for text in texts:
        with suppress(ValueError, KeyError, TypeError):
            line = json.loads(text)
            lines[point_of(line)] = line
    return list(lines.values())
