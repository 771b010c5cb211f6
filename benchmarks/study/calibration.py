"""Calibration: the confidence of a clustering against its accuracy."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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

N_BINS = 10


def right(clusters: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for samples whose cluster is matched to their class, by the matching of ACC; labels are all known.

    All arrays have the shape (n_samples,).
    """
    rows, columns = metrics.match_clusters(metrics.confusion(clusters, labels))
    class_of = dict(zip(np.unique(clusters)[rows], np.unique(labels)[columns], strict=True))
    return np.array([class_of.get(cluster) == label for cluster, label in zip(clusters, labels, strict=True)])


def bins(confidence: NDArray[np.float32], correct: NDArray[np.bool_], n_bins: int = N_BINS) -> pd.DataFrame:
    """Samples by confidence in bins of equal size, the least confident first; at most one bin per sample.

    Returns:
        One row per bin: `n` samples, their mean `confidence` and `accuracy`, the share that is correct.
    """
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(n_bins, len(confidence)))
    means = [(len(part), float(confidence[part].mean(dtype=float)), float(correct[part].mean())) for part in parts]
    return pd.DataFrame(means, columns=["n", "confidence", "accuracy"])


def expected_error(table: pd.DataFrame) -> float:
    """Expected calibration error: mean over samples of the difference of their bin's confidence and accuracy."""
    differences = (table["confidence"] - table["accuracy"]).abs()
    return float(sum(table["n"] * differences) / table["n"].sum())


def mean_text(table: pd.DataFrame) -> str:
    """Mean confidence and accuracy over samples, in percent."""
    means = (float((table["n"] * table[name]).sum() / table["n"].sum()) for name in ("confidence", "accuracy"))
    return " and ".join(map(percent_text, means))


def calibrate(cell: Cell, places: Places, *, device: str | None = None) -> pd.DataFrame:
    """The bins of a cell on the split that is scored; fitted once, then read from ROOT/calibration/.

    Raises:
        HeadclustError: The features cannot be made or read, or the file of an earlier fit is damaged.
    """
    where = resolve_device(device)
    fit, evaluation = (make_features(file, places, device=device) for file in (cell.fit, cell.evaluation))
    pair = Pair(load_features(fit), load_features(evaluation), where)
    recipe = recipe_of(cell, pair.fit)
    path = places.root / "calibration" / f"{key_of(cell, pair, recipe)}.npz"
    if not path.is_file():
        note(f"{cell.id}: fitting for its confidence.")
        test = fit_and_score((pair.fit,), recipe, cell.seed, device=where, tests=(pair.evaluation,)).test
        labels = pair.evaluation.labels
        assert test is not None
        assert labels is not None
        is_labeled = labels >= 0
        correct = right(test.clusters[is_labeled], labels[is_labeled])
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, confidence=test.confidence[is_labeled], correct=correct)
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content.getvalue())
    try:
        # From its bytes, because numpy does not close a damaged file.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return bins(arrays["confidence"], arrays["correct"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"{printable(str(path))} is damaged: {one_line(error)}: delete it.") from None


def calibration_section(tables: Mapping[str, pd.DataFrame]) -> Section:
    """Accuracy against confidence, by data set."""
    rows = [
        (name, str(number), str(n), percent_text(confidence), percent_text(accuracy))
        for name, table in tables.items()
        for number, (n, confidence, accuracy) in enumerate(table.itertuples(index=False), start=1)
    ]
    errors = ", ".join(f"{name} {percent_text(expected_error(table))}" for name, table in tables.items())
    notes = (
        "Test split, seed 0. Bins of equal size by confidence; accuracy: share of samples whose cluster is matched to "
        "their class, as in ACC. In percent.",
        f"Expected calibration error in points: {errors}.",
        f"Mean confidence and accuracy: {', '.join(f'{name} {mean_text(table)}' for name, table in tables.items())}.",
    )
    return Section("Confidence", ("data set", ">bin", ">samples", ">confidence", ">accuracy"), rows, notes)


def draw_calibration(tables: Mapping[str, pd.DataFrame], path: Path) -> Path:
    """Draw accuracy against confidence, one panel per data set; return the file."""
    with house_style():
        figure, panels = new_figure(len(tables), height=2.9, sharey=True)
        for axes, (name, table) in zip(panels, tables.items(), strict=True):
            axes.plot([0, 100], [0, 100], color="0.7", linewidth=0.8, linestyle="--")
            axes.plot(100 * table["confidence"], 100 * table["accuracy"], color="black", marker="o", linewidth=1)
            axes.set_title(f"{printable(name)}: off by {percent_text(expected_error(table))} points")
            axes.set(xlim=(0, 103), ylim=(0, 103))
        figure.supxlabel("confidence (%), ten bins of equal size", fontsize=8)
        panels[0].set_ylabel("accuracy (%)")
        figure.suptitle("Accuracy against confidence on test images; dashed: as it should be")
        return save(figure, path)
