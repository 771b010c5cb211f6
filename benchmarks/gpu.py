"""Every part on a GPU and on the CPU beside it: seconds, and how far the results are apart.

Command:  python benchmarks/gpu.py
          A line per part is added to --work when it is measured: the same command resumes, --only measures a part.
Setting:  made-up features (benchmarks/scaling/mixture.py), backbones with random weights, sizes as in the table. The
          second of two runs on the GPU counts; the first loads kernels.
Figure:   seconds on both, ratio, largest difference of the results and its tolerance; per backbone also images per
          second. Expected seconds are estimates for one H200, by arithmetic (40 TFLOP/s in float32, 2.5 ms per training
          step): nobody has measured them.
Expected: under 10 minutes in all; differences within tolerance.
Result:   none yet: the project has no machine with a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from scaling.gpu_parts import TINY, Compute, Part, Sizes, parts
from script import answer, names

from headclust.device import description, resolve_device
from headclust.disk import write_errors
from headclust.errors import SettingError
from headclust.progress import note, printable
from headclust.versions import versions

WORK = Path("benchmarks/results/gpu")
_LIBRARIES = ("headclust", "torch", "numpy")
Line = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and show; return the exit code: 1 if a part failed, or a difference is above its tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps [the best available]")
    parser.add_argument("--only", type=names, default=(), help="parts whose names begin so, separated by commas")
    work = parser.add_argument("--work", type=Path, default=WORK, help=f"folder for results.jsonl [{WORK}]")
    return answer("gpu", parser, run, arguments, made={work: lambda folder: folder})


def run(options: argparse.Namespace) -> int:
    """Measure the parts that the results file lacks; print the table."""
    device = resolve_device(options.device)
    if device.type == "cpu" and options.device is None and not options.tiny:
        raise SettingError("PyTorch finds no GPU here: name a device with --device, or try the script with --tiny.")
    sizes = TINY if options.tiny else Sizes()
    chosen = [part for part in parts(sizes) if not options.only or part.name.startswith(options.only)]
    if not chosen:
        listed = ", ".join(part.name for part in parts(sizes))
        raise SettingError(f"--only {','.join(options.only)}: no such part; there are {listed}.")
    machine = {**description(device), **versions(_LIBRARIES)}
    results = options.work / "results.jsonl"
    done = {line["part"]: line for line in read(results) if line["machine"] == machine and line["tiny"] == options.tiny}
    for number, part in enumerate(chosen, start=1):
        if part.name in done:
            continue
        note(f"[{number}/{len(chosen)}] {part.name}, {part.sizes} ...")
        line = {"part": part.name, "tiny": options.tiny, "machine": machine, **measure(part, device)}
        with write_errors(results):
            results.parent.mkdir(parents=True, exist_ok=True)
            with results.open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps(line) + "\n")  # apart from a line that was cut short
        done[part.name] = line
    print(table(chosen, done, machine))
    return int(any("error" in done[part.name] or _is_off(part, done[part.name]) for part in chosen))


def measure(part: Part, device: torch.device) -> Line:
    """Seconds of the first run and of the second on the device, of one on the CPU, and the difference of the results.

    A part that fails has an `error` instead: the others are measured all the same.
    """
    try:
        compute = part.prepare()
        expected, cpu = _timed(compute, torch.device("cpu"))
        result, first = _timed(compute, device)
        seconds = first
        if device.type != "cpu":  # the first run loads kernels
            result, seconds = _timed(compute, device)
        difference = part.compare(result, expected)
    except Exception as error:
        return {"error": printable(" ".join(f"{type(error).__name__}: {error}".split()))[:300]}
    return {"cpu": cpu / part.on_cpu, "first": first, "seconds": seconds, "difference": difference}


def _timed(compute: Compute, device: torch.device) -> tuple[Any, float]:
    """The result, which is on the CPU, and seconds."""
    start = time.perf_counter()
    result = compute(device)
    return result, time.perf_counter() - start


def _is_off(part: Part, line: Line) -> bool:
    """True if the results differ by more than rounding explains; NaN does."""
    return "error" in line or not line["difference"] <= part.tolerance


def read(results: Path) -> list[Line]:
    """The lines of the results file; one that a killed process left unfinished is left out."""
    lines = []
    with suppress(FileNotFoundError):
        for text in results.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                lines.append(json.loads(text))
    return lines


def table(chosen: Sequence[Part], done: dict[str, Line], machine: Line) -> str:
    """All parts, in Markdown."""
    header = ("part", "sizes", "CPU s", "device s", "first s", "ratio", "expected s (estimate)", "difference", "within")
    rows = [header, ("---",) * len(header)]
    for part in chosen:
        line = done[part.name]
        limits = "{:.2g} to {:.2g}".format(*part.expected)
        if "error" in line:
            rows.append((part.name, part.sizes, "", "", "", "", limits, line["error"], "failed"))
            continue
        times = [f"{line[name]:.3g}" for name in ("cpu", "seconds", "first")]
        if part.images:
            times[1] += f" ({part.images / line['seconds']:,.0f} images/s)"
        within = "reported" if part.tolerance == float("inf") else "**no**" if _is_off(part, line) else "yes"
        difference = f"{line['difference']:.1e} {part.difference}"
        ratio = f"{line['cpu'] / line['seconds']:.3g}"
        rows.append((part.name, part.sizes, *times, ratio, limits, difference, within))
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n".join([*("| " + " | ".join(row) + " |" for row in rows), "", f"Measured with: {facts}."])


if __name__ == "__main__":
    sys.exit(main())
