"""Whether the confidence of a clustering says how often it is right."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from headclust.device import resolve_device
from headclust.disk import write_atomically, write_errors
from headclust.errors import FileFormatError, one_line
from headclust.features import load_features
from headclust.progress import note, printable
from headclust.runs.scored_fit import fit_and_score
from headclust.scoring import metrics
from study.cells import Pair, key_of, recipe_of
from study.pictures import house_style, new_figure, save
from study.places import Places, make_features
from study.plan import Cell
from study.sections import Section, percent_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_BINS = 10


@dataclass(frozen=True)
class Bin:
    """Samples of about the same confidence: how many, their mean confidence, and the share that is right."""

    n: int
    confidence: float
    accuracy: float


def right(clusters: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which samples' clusters are matched to their classes, by the matching of ACC, (n_samples,).

    Args:
        clusters: Shape (n_samples,).
        labels: Shape (n_samples,), all known.

    Raises:
        DataError: The arrays differ in length or hold no known label.
    """
    counts = metrics.confusion(clusters, labels)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    seen, classes = np.unique(clusters), np.unique(labels)
    class_of = dict(zip(seen[rows].tolist(), classes[columns].tolist(), strict=True))
    return np.array([class_of.get(cluster) == label for cluster, label in zip(clusters.tolist(), labels, strict=True)])


def bins(confidence: NDArray[np.float32], correct: NDArray[np.bool_], n_bins: int = N_BINS) -> list[Bin]:
    """Samples by confidence in bins of equal size, the least confident first; fewer bins where samples are fewer.

    Args:
        confidence: Shape (n_samples,).
        correct: Shape (n_samples,).
        n_bins: How many.
    """
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(n_bins, len(confidence)))
    return [Bin(len(part), float(confidence[part].mean(dtype=float)), float(correct[part].mean())) for part in parts]


def expected_error(found: Sequence[Bin]) -> float:
    """Expected calibration error: the mean over samples of how far their bin's confidence is from its accuracy."""
    return sum(one.n * abs(one.confidence - one.accuracy) for one in found) / sum(one.n for one in found)


def calibrate(cell: Cell, places: Places, *, device: str | None = None) -> list[Bin]:
    """The bins of a cell on the split that is scored; fitted once, then kept in ROOT/calibration/.

    Args:
        cell: A fit.
        places: Where everything is.
        device: Where to compute.

    Raises:
        HeadclustError: Anything about the features, or a kept file that is damaged.
    """
    where = resolve_device(device)
    files = [make_features(wanted, places, device=device) for wanted in (cell.fit, cell.evaluation)]
    fit, evaluation = map(load_features, files)
    pair = Pair(fit, evaluation, where)
    recipe = recipe_of(cell, pair.fit)
    path = places.root / "calibration" / f"{key_of(cell, pair, recipe)}.npz"
    if not path.is_file():
        note(f"{cell.id}: fitting for its confidence.")
        test = fit_and_score((pair.fit,), cell.method, recipe, cell.seed, device=where, tests=(pair.evaluation,)).test
        labels = pair.evaluation.labels
        assert test is not None
        assert labels is not None
        known = labels >= 0
        _keep(path, test.confidence[known], right(test.clusters[known], labels[known]))
    return bins(*_kept(path))


def _keep(path: Path, confidence: NDArray[np.float32], correct: NDArray[np.bool_]) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, confidence=confidence, correct=correct)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())


def _kept(path: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    try:
        # Through its bytes: numpy leaves a file open that turns out to be damaged.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            return kept["confidence"], kept["correct"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"{printable(str(path))} is damaged: {one_line(error)}: delete it.") from None


def calibration_section(found: Mapping[str, Sequence[Bin]]) -> Section:
    """Accuracy against confidence, by the name of what was calibrated."""
    rows = [
        (name, str(number), str(one.n), percent_text(one.confidence), percent_text(one.accuracy))
        for name, these in found.items()
        for number, one in enumerate(these, start=1)
    ]
    errors = ", ".join(f"{name} {percent_text(expected_error(these))}" for name, these in found.items())
    notes = (
        "Test split, seed 0. Bins of equal size by confidence; accuracy: share of samples whose cluster is matched to "
        "their class, as in ACC. In percent.",
        f"Expected calibration error in points: {errors}.",
    )
    return Section("Confidence", ("data set", ">bin", ">samples", ">confidence", ">accuracy"), tuple(rows), notes)


def draw_calibration(found: Mapping[str, Sequence[Bin]], path: Path) -> Path:
    """Draws accuracy against confidence, a panel a data set; returns the file.

    Raises:
        SettingError: matplotlib is not installed.
        HeadclustError: The file cannot be written.
    """
    with house_style():
        return save(_draw(found), path)


def _draw(found: Mapping[str, Sequence[Bin]]) -> Figure:
    figure, panels = new_figure(len(found), height=2.9, sharey=True)
    for axes, (name, these) in zip(panels, found.items(), strict=True):
        axes.plot([0, 100], [0, 100], color="0.7", linewidth=0.8, linestyle="--")
        points = [(100 * one.confidence, 100 * one.accuracy) for one in these]
        axes.plot(*zip(*points, strict=True), color="black", marker="o", linewidth=1)
        axes.set_title(f"{printable(name)}: off by {percent_text(expected_error(these))} points")
        axes.set_xlim(0, 103)
        axes.set_ylim(0, 103)
    figure.supxlabel("confidence (%), ten bins of equal size", fontsize=8)
    panels[0].set_ylabel("accuracy (%)")
    figure.suptitle("Accuracy against confidence on test images; dashed: as it should be")
    return figure
