"""The verb `report`: one HTML page that shows a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headclust.errors import SettingError
from headclust.progress import note
from headclust.report import MAX_THUMBNAILS, check_place, read_data, render, write_page


def report(
    run: Path,
    *,
    features: Sequence[Path] = (),
    level: int | None = None,
    labels: bool = False,
    thumbnails: int = MAX_THUMBNAILS,
    umap: bool = True,
    device: str | None = None,
    output: Path | None = None,
) -> Path:
    """Write one HTML file that shows a run: its clusters, their images, a map; return its path.

    Images are read from the source that the feature file records. Without the images the report has no thumbnails,
    without the feature file no map; either is noted in the report.

    Args:
        run: A run folder.
        features: Feature files, one per space: those of the run, if they were moved; or those of other samples, which
            the model of the run then assigns.
        level: Number of groups to join the clusters to, by levels.json: the finest level of the page; when None that of
            the run.
        labels: Compare the clusters with the labels of the feature file: scores, and the majority class per cluster.
            Without it nothing in the report depends on labels.
        thumbnails: Images that the report has small copies of, at most; at least 0. It holds the names of the others.
        umap: Add a UMAP layout of the map, if umap-learn is installed.
        device: Where to compute; the best available when None.
        output: The file to write; `RUN/report.html` when None.

    Raises:
        HeadclustError: The run or the features named cannot be used, or the file cannot be written.
        SettingError: `thumbnails` is below 0.
    """
    if thumbnails < 0:
        raise SettingError(f"thumbnails {thumbnails}: expected 0 or more.")
    path = output or run / "report.html"
    if output is not None:
        check_place(output)  # before anything is loaded
    data = read_data(run, features, level=level, device=device)
    check_place(path)
    if data.labels is not None and not labels:
        note("the features have labels, which this report does not use: --labels compares the clusters with them.")
    return write_page(path, render(data, labels=labels, thumbnails=thumbnails, umap=umap, place=path))
