"""The default where classes are few, unequal or small: class subsets, long tails and small samples of the nine pairs.

Command:  python benchmarks/subsets.py [--root FOLDER] [--data-root FOLDER] [-o FILE.md] ...
          --only, --backbones, --datasets and --kinds make a part, --draws more or fewer; --only-render shows the
          results so far. A killed run resumes; two may run at once on different --backbones.
Setting:  the train features of the study offline (benchmarks/table.py), of which each draw takes some rows:
          six    six classes at random, 4,000 images at most
          tail   all classes, their sizes falling geometrically in random order, the first 20 times the last, of up to
                 4,000 images
          small  200 images at random
          long   as tail, without a limit of images
          steep  as tail, the first 100 times the last
          Two draws each by default; fitted and scored on the same rows, with the number of classes among them. Draw and
          fit have the same seed. Labels define the data sets and score; no fit uses them.
Figure:   mean ACC of each entrant; the default's gain over each, paired by draw, with 95 % intervals.
Expected: above k-means in all three; ahead of spectral on average.
Result:   see docs/default.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from script import answer, folders, names
from study.cells import Pair, key_of, recipe_of
from study.contest import ENTRANTS, contest_plan
from study.places import Places, make_features
from study.plan import Cell
from study.render import in_markdown
from study.sections import Section, gain_cells, percent_text
from tiny import root

from headclust.device import resolve_device
from headclust.disk import write_atomically, write_errors
from headclust.errors import DataError, SettingError, unknown
from headclust.features import Features, load_features
from headclust.progress import note
from headclust.runs.scored_fit import fit_and_score
from headclust.scoring.statistics import gain, paired, spread

KINDS = ("six", "tail", "small", "long", "steep")
DRAWS = 2
AT_MOST, SMALL, RATIO, STEEP = 4_000, 200, 20, 100
FIT = ["backbone", "dataset", "entrant", "kind", "draw"]  # columns that name a fit
EVERYWHERE = ("default", "kmeans", "own-kmeans", "spectral")
ON_THE_FIRST = (
    *EVERYWHERE,
    *(entrant.key for entrant in ENTRANTS.values() if entrant.part == "ablation" and entrant.key != "views=false"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or show the comparison; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=names, default=(), help=f"of {', '.join(ENTRANTS)} only these")
    parser.add_argument("--backbones", type=names, default=(), help="only these, separated by commas")
    parser.add_argument("--datasets", type=names, default=(), help="only these")
    parser.add_argument("--kinds", type=names, default=KINDS[:3], help=f"of {', '.join(KINDS)} only these")
    parser.add_argument("--draws", type=int, default=DRAWS, help="data sets of a kind [2]")
    folder = parser.add_argument(
        "--root", type=Path, default=Path("benchmarks/results/offline"), help="features and results"
    )
    parser.add_argument("--data-root", type=Path, default=Path("data"), help="holds cifar10/ and fashion-mnist/")
    parser.add_argument("--data", action="append", default=[], metavar="NAME=PATH", help="a data set that is elsewhere")
    parser.add_argument("--only-render", action="store_true", help="show the results so far; fit nothing")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="Markdown to write [stdout]")
    tiny = {"only": ("kmeans", "own-kmeans"), "backbones": ("efficientnet_lite0",), "datasets": ("digits",), "draws": 1}
    return answer("subsets", parser, run, arguments, made={folder: root}, **tiny)


def run(options: argparse.Namespace) -> int:
    """Make the missing fits and show the table; return the exit code."""
    places = Places(options.root, options.data_root, folders(options.data), offline=True)
    path = options.root / "subsets.jsonl"
    lines = {line["key"]: line for line in read(path)}
    for kind in options.kinds:
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
    cells = plan(options)
    if not options.only_render:
        for line in measure(cells, options, places, set(lines)):
            with write_errors(path), path.open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps(line) + "\n")  # apart from a line that was cut short
            lines[line["key"]] = line
    table = pd.DataFrame(list(lines.values()), columns=[*FIT, "accuracy"]).drop_duplicates(FIT, keep="last")
    chosen = pd.DataFrame(list(map(names_of, cells)), columns=FIT[:3])
    table = table[table["kind"].isin(options.kinds) & (table["draw"] < options.draws)].merge(chosen.drop_duplicates())
    if table.empty:
        raise DataError(f"{path} holds none of these fits: make them without --only-render.")
    text = in_markdown([section(table)])
    if options.output is None:
        print(text, end="")
    else:
        with write_errors(options.output):
            write_atomically(options.output, text.encode())
    return 0


def plan(options: argparse.Namespace) -> list[Cell]:
    """The fits, one per entrant and pair: the draws are their seeds."""
    entrants = options.only or ON_THE_FIRST
    cells = contest_plan(entrants=entrants, backbones=options.backbones, datasets=options.datasets, seeds=1)
    return [
        cell
        for cell in cells
        if names_of(cell)[2] in (options.only or EVERYWHERE) or cell.fit.backbone.endswith("lite0")
    ]


def names_of(cell: Cell) -> tuple[str, str, str]:
    """Backbone, data set and entrant of a fit."""
    recipe = (cell.method, dict(cell.settings))
    entrant = next(key for key, (_, row, _) in ENTRANTS.items() if (row.method, dict(row.settings)) == recipe)
    return cell.fit.backbone, cell.fit.dataset.name, entrant


def measure(
    cells: Sequence[Cell], options: argparse.Namespace, places: Places, done: set[str]
) -> Iterator[dict[str, Any]]:
    """Run the missing fits; yield one line per fit, with the checksum of all that determines it as `key`."""
    device = resolve_device()
    for cell in cells:
        features = load_features(make_features(cell.fit, places))
        for kind, draw in product(options.kinds, range(options.draws)):
            part, seeded = take(features, kind, draw), replace(cell, seed=draw)
            recipe = recipe_of(seeded, part)
            key = key_of(seeded, Pair(part, part, device), recipe)
            if key in done:
                continue
            report = fit_and_score([part], recipe, draw, device=device).report
            backbone, dataset, entrant = names_of(cell)
            note(f"{backbone} {dataset} {kind} {draw} {entrant}: {percent_text(report['accuracy'])}")
            fit = {"backbone": backbone, "dataset": dataset, "kind": kind, "draw": draw, "entrant": entrant}
            yield {"key": key, **fit, "n_samples": part.n_samples, **report}


def take(features: Features, kind: str, draw: int) -> Features:
    """Some rows of features, with their views."""
    assert features.labels is not None
    rows = drawn(features.labels, kind, np.random.default_rng([draw, KINDS.index(kind)]))
    views = [features.rows(rows).numpy(), *(features.rows(rows, view=view).numpy() for view in range(features.n_views))]
    return replace(
        features,
        path=None,
        sample_ids=tuple(features.sample_ids[row] for row in rows),
        labels=features.labels[rows],
        sha256=hashlib.sha256(features.sha256.encode() + rows.tobytes()).hexdigest(),
        _open=lambda view: views[0 if view is None else view + 1],
    )


def drawn(labels: NDArray[np.int64], kind: str, generator: np.random.Generator) -> NDArray[np.int64]:
    """The rows of one draw, in order."""
    if kind == "small":
        return np.sort(generator.choice(len(labels), min(SMALL, len(labels)), replace=False))
    classes = generator.permutation(np.unique(labels))
    if kind == "six":
        rows = np.flatnonzero(np.isin(labels, classes[:6]))
        return np.sort(generator.choice(rows, min(AT_MOST, len(rows)), replace=False))
    ratio = STEEP if kind == "steep" else RATIO
    shares = ratio ** -(np.arange(len(classes)) / (len(classes) - 1))
    rows_of = [np.flatnonzero(labels == label) for label in classes]
    at_most = len(labels) if kind == "long" else AT_MOST
    scale = min(at_most / shares.sum(), *(len(rows) / share for rows, share in zip(rows_of, shares, strict=True)))
    parts = [
        generator.choice(rows, int(scale * share), replace=False) for rows, share in zip(rows_of, shares, strict=True)
    ]
    return np.sort(np.concatenate(parts))


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, without any that a killed process left unfinished; none without a file."""
    try:
        texts = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}.") from None
    lines = []
    for text in texts:
        with suppress(ValueError):
            lines.append(json.loads(text))
    return lines


