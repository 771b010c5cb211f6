"""The default against k-means, other methods and its own ablations, over fifteen pairs of data set and backbone.

Command:  python benchmarks/default.py [--root FOLDER] [--data-root FOLDER] [-o FOLDER] ...
          --dry-run prints the expected cost; --only, --datasets, --backbones and --shard 1/3 make a part;
          --curve measures ACC against seconds, --calibration accuracy against confidence, instead of the table.
Setting:  the features of the study offline (benchmarks/table.py): digits, Fashion-MNIST, CIFAR-10 and CIFAR-100 (100
          and 20 classes), of the train split up to 20,000 images, the test split to score; three packaged backbones at
          128 px. Methods and numbers of seeds: benchmarks/study/contest.py. Labels are only for scores. A killed run
          resumes, and fits that benchmarks/table.py made below the same root are reused.
Figure:   mean and standard deviation of ACC over seeds; the default's gain over the stronger k-means and its distance
          to the best peer, paired by seed, with 95 % intervals; its ablations; clusters used; seconds. The oracle, the
          best head by test labels, is a separate column. With --curve ACC against seconds on one pair, to be run on
          an otherwise idle machine; with --calibration the expected calibration error, one fit per data set.
Result:   see docs/default.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from script import answer, expectation, folders, names, numbers
from study import pictures, runner
from study.calibration import calibrate, calibration_section, draw_calibration, expected_error
from study.contest import ENTRANTS, as_json, contest, contest_plan
from study.contest_tables import contest_sections
from study.places import Places
from study.plan import Cell, shard
from study.render import in_markdown
from study.results import read_results
from study.sections import Section
from study.time_to_quality import curve_plan, curve_section, draw_curves, measure
from tiny import root

from headclust.disk import write_atomically, write_errors
from headclust.errors import DataError, SettingError
from headclust.filenames import file_name
from headclust.progress import note

CURVE_DATASET = "cifar10"  # unless --datasets names one


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or show the comparison; return the exit code."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--only", type=names, default=(), help=f"of {', '.join(ENTRANTS)} only these")
    made.add_argument("--backbones", type=names, default=(), help="only these, separated by commas")
    made.add_argument("--datasets", type=names, default=(), help="only these")
    made.add_argument("--seeds", type=int, help="number for each on every backbone [each entrant's own]")
    folder = made.add_argument(
        "--root", type=Path, default=Path("benchmarks/results/offline"), help="features and results"
    )
    made.add_argument("--data-root", type=Path, default=Path("data"), help="holds cifar10/, cifar100/, fashion-mnist/")
    made.add_argument("--data", action="append", default=[], metavar="NAME=PATH", help="a data set that is elsewhere")
    made.add_argument("--device", help="cpu, cuda, cuda:N or mps [the best available]")
    made.add_argument("--shard", metavar="I/N", help="make only part I of N; several may run at once")
    made.add_argument("--retry", action="store_true", help="try again what has failed before")
    made.add_argument("--dry-run", action="store_true", help="print the expected cost, and write nothing")
    made.add_argument("--only-render", action="store_true", help="show the results so far; fit nothing")
    made.add_argument("-o", "--output", type=Path, help="folder for Markdown, JSON and pictures [Markdown on stdout]")
    instead = made.add_mutually_exclusive_group()
    instead.add_argument("--curve", action="store_true", help=f"ACC against seconds, on one pair [{CURVE_DATASET}]")
    instead.add_argument("--calibration", action="store_true", help="accuracy against confidence, on one backbone")
    tiny = {"only": ("kmeans", "own-kmeans"), "backbones": ("efficientnet_lite0",), "datasets": ("digits",), "seeds": 1}
    return answer("default", made, run, arguments, made={folder: root}, **tiny)


def run(options: argparse.Namespace) -> int:
    """Make and show the table, the curve or the calibration; return the exit code."""
    places = Places(options.root, options.data_root, folders(options.data), offline=True)
    if options.curve or options.calibration:
        check_instead(options)
    if options.output is not None:
        if options.curve or options.calibration:
            pictures.check_installed()  # before minutes of fits
        if not options.dry_run:
            with write_errors(options.output):
                options.output.mkdir(parents=True, exist_ok=True)
    if options.curve:
        return curve(options, places)
    if options.calibration:
        return calibration(options, places)
    return table(options, places)


def check_instead(options: argparse.Namespace) -> None:
    """Raise if an option of the table is given with --curve or --calibration."""
    if options.tiny:
        return
    given = {"--only": options.only, "--shard": options.shard, "--seeds": options.seeds is not None}
    given |= {"--retry": options.retry, "--only-render": options.only_render}
    for name, is_given in given.items():
        if is_given:
            raise SettingError(f"{name} is for the table: leave it out with --curve and --calibration.")


def table(options: argparse.Namespace, places: Places) -> int:
    """Make and show the table; return the exit code."""
    cells = contest_plan(
        entrants=options.only, backbones=options.backbones, datasets=options.datasets, seeds=options.seeds
    )
    part = shard(cells, *numbers(options.shard)) if options.shard else cells
    if options.dry_run:
        print(expectation(part, places, options.device))
        return 0
    unfinished = 0
    if not options.only_render:
        tally = runner.make(part, places, device=options.device, retry=options.retry)
        note(f"{tally.made} cells made, {tally.kept} done before, {tally.failed} failed: {places.results}")
        unfinished = tally.failed + tally.left
        if options.shard:
            note("no table is shown for a part: show all with --only-render when the others are done.")
            return 1 if unfinished else 0
    ids = {cell.id for cell in part}
    lines = [line for line in read_results(places.results) if line["id"] in ids]
    if not lines:
        raise DataError(f"{places.results} holds none of these fits: make them without --only-render.")
    results = contest(lines)
    show("default", contest_sections(results), as_json(results), options.output)
    return 1 if unfinished else 0


def curve(options: argparse.Namespace, places: Places) -> int:
    """Measure and show ACC against seconds; return the exit code."""
    (place,) = defaults(options.backbones[:1], options.datasets[:1] or (CURVE_DATASET,))
    if len(options.datasets) > 1 or len(options.backbones) > 1:
        raise SettingError("a curve is measured on one pair: name one data set and one backbone.")
    cells = curve_plan(place)
    if options.dry_run:
        print(expectation(cells, places, options.device))
        return 0
    name = file_name(f"curve-{place.fit.dataset.name}-{place.fit.backbone}")
    lines = measure(cells, places, places.root / f"{name}.jsonl", device=options.device)
    failed = sum(line["status"] == "failed" for line in lines)
    show(name, [curve_section(lines)], list(lines), options.output)
    if options.output is not None:
        title = f"{place.fit.dataset.name}, {place.fit.backbone}"
        print(draw_curves(lines, title, options.output / f"{name}.svg"))
    return 1 if failed else 0


def calibration(options: argparse.Namespace, places: Places) -> int:
    """Fit the default and show its accuracy against its confidence; return the exit code."""
    if len(options.backbones) > 1:
        raise SettingError("calibration is shown on one backbone: name one.")
    cells = defaults(options.backbones, options.datasets)
    if options.dry_run:
        print(expectation(cells, places, options.device))
        return 0
    tables = {cell.fit.dataset.name: calibrate(cell, places, device=options.device) for cell in cells}
    content = {
        name: {"expected_calibration_error": expected_error(bins), "bins": bins.to_dict("records")}
        for name, bins in tables.items()
    }
    show("calibration", [calibration_section(tables)], content, options.output)
    if options.output is not None:
        print(draw_calibration(tables, options.output / "calibration.svg"))
    return 0


def defaults(backbones: Sequence[str], datasets: Sequence[str]) -> tuple[Cell, ...]:
    """The default's fit with seed 0 on one backbone, Lite0 unless another is named, and each data set."""
    cells = contest_plan(entrants=("default",), backbones=backbones, datasets=datasets, seeds=1)
    return tuple(cell for cell in cells if cell.fit.backbone == cells[0].fit.backbone)


def show(name: str, sections: Sequence[Section], content: object, output: Path | None) -> None:
    """Markdown on stdout, or Markdown and JSON in a folder."""
    text = in_markdown(sections)
    if output is None:
        print(text, end="")
        return
    for path, written in (
        (output / f"{name}.md", text),
        (output / f"{name}.json", json.dumps(content, indent=2, allow_nan=False) + "\n"),
    ):
        with write_errors(path):
            write_atomically(path, written.encode())
        print(path)


if __name__ == "__main__":
    sys.exit(main())
