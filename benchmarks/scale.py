"""Growth of seconds and memory with the number of samples, dimensions and clusters, and goals that are checked.

Command:  python benchmarks/scale.py --write docs/scale.md
          --only default,goals measures a part; --only-render shows the results so far; --costs measures the unit costs
          with which `benchmarks/table.py --dry-run` expects the time of a cell, into benchmarks/study/costs.json.
Setting:  made-up features (benchmarks/scaling/mixture.py), CPU. Each point is measured in a process of its own, on an
          otherwise idle machine; libraries are loaded before. A killed run resumes: points that the results file
          has are not measured again.
Figure:   seconds of the wall clock, CPU seconds of all threads, largest private memory (RssAnon) and peak with pages of
          mapped files (VmHWM); exponents per part; goals beside the results; extrapolations, marked as such.
Expected: the goals are met.
Result:   see docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from scaling.page import draw, insert, tables
from scaling.plan import CURVES, GOALS, chosen, tiny_points
from scaling.points import Point, measure, measure_all, read
from script import answer, names
from study import costs, pictures

from headclust.disk import write_atomically, write_errors
from headclust.errors import unknown
from headclust.progress import note
from headclust.versions import versions

WORK = Path("benchmarks/results/scale")
NAMES = (*CURVES, GOALS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and show; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=names, default=(), help=f"of {', '.join(NAMES)} only these")
    work = parser.add_argument(
        "--work", type=Path, default=WORK, help=f"folder for features and results.jsonl [{WORK}]"
    )
    parser.add_argument("--retry", action="store_true", help="measure again what has failed before")
    parser.add_argument("--only-render", action="store_true", help="show the results so far; measure nothing")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write tables and pictures into a page [stdout]")
    parser.add_argument("--costs", action="store_true", help=f"measure unit costs instead, into {costs.FILE.name}")
    parser.add_argument("--point", help=argparse.SUPPRESS)  # measure one point, as each process does
    return answer("scale", parser, run, arguments, made={work: lambda folder: folder})


def run(options: argparse.Namespace) -> int:
    """Measure a point, the unit costs, or all points; show; return the exit code."""
    if options.point:
        print(json.dumps(measure(Point(**json.loads(options.point)), options.work)))
        return 0
    if options.costs:
        return write_costs(tiny=options.tiny)
    for name in options.only:
        if name not in NAMES:
            raise unknown("part", name, NAMES)
    if options.write:
        pictures.check_installed()
    points = tiny_points() if options.tiny else chosen(options.only)
    results, failed = options.work / "results.jsonl", 0
    if not options.only_render:
        failed = measure_all(points, results, options.work, Path(__file__), apart=not options.tiny, retry=options.retry)
    lines = read(results)
    text = tables(lines)
    if options.write is None:
        print(text, end="")
    else:
        with write_errors(options.write):
            page = insert(text, options.write.read_text(encoding="utf-8"))
            write_atomically(options.write, page.encode())
            for path in (options.write, *draw(lines, options.write.with_suffix(""))):
                print(path)
    if failed:
        note(f"{failed} points failed: their rows say why.")
    return 1 if failed else 0


def write_costs(*, tiny: bool) -> int:
    """Measure the unit costs and write them; tiny ones are only printed."""
    from scaling.units import measure_units

    made_with = {"command": "python benchmarks/scale.py --costs", "device": "cpu", "threads": 1}
    content = {**made_with, "versions": versions(["torch", "numpy"]), "units": measure_units(0.05 if tiny else 1.0)}
    text = json.dumps(content, indent=1) + "\n"
    if tiny:
        print(text)
        return 0
    with write_errors(costs.FILE):
        write_atomically(costs.FILE, text.encode())
    print(costs.FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
