"""The verb that shows a run to a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headclust.report import check_place, read_data, render, write_page


def report(run: Path, *, features: Sequence[Path] = (), umap: bool = True, output: Path | None = None) -> Path:
    """Writes one HTML file that shows a run: its clusters, their images, a map, scores; returns its path.

    Images are read back from where the feature file says they are. Where they are gone, or the feature file is, the
    report comes without thumbnails, or without a map, and says so.

    Args:
        run: A run folder.
        features: Feature files, one a space: the run's own where they have moved, or those of other samples, which the
            run's model then assigns.
        umap: Lay the map out by UMAP too, where that is installed.
        output: The file to write; `RUN/report.html` when None.

    Raises:
        HeadclustError: The run or the features named cannot be used, or the file cannot be written.
    """
    path = output or run / "report.html"
    data = read_data(run, features)
    check_place(path)
    return write_page(path, render(data, umap=umap))
