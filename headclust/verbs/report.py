"""The verb `report`: one HTML page that shows a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headclust.report import check_place, read_data, render, write_page


def report(run: Path, *, features: Sequence[Path] = (), umap: bool = True, output: Path | None = None) -> Path:
    """Write one HTML file that shows a run: its clusters, their images, a map, scores; return its path.

    Images are read from the source that the feature file records. Without the images the report has no thumbnails,
    without the feature file no map; either is noted in the report.

    Args:
        run: A run folder.
        features: Feature files, one per space: those of the run, if they were moved; or those of other samples, which
            the model of the run then assigns.
        umap: Add a UMAP layout of the map, if umap-learn is installed.
        output: The file to write; `RUN/report.html` when None.

    Raises:
        HeadclustError: The run or the features named cannot be used, or the file cannot be written.
    """
    path = output or run / "report.html"
    if output is not None:
        check_place(output)  # before anything is loaded
    data = read_data(run, features)
    check_place(path)
    return write_page(path, render(data, umap=umap))
