"""The table: backbones x data sets x methods x seeds, every method on the same frozen features.

Command:  python benchmarks/table.py [--preset offline|paper|modern] [--root FOLDER] [--data-root FOLDER] ...
          --dry-run says what it would take; --shard 1/20 makes a part, and --merge FILE ... puts parts together.
Setting:  features of the train split are fitted, the test split is scored; recipes are the methods' presets, changed as
          the study says (headclust/study/presets.py). Labels only score. Killed, it goes on where it was.
Figure:   mean and standard deviation over seeds of ACC, NMI, AMI, ARI, and the paired gain over k-means; probes of the
          features; seconds. Results are in ROOT/results.jsonl, assignments in ROOT/cells/.
Result:   see docs/benchmark.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Threads that wait by spinning slow a busy machine to a crawl; has to be said before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from headclust.cache.disk import write_errors, write_whole
from headclust.errors import DataError, HeadclustError, SettingError, unknown
from headclust.progress import note, printable
from headclust.study import costs, making, outlook, pictures, render
from headclust.study.places import Places
from headclust.study.plan import Cell, plan, shard
from headclust.study.presets import DATASETS, STUDIES, Study, find_study
from headclust.study.results import merge, read_results

if TYPE_CHECKING:
    from headclust.study.outlook import Cost, Expected

SUFFIXES = {"markdown": "md", "csv": "csv", "json": "json", "latex": "tex"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes or renders the table; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except HeadclustError as error:
        print(f"table.py: error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("table.py: interrupted: the same command goes on from here.", file=sys.stderr)
        return 130


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


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


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
        print("\n".join(told(*outlook.expect(part, places, device=options.device))))
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
                write_whole(written[0], render.FORMATS[name](results).encode())
        for path in written:
            print(path)


def told(features: Sequence[Expected], cells: Sequence[Expected]) -> list[str]:
    """What a dry run says."""
    lines = [f"FEATURES ({len(features)} files)", *table(features), "", f"CELLS ({len(cells)})", *table(cells), ""]
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


def table(rows: Sequence[Expected]) -> list[str]:
    """Lines of a table."""
    cells = [("name", "state", "minutes", "GB", "GPU h", "time is", "needs")]
    cells += [(one.name, one.state, *amounts(one.cost), one.needs) for one in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def amounts(cost: Cost) -> tuple[str, str, str, str]:
    """Minutes on the CPU, GB, GPU hours, and where they are from."""
    if cost.source == "done":
        return "-", "-", "-", "-"
    if cost.source == "unknown":
        return "unknown", "-", "unknown", "unknown"
    return f"{cost.cpu / 60:,.1f}", f"{cost.size / 1e9:.3f}", f"{cost.gpu / 3600:.3f}", cost.source


if __name__ == "__main__":
    sys.exit(main())
