"""From a folder of images to groups and a report, in one folder; an interrupted run resumes.

FOLDER-groups/
  headclust.json   records the source of the images
  features.h5      the features of the images, and of their views
  left-out.csv     sample_id,reason of the images that cannot be read, if there are any
  run/             the run folder, with assignments.csv
  report.html      the report
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headclust.choices import OnError
from headclust.device import resolve_device
from headclust.errors import DataError, SettingError
from headclust.images.datasets import ImageSet, open_source
from headclust.methods import Recipe
from headclust.progress import note, printable
from headclust.report import check_place
from headclust.verbs.run.groups_folder import groups_folder
from headclust.verbs.run.steps import embed_step, fit_step, list_left_out, report_step


@dataclass(frozen=True)
class Groups:
    """Paths of everything that `run` has made.

    Attributes:
        folder: The folder that holds all of them.
        features: The feature file.
        run: The run folder.
        report: The report.
        n_samples: Images that were grouped.
        n_left_out: Images that cannot be read.
        left_out: The list of these images; None if there are none.
    """

    folder: Path
    features: Path
    run: Path
    report: Path
    n_samples: int
    n_left_out: int
    left_out: Path | None

    def __repr__(self) -> str:
        return f"Groups({str(self.folder)!r}, n_samples={self.n_samples}, n_left_out={self.n_left_out})"

    @property
    def assignments(self) -> Path:
        """The CSV file with the cluster of each image."""
        return self.run / "assignments.csv"


def run(
    data: str,
    *,
    clusters: int | None = None,
    split: str | None = None,
    output: Path | None = None,
    model: str | None = None,
    weights: Path | None = None,
    views: int | None = None,
    method: str = "default",
    seed: int = 0,
    on_error: OnError = "skip",
    device: str | None = None,
    offline: bool = False,
    overwrite: bool = False,
) -> Groups:
    """Embed images, fit a method and make a report. Finished steps with the same settings are not repeated.

    Args:
        data: Source of the images, usually a folder, as for `headclust.images.datasets.open_source`.
        clusters: Number of clusters; the number of class subfolders when None.
        split: The split, if the source has several.
        output: The folder for all results. When None, `NAME-groups` with the name of the data, or with -2, -3 ... if
            that holds something else.
        model: A backbone's name. When None, the one used before in that folder, or the best of the packaged ones that
            are installed.
        weights: A file with the model's weights.
        views: Augmented views to embed per image. When None, the same number as before in that folder; in a new folder
            two, or none for more than 20,000 images.
        method: A name in METHODS, or "default".
        seed: Seed of the fit.
        on_error: "skip" leaves out unreadable images and lists them, "fail" stops at the first.
        device: Where to compute; the best available when None.
        offline: Never download weights or data.
        overwrite: Replace results that were made with other settings.

    Raises:
        HeadclustError: The images, the settings or the folder cannot be used.
    """
    images = open_source(data, split, offline=offline)
    recipe = Recipe.of(method).changed({} if clusters is None else {"n_clusters": clusters})
    _check(images, recipe, seed, device)
    folder = groups_folder(images, output)
    check_place(folder / "report.html")
    features = embed_step(
        images,
        folder / "features.h5",
        model=model,
        weights=weights,
        views=views,
        device=device,
        on_error=on_error,
        offline=offline,
        overwrite=overwrite,
    )
    left_out, path = list_left_out(folder / "left-out.csv", features), folder / "run"
    with _resumable():
        fit_step(images, data, features, path, recipe, seed, device=device, overwrite=overwrite)
        report = report_step(path, folder / "report.html")
    return Groups(folder, folder / "features.h5", path, report, features.n_samples, len(features.skipped), left_out)


@contextmanager
def _resumable() -> Iterator[None]:
    """Log after Ctrl-C that the same command resumes; embedding logs this itself."""
    try:
        yield
    except KeyboardInterrupt:
        note("stopped after embedding: the same command resumes there.")
        raise


def _check(images: ImageSet, recipe: Recipe, seed: int, device: str | None) -> None:
    """Raise for settings that are known to be impossible before an image is opened."""
    if seed < 0:
        raise SettingError(f"seed {seed}: expected 0 or more.")
    if len(images) < 2:
        raise DataError(f"{printable(images.source)}: one image: expected at least 2 to make groups of.")
    if recipe.n_clusters == 0 and images.labels is None:
        raise SettingError(
            f"{printable(images.source)} has no class subfolders to count: set the number of groups with --clusters K."
        )
    if recipe.n_clusters > len(images):
        raise SettingError(f"{recipe.n_clusters} clusters of {len(images)} images: expected at most {len(images)}.")
    if device is not None:
        resolve_device(device)