def section(table: pd.DataFrame) -> Section:
    """One row per kind and entrant: ACC on each data set, and the default's gain."""
    datasets = sorted(table["dataset"].unique())
    accuracies = {
        name: fits.set_index(["dataset", "backbone", "draw"])["accuracy"].to_dict()
        for name, fits in table.groupby(["kind", "entrant"])
    }
    rows = []
    for kind, entrant in product(KINDS, ENTRANTS):
        by_fit = accuracies.get((kind, entrant))
        if not by_fit:
            continue
        means = [spread([value for fit, value in by_fit.items() if fit[0] == name]) for name in datasets]
        over = gain(paired(accuracies.get((kind, "default"), {}), by_fit)) if entrant != "default" else None
        cells = [percent_text(part and part.mean) for part in means]
        rows.append((kind, entrant, *cells, *gain_cells(over), str(len(by_fit))))
    columns = ("draws of", "method", *(f">{name}" for name in datasets), ">default over it", ">95 %", ">fits")
    notes = (
        "ACC in percent on the fitted rows, mean over draws and backbones. The gain of the default in points is paired "
        "by rows and seed; 95 %: interval by Student's t over these pairs, which are assumed to be independent.",
    )
    return Section("Few classes, unequal classes, few images", columns, rows, notes)


if __name__ == "__main__":
    sys.exit(main())
