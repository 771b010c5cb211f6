"""Threads of OpenMP that wait by spinning: seconds of `headclust fit`, on idle cores and beside busy processes.

Command:  python benchmarks/waiting.py FEATURES.h5 --busy 0 --json
          python benchmarks/waiting.py FEATURES.h5 --busy 2 --json
Setting:  `headclust fit FEATURES` in a process of its own with each of `POLICIES`, in turn, --repeats times, beside
          --busy processes that compute without end. `passive` never spins, `default` is that of the runtime.
Figure:   Per policy the median wall seconds and CPU seconds, and `over_ours`, the wall seconds divided by those of the
          command line's own value.
Expected: on two idle cores passive takes 1.2 times as long or more; beside two busy processes default twice as long.
Result:   see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from script import answer
from tiny import feature_file

OURS = "ours"
POLICIES = {
    OURS: {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
    "spin 100,000": {"GOMP_SPINCOUNT": "100000"},
    "default": {"GOMP_SPINCOUNT": "300000"},
}
# Ends with its parent, even if that is killed.
_LOAD = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(10_000))"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    features = parser.add_argument("features", type=Path)
    parser.add_argument("--clusters", type=int, default=10)
    parser.add_argument("--busy", type=int, default=0, help="processes that compute meanwhile")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the JSON object in one line")
    return answer("waiting", parser, run, arguments, made={features: feature_file}, clusters=2, repeats=1)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in POLICIES}
    load = [subprocess.Popen([sys.executable, "-c", _LOAD]) for _ in range(options.busy)]
    try:
        for _ in range(options.repeats):
            for name, policy in POLICIES.items():
                seconds[name].append(fit_seconds(options.features, options.clusters, policy))
    finally:
        for process in load:
            process.kill()
            process.wait()
    own = statistics.median(wall for wall, _ in seconds[OURS])
    report = {}
    for name, runs in seconds.items():
        wall, cpu = (statistics.median(values) for values in zip(*runs, strict=True))
        walls = [wall for wall, _ in runs]
        report[name] = {"wall": wall, "range": [min(walls), max(walls)], "cpu": cpu, "over_ours": wall / own}
    print(json.dumps({"busy": options.busy, **report}, indent=None if options.json else 2))


def fit_seconds(features: Path, n_clusters: int, policy: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of a fit by the command line."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "headclust", "fit", str(features), "-k", str(n_clusters), "-q"]
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [*command, "-o", f"{folder}/run"], env=environment | policy, check=True, stdout=subprocess.DEVNULL
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


if __name__ == "__main__":
    sys.exit(main())
