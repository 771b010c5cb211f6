"""The confusion matrix of a cell, from the assignments beside the results file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from headclust.errors import DataError, HeadclustError, one_line
from headclust.filenames import file_name
from headclust.methods import DEFAULT_METHOD
from headclust.progress import note, printable
from headclust.scoring import metrics
from study.results import ASSIGNMENTS
from study.summary import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = 24  # classes up to which names and numbers fit
_WRITTEN = 0.02  # shares from which the number is written


def confusion_of(assignments: NDArray[np.int64], labels: NDArray[np.int64], names: Iterable[str] = ()) -> pd.DataFrame:
    """Shares of each class (row, by name) in the clusters (columns, by id), of shape (n_classes, n_clusters).

    The clusters matched one-to-one to a class, as in ACC, form the diagonal; clusters and classes left over come last.

    Args:
        assignments: Clusters, (n_samples,).
        labels: Classes, (n_samples,); -1 is unknown.
        names: Class names by label; a label without one is its own name.

    Raises:
        DataError: No label is known.
    """
    counts = metrics.confusion(assignments, labels)
    clusters, classes = np.unique(assignments[labels >= 0]), np.unique(labels[labels >= 0])
    rows, columns = metrics.match_clusters(counts)
    by_class = np.argsort(columns)
    rows = np.concatenate([rows[by_class], np.setdiff1d(np.arange(len(clusters)), rows)])
    columns = np.concatenate([columns[by_class], np.setdiff1d(np.arange(len(classes)), columns)])
    shares = (counts / counts.sum(axis=0))[rows][:, columns].T
    listed = dict(enumerate(names))
    index = pd.Index([listed.get(label, str(label)) for label in classes[columns].tolist()], dtype=object)
    return pd.DataFrame(shares, index, clusters[rows])


def draw_confusion(lines: Iterable[Line], root: Path) -> Iterator[tuple[str, Figure]]:
    """One picture per data set, by its name: of its first backbone, by the default method where it was run."""
    for line in _chosen(lines):
        try:
            shares = _confusion(root, line)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, HeadclustError) as error:
            note(f"{line.get('assignments')}: no confusion matrix of {line.get('id')}: {one_line(error)}")
            continue
        recipe = ", ".join(str(line.get(name)) for name in ("backbone", "method", "preset"))
        title = f"{line.get('dataset')} ({line.get('eval_split')}): {recipe}, seed {line.get('seed')}"
        yield file_name(str(line.get("dataset"))), _draw(shares, title)


def _chosen(lines: Iterable[Line]) -> list[Line]:
    """The cell of each data set that is drawn."""
    done = [line for line in lines if line.get("kind") == "fit" and line.get("status") == "done"]
    done = [line for line in done if line.get("role") != "ablation" and line.get("assignments")]
    first = {str(line.get("dataset")): line for line in sorted(done, key=_rank, reverse=True)}
    return [first[name] for name in sorted(first)]


def _rank(line: Line) -> tuple[bool, bool, bool, str, int, str]:
    unusual = line.get("preset") != "ours", line.get("method") != DEFAULT_METHOD, bool(line.get("settings"))
    return (*unusual, str(line.get("backbone")), line.get("seed") or 0, str(line.get("id")))


def _confusion(root: Path, line: Line) -> pd.DataFrame:
    name = Path(str(line["assignments"]))
    if name.parent != Path(ASSIGNMENTS):  # a line from elsewhere must not name any other file
        raise DataError("it is not among the study's own files.")
    # Through its bytes: numpy leaves a damaged file open.
    with np.load(io.BytesIO((root / name).read_bytes()), allow_pickle=False) as arrays:
        clusters, labels = (arrays[key].astype(np.int64) for key in ("eval", "eval_labels"))
        return confusion_of(clusters, labels, arrays["class_names"].tolist())


def _draw(table: pd.DataFrame, title: str) -> Figure:
    from matplotlib.figure import Figure

    shares = table.to_numpy()
    is_named = max(shares.shape) <= _NAMED
    side = 1.6 + 0.3 * max(shares.shape) if is_named else 6.0
    figure = Figure(figsize=(max(side + 0.8, 4.6), side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * shares, cmap="Greys", vmin=0, vmax=100, interpolation="nearest", aspect="auto")
    figure.colorbar(image, ax=axes, label="% of the class")
    axes.set_xlabel("cluster, those matched to a class first")
    axes.set_ylabel("class")
    axes.spines[:].set_visible(True)
    if is_named:
        axes.set_yticks(range(len(table.index)), [printable(name) for name in table.index])
        axes.set_xticks(range(len(table.columns)), [str(cluster) for cluster in table.columns])
        for row, column in zip(*np.nonzero(shares >= _WRITTEN), strict=True):
            shade = "white" if shares[row, column] > 0.55 else "black"
            style: Any = {"ha": "center", "va": "center", "color": shade, "fontsize": 7}
            axes.text(column, row, f"{100 * shares[row, column]:.0f}", **style)
    figure.suptitle(printable(title))
    return figure
