"""What the scripts around `study` share: reading options, failing in a line, saying what they would take."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Threads that wait by spinning slow a busy machine to a crawl; has to be said before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from study import costs, outlook
from study.places import Places
from study.plan import Cell
from study.presets import DATASETS

from headclust.errors import HeadclustError, SettingError, unknown
from headclust.progress import printable

if TYPE_CHECKING:
    from study.outlook import Cost, Expected


def answer(
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int],
    arguments: Sequence[str] | None = None,
) -> int:
    """Runs a script on its options; returns the exit code, 2 with one line for what a user can mend."""
    options = parser.parse_args(arguments)
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except HeadclustError as error:
        print(f"{name}.py: error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"{name}.py: interrupted: the same command goes on from here.", file=sys.stderr)
        return 130


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def folders(given: Sequence[str]) -> dict[str, Path]:
    """Data sets' folders from NAME=PATH."""
    pairs = [text.partition("=") for text in given]
    for name, equals, path in pairs:
        if not (name and equals and path):
            raise SettingError(f"--data {name}{equals}{path}: wanted NAME=PATH, for example cifar10=/data/cifar10.")
        if name not in (known := {one for dataset in DATASETS.values() for one in (dataset.name, *dataset.folders)}):
            raise unknown("data set", name, sorted(known))
    return {name: Path(path) for name, _, path in pairs}


def numbers(text: str) -> tuple[int, int]:
    """I and N from I/N."""
    part, _, of = text.partition("/")
    if not (part.isdecimal() and of.isdecimal()):
        raise SettingError(f"--shard {text}: wanted I/N, for example 3/20.")
    return int(part), int(of)


def expectation(cells: Sequence[Cell], places: Places, device: str | None) -> str:
    """What a dry run says of cells and their features."""
    return "\n".join(_told(*outlook.expect(cells, places, device=device)))


def _told(features: Sequence[Expected], cells: Sequence[Expected]) -> list[str]:
    lines = [f"FEATURES ({len(features)} files)", *_table(features), "", f"CELLS ({len(cells)})", *_table(cells), ""]
    everything = outlook.total([*features, *cells])
    left = [one for one in cells if one.state.startswith("to do")]
    lacking = sum("NOT at hand" in one.needs for one in left)
    timeless = sum(one.cost.source == "unknown" for one in left)
    cores, speeds = costs.CPU_CORES, (costs.CPU_SPEED, costs.GPU_EMBEDDING_SPEED, costs.GPU_FITTING_SPEED)
    cpu, embedding, fitting = (f"{speed / 1e12:g}" for speed in speeds)
    return [
        *lines,
        f"TOTAL: {len(left)} of {len(cells)} cells to do, {lacking} of them need data or weights that are not at hand.",
        f"Either {everything.cpu / 60:,.0f} minutes on {cores} CPU cores, or {everything.gpu / 3600:,.1f} GPU hours "
        f"and {everything.beside / 60:,.0f} minutes on the CPU for what stays there (k-means, the probes). "
        f"Disk: {everything.size / 1e9:,.1f} GB of features.",
        *(
            [f"{timeless} cells are in none of these: nobody has counted or measured their methods."]
            if timeless
            else []
        ),
        "Times are 'measured' (the median of the same fits in this results file) or 'counted': matrix products and "
        f"convolutions of the models and of a training step, at {cpu} TFLOP/s on {cores} CPU cores (docs/benchmarks.md "
        f"measures 0.2), and at {embedding} (embedding) and {fitting} TFLOP/s (fitting) on a data center's GPU beside "
        f"{costs.GPU_CORES} cores that decode, which is an assumption: no GPU has been measured.",
    ]


def _table(rows: Sequence[Expected]) -> list[str]:
    cells = [("name", "state", "minutes", "GB", "GPU h", "time is", "needs")]
    cells += [(one.name, one.state, *_amounts(one.cost), one.needs) for one in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _amounts(cost: Cost) -> tuple[str, str, str, str]:
    """Minutes on the CPU, GB, GPU hours, and where they are from."""
    if cost.source == "done":
        return "-", "-", "-", "-"
    if cost.source == "unknown":
        return "unknown", "-", "unknown", "unknown"
    return f"{cost.cpu / 60:,.1f}", f"{cost.size / 1e9:.3f}", f"{cost.gpu / 3600:.3f}", cost.source
