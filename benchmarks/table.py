"""The table: backbones x data sets x methods x seeds, every method on the same frozen features.

Command:  python benchmarks/table.py [--preset offline|paper|modern] [--root FOLDER] [--data-root FOLDER] ...
          --dry-run shows what is to do; --shard 1/20 makes one part, and --merge FILE ... puts parts together.
Setting:  features of the train split are fitted, the test split is scored; recipes are the methods' presets, changed as
          the study does (benchmarks/study/presets.py). Labels are only for scores. A killed run resumes.
Figure:   mean and standard deviation over seeds of ACC, NMI, AMI, ARI, and the paired gain over k-means; probes of the
          features; seconds. Results are in ROOT/results.jsonl, assignments in ROOT/cells/.
Result:   see docs/benchmark.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from script import answer, expectation, feature_files, folders, names, numbers
from study import pictures, render, runner
from study.places import Places
from study.plan import Cell, plan, shard
from study.presets import STUDIES, Study, find_study
from study.results import merge, read_results
from tiny import root

from headclust.disk import write_atomically, write_errors
from headclust.errors import DataError, SettingError
from headclust.progress import note

SUFFIXES = {"markdown": "md", "csv": "csv", "json": "json", "latex": "tex"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or render the table and return the exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--preset", default="offline", help=f"which table: {', '.join(STUDIES)} [offline]")
    add("--backbones", type=names, default=(), help="only these, separated by commas")
    add("--datasets", type=names, default=(), help="only these")
    add("--methods", type=names, default=(), help="only these")
    add("--recipes", type=names, default=(), help="only these presets of the methods: ours, authors")
    add("--seeds", type=int, help="number of seeds on every backbone [the table's own]")
    add("--max-seconds", type=float, help="limit of a training stage, where the table sets one; 0 for none")
    add("--ablations", action="store_true", help="with ACC against heads, neighbors and beta")
    folder = add("--root", type=Path, help="features and results [benchmarks/results/PRESET]")
    add("--data-root", type=Path, default=Path("data"), help="holds cifar10/, imagenet/ and so on")
    add("--data", action="append", default=[], metavar="NAME=PATH", help="a data set that is elsewhere")
    add(
        "--features",
        action="append",
        default=[],
        metavar="NAME=FILE[,TEST]",
        help="your own feature file with labels, instead of backbones and data sets; TEST is scored, or else FILE",
    )
    add("--online", action="store_true", help="download weights that are not on this machine")
    add("--device", help="cpu, cuda, cuda:N or mps [the best available]")
    add("--shard", metavar="I/N", help="make only part I of N")
    add("--merge", type=Path, nargs="+", default=(), metavar="FILE", help="add other results files; fit nothing")
    add("--retry", action="store_true", help="try again what has failed before")
    add("--dry-run", action="store_true", help="show the cells to make, their needs and expected time; write nothing")
    add("--only-render", action="store_true", help="render the results; fit nothing")
    add("--format", type=names, default=("markdown",), help="markdown, csv, json, latex, pictures, all")
    add("-o", "--output", type=Path, help="folder for table.md and so on [Markdown on stdout]")
    tiny = {"backbones": ("efficientnet_lite0",), "datasets": ("digits",), "methods": ("kmeans",), "seeds": 1}
    return answer("table", options, run, arguments, made={folder: root}, **tiny)


def run(options: argparse.Namespace) -> int:
    """Do what the options ask for and return the exit code."""
    formats = chosen_formats(options)
    study = find_study(options.preset)
    if options.merge and (options.shard or options.dry_run):
        raise SettingError("--merge takes complete results files: leave out --shard and --dry-run.")
    root = options.root or Path("benchmarks/results") / study.name
    places = Places(root, options.data_root, folders(options.data), offline=not options.online)
    cells = chosen_cells(options, study)
    if options.shard:
        cells = shard(cells, *numbers(options.shard))
    if options.dry_run:
        print(expectation(cells, places, options.device))
        return 0
    prepare(formats, options.output)
    unfinished = 0
    if options.merge:
        note(f"{merge(places.results, options.merge)} lines added to {places.results}.")
    elif not options.only_render:
        tally = runner.make(cells, places, device=options.device, retry=options.retry)
        note(f"{tally.made} cells made, {tally.kept} done before, {tally.failed} failed: {places.results}")
        unfinished = tally.failed + tally.left
    if options.shard and not options.only_render and options.output is None:
        note("no table is shown for a part: merge the parts with --merge, or show this one with --only-render.")
    else:
        write(cells, places, formats, options.output)
    return 1 if unfinished else 0


def chosen_cells(options: argparse.Namespace, study: Study) -> tuple[Cell, ...]:
    """The cells that the options choose; a name that has no cell is noted on stderr."""
    if options.features and (options.backbones or options.datasets):
        raise SettingError("--features takes the place of --backbones and --datasets: leave them out.")
    cells = plan(
        study,
        backbones=options.backbones,
        datasets=options.datasets,
        methods=options.methods,
        presets=options.recipes,
        seeds=options.seeds,
        max_seconds=options.max_seconds,
        ablations=options.ablations,
        own=feature_files(options.features),
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
    """Raise before hours of fits if the table could not be shown after them."""
    if "pictures" in formats:
        pictures.check_installed()
    if output is not None:
        with write_errors(output):
            output.mkdir(parents=True, exist_ok=True)


def chosen_formats(options: argparse.Namespace) -> tuple[str, ...]:
    """The formats that the options choose."""
    choices = (*SUFFIXES, "pictures")
    formats: tuple[str, ...] = choices if "all" in options.format else options.format
    if not formats:
        raise SettingError(f"no format: expected {', '.join(choices)} or all.")
    for name in formats:
        if name not in choices:
            raise SettingError(f"unknown format {name!r}: expected {', '.join(choices)} or all.")
    if options.output is None and (len(formats) != 1 or "pictures" in formats):
        raise SettingError("one format can go to stdout: name a folder for several, or for pictures, with -o FOLDER.")
    return formats


def write(cells: Sequence[Cell], places: Places, formats: Sequence[str], output: Path | None) -> None:
    """Render what the results file records of the cells."""
    ids = {cell.id for cell in cells}
    results = [line for line in read_results(places.results) if line["id"] in ids]
    if not results:
        raise DataError(f"{places.results} holds none of this table's cells: make them without --only-render.")
    if output is None:
        print(render.FORMATS[formats[0]](results), end="")
        return
    for name in formats:
        if name == "pictures":
            paths = pictures.draw(results, output, assignments_below=places.root)
        else:
            paths = [output / f"table.{SUFFIXES[name]}"]
            with write_errors(paths[0]):
                write_atomically(paths[0], render.FORMATS[name](results).encode())
        for path in paths:
            print(path)


if __name__ == "__main__":
    sys.exit(main())
