"""The confusion matrix of a cell, from the assignments that are kept beside the results file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from headclust.errors import DataError, HeadclustError, one_line
from headclust.filenames import file_name
from headclust.methods import DEFAULT_METHOD
from headclust.progress import note, printable
from headclust.scoring import metrics
from study.results import ASSIGNMENTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = 24  # classes up to which names and numbers fit
_TOLD = 0.02  # shares from which the number is written


@dataclass(frozen=True)
class Confusion:
    """Where the samples of each class went.

    Attributes:
        shares: Of a class (row) in a cluster (column), (classes, clusters). The clusters that are matched to a class
            one-to-one, as in ACC, stand below one another's classes; those left over come last.
        classes: Names, one a row.
        clusters: Ids, one a column.
        matched: How many clusters are matched: the length of the diagonal that counts.
    """

    shares: NDArray[np.float64]
    classes: tuple[str, ...]
    clusters: tuple[int, ...]
    matched: int


def confusion_of(assignments: NDArray[np.int64], labels: NDArray[np.int64], names: Iterable[str] = ()) -> Confusion:
    """The confusion of clusters with classes, for labels of which -1 is unknown.

    Args:
        assignments: Clusters, (n_samples,).
        labels: Classes, (n_samples,).
        names: Of the classes by label; the labels themselves where there are none.

    Raises:
        DataError: No label is known.
    """
    counts = metrics.confusion(assignments, labels)
    known = labels >= 0
    clusters, classes = np.unique(assignments[known]), np.unique(labels[known])
    rows, columns = linear_sum_assignment(counts, maximize=True)
    by_class = np.argsort(columns)
    first = rows[by_class]
    order = np.concatenate([first, np.setdiff1d(np.arange(len(counts)), first)])
    # Classes without a cluster of their own come last, so that the diagonal stays one.
    class_order = np.concatenate([columns[by_class], np.setdiff1d(np.arange(len(classes)), columns)])
    shares = (counts / counts.sum(axis=0))[order][:, class_order].T
    listed = list(names)
    told = [listed[one] if one < len(listed) else str(one) for one in classes[class_order].tolist()]
    return Confusion(shares, tuple(told), tuple(clusters[order].tolist()), len(rows))


def draw_confusion(lines: Iterable[Mapping[str, Any]], root: Path) -> Iterator[tuple[str, Figure]]:
    """A picture a data set, by the data set's name: of its first backbone, by the default method where it was run."""
    for line in _cells(lines):
        try:
            found = _confusion(root, line)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, HeadclustError) as error:
            note(f"{line.get('assignments')}: no confusion matrix of {line.get('id')}: {one_line(error)}")
            continue
        told = [str(line.get(name)) for name in ("backbone", "method", "preset")]
        title = f"{line.get('dataset')} ({line.get('eval_split')}): {', '.join(told)}, seed {line.get('seed')}"
        yield file_name(str(line.get("dataset"))), _draw(found, title)


def _cells(lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The cell of each data set that is drawn."""
    done = [line for line in lines if line.get("kind") == "fit" and line.get("status") == "done"]
    done = [line for line in done if line.get("role") != "ablation" and line.get("assignments")]
    chosen: dict[str, Mapping[str, Any]] = {}
    for line in sorted(done, key=_first):
        chosen.setdefault(str(line.get("dataset")), line)
    return [chosen[name] for name in sorted(chosen)]


def _first(line: Mapping[str, Any]) -> tuple[Any, ...]:
    usual = line.get("preset") == "ours", line.get("method") == DEFAULT_METHOD, not line.get("settings")
    return (*(not one for one in usual), str(line.get("backbone")), line.get("seed") or 0, str(line.get("id")))


def _confusion(root: Path, line: Mapping[str, Any]) -> Confusion:
    """The confusion of what was kept of a cell."""
    name = Path(str(line["assignments"]))
    if name.parent != Path(ASSIGNMENTS):  # a line from elsewhere must not name any other file
        raise DataError("it is not among the study's own files.")
    # Through its bytes: numpy leaves a file open that turns out to be damaged.
    with np.load(io.BytesIO((root / name).read_bytes()), allow_pickle=False) as kept:
        clusters, labels = (kept[key].astype(np.int64) for key in ("eval", "eval_labels"))
        return confusion_of(clusters, labels, kept["class_names"].tolist())


def _draw(found: Confusion, title: str) -> Figure:
    from matplotlib.figure import Figure

    classes, clusters = found.shares.shape
    named = max(classes, clusters) <= _NAMED
    side = 1.6 + 0.3 * max(classes, clusters) if named else 6.0
    figure = Figure(figsize=(max(side + 0.8, 4.6), side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * found.shares, cmap="Greys", vmin=0, vmax=100, interpolation="nearest", aspect="auto")
    figure.colorbar(image, ax=axes, label="% of the class")
    axes.set_xlabel("cluster, those matched to a class first")
    axes.set_ylabel("class")
    axes.spines[:].set_visible(True)
    if named:
        axes.set_yticks(range(classes), [printable(name) for name in found.classes])
        axes.set_xticks(range(clusters), [str(one) for one in found.clusters])
        for row, column in zip(*np.nonzero(found.shares >= _TOLD), strict=True):
            share = found.shares[row, column]
            shade = "white" if share > 0.55 else "black"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=shade, fontsize=7)
    figure.suptitle(printable(title))
    return figure
