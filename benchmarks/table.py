"""The table: backbones x data sets x methods x seeds, every method on the same frozen features.

Command:  python benchmarks/table.py [--preset offline|paper|modern] [--root FOLDER] [--data-root FOLDER] ...
          --dry-run says what it would take; --shard 1/20 makes a part, and --merge FILE ... puts parts together.
Setting:  features of the train split are fitted, the test split is scored; recipes are the methods' presets, changed as
          the study says (benchmarks/study/presets.py). Labels only score. Killed, it goes on where it was.
Figure:   mean and standard deviation over seeds of ACC, NMI, AMI, ARI, and the paired gain over k-means; probes of the
          features; seconds. Results are in ROOT/results.jsonl, assignments in ROOT/cells/.
Result:   see docs/benchmark.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from script import answer, expectation, folders, names, numbers
from study import making, pictures, render
from study.places import Places
from study.plan import Cell, plan, shard
from study.presets import STUDIES, Study, find_study
from study.results import merge, read_results

from headclust.disk import write_atomically, write_errors
from headclust.errors import DataError, SettingError
from headclust.progress import note

SUFFIXES = {"markdown": "md", "csv": "csv", "json": "json", "latex": "tex"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes or renders the table; returns the exit code."""
    return answer("table", parser(), run, arguments)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--preset", default="offline", help=f"which table: {', '.join(STUDIES)} [offline]")
    made.add_argument("--backbones", type=names, default=(), help="only these, separated by commas")
    made.add_argument("--datasets", type=names, default=(), help="only these")
    made.add_argument("--methods", type=names, default=(), help="only these")
    made.add_argument("--recipes", type=names, default=(), help="only these presets of the methods: ours, authors")
    made.add_argument("--seeds", type=int, help="so many on every backbone [the table's own]")
    made.add_argument("--max-seconds", type=float, help="limit of a training, where the table sets one; 0 for none")
    made.add_argument("--ablations", action="store_true", help="with ACC against heads, neighbors and beta")
    made.add_argument("--root", type=Path, help="features and results [benchmarks/results/PRESET]")
    made.add_argument("--data-root", type=Path, default=Path("data"), help="holds cifar10/, imagenet/ and so on")
    made.add_argument("--data", action="append", default=[], metavar="NAME=PATH", help="a data set that is elsewhere")
    made.add_argument("--online", action="store_true", help="download weights that are not at hand")
    made.add_argument("--device", help="cpu, cuda, cuda:N or mps [the best there is]")
    made.add_argument("--shard", metavar="I/N", help="make only part I of N")
    made.add_argument(
        "--merge", type=Path, nargs="+", default=(), metavar="FILE", help="take in other results; fit none"
    )
    made.add_argument("--retry", action="store_true", help="try again what has failed before")
    made.add_argument("--dry-run", action="store_true", help="say what it would take, and write nothing")
    made.add_argument("--only-render", action="store_true", help="render what there is; fit nothing")
    made.add_argument("--format", type=names, default=("markdown",), help="markdown, csv, json, latex, pictures, all")
    made.add_argument("-o", "--output", type=Path, help="folder for table.md and so on [Markdown on stdout]")
    return made


def run(options: argparse.Namespace) -> int:
    """What the options ask for."""
    formats = chosen_formats(options)
    study = find_study(options.preset)
    if options.merge and (options.shard or options.dry_run):
        raise SettingError("--merge puts whole results together: leave out --shard and --dry-run.")
    root = options.root or Path("benchmarks/results") / study.name
    places = Places(root, options.data_root, folders(options.data), offline=not options.online)
    cells = chosen_cells(options, study)
    part = shard(cells, *numbers(options.shard)) if options.shard else cells
    if options.dry_run:
        print(expectation(part, places, options.device))
        return 0
    prepare(formats, options.output)
    unfinished = 0
    if options.merge:
        note(f"{merge(places.results, options.merge)} lines added to {places.results}.")
    elif not options.only_render:
        tally = making.make(part, places, device=options.device, retry=options.retry)
        note(f"{tally.made} cells made, {tally.kept} there before, {tally.failed} failed: {places.results}")
        unfinished = tally.failed + tally.left
    if options.shard and not options.only_render and options.output is None:
        note("a part shows no table: put the parts together with --merge, or show this one with --only-render.")
    else:
        write(part, places, formats, options.output)
    return 1 if unfinished else 0


def chosen_cells(options: argparse.Namespace, study: Study) -> tuple[Cell, ...]:
    """The cells asked for; what was named and has none is told."""
    cells = plan(
        study,
        backbones=options.backbones,
        datasets=options.datasets,
        methods=options.methods,
        presets=options.recipes,
        seeds=options.seeds,
        max_seconds=options.max_seconds,
        ablations=options.ablations,
    )
    for method in options.methods:
        if all(cell.method != method for cell in cells):
            note(f"{method} has no cell: the table {study.name} has no such recipe of it on these backbones.")
    for preset in options.recipes:
        if all(cell.preset != preset for cell in cells):
            note(f"recipes {preset} have no cell: the table {study.name} has none of these methods on these backbones.")
    if options.ablations and not any(cell.curve for cell in cells):
        base = study.curve_row
        note(f"no ablations: they are of {base.method} {base.preset}, which is not among what was chosen.")
    return cells


def prepare(formats: Sequence[str], output: Path | None) -> None:
    """What showing the table needs, looked for before hours of fits."""
    if "pictures" in formats:
        pictures.check_installed()
    if output is not None:
        with write_errors(output):
            output.mkdir(parents=True, exist_ok=True)


def chosen_formats(options: argparse.Namespace) -> tuple[str, ...]:
    """The formats asked for."""
    known = (*SUFFIXES, "pictures")
    wanted = known if "all" in options.format else options.format
    if not wanted:
        raise SettingError(f"no format: wanted {', '.join(known)} or all.")
    for name in wanted:
        if name not in known:
            raise SettingError(f"unknown format {name!r}: wanted {', '.join(known)} or all.")
    if options.output is None and (len(wanted) != 1 or "pictures" in wanted):
        raise SettingError("one format can go to stdout: name a folder for several, or for pictures, with -o FOLDER.")
    return wanted


def write(cells: Sequence[Cell], places: Places, formats: Sequence[str], output: Path | None) -> None:
    """Renders what the results file knows of the cells."""
    wanted = {cell.id for cell in cells}
    results = [line for line in read_results(places.results) if line["id"] in wanted]
    if not results:
        raise DataError(f"{places.results} holds none of this table's cells: make them without --only-render.")
    if output is None:
        print(render.FORMATS[formats[0]](results), end="")
        return
    for name in formats:
        if name == "pictures":
            written = pictures.draw(results, output, assignments_below=places.root)
        else:
            written = [output / f"table.{SUFFIXES[name]}"]
            with write_errors(written[0]):
                write_atomically(written[0], render.FORMATS[name](results).encode())
        for path in written:
            print(path)


if __name__ == "__main__":
    sys.exit(main())
