"""The verb that goes all the way: from a folder of images to groups and a report, in one folder to go on with.

FOLDER-groups/
  headclust.json   whose groups these are: the source of the images
  features.h5      the features of the images, and of their views
  left-out.csv     sample_id,reason of the images that cannot be read, where there are any
  run/             the run folder, with assignments.csv
  report.html      to look at
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headclust.device import resolve_device
from headclust.errors import DataError, SettingError
from headclust.images.datasets import ImageSet, open_source
from headclust.progress import note, printable
from headclust.report import check_place
from headclust.verbs.run.groups_folder import groups_folder
from headclust.verbs.run.steps import embed_step, fit_step, list_left_out, recipe_of, report_step


@dataclass(frozen=True)
class Groups:
    """Where everything is that `run` has made.

    Attributes:
        folder: The folder that holds all of it.
        features: The feature file.
        run: The run folder.
        report: The report.
        n_samples: Images that were grouped.
        n_left_out: Images that cannot be read.
        left_out: The list of these; None where there are none.
    """

    folder: Path
    features: Path
    run: Path
    report: Path
    n_samples: int
    n_left_out: int
    left_out: Path | None

    @property
    def assignments(self) -> Path:
        """Which image is in which cluster."""
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
    on_error: Literal["fail", "skip"] = "skip",
    device: str | None = None,
    offline: bool = False,
    overwrite: bool = False,
) -> Groups:
    """Embeds images, fits a method and makes a report; what is finished already, with the same settings, stays.

    Args:
        data: Where the images are, as `headclust.images.datasets.open_source` takes it: a folder, mostly.
        clusters: Number of clusters; the number of class subfolders when None.
        split: Which split, where a source has some.
        output: The folder for everything; `NAME-groups` with the name of the data, and -2, -3 ... where that holds
            something else, when None.
        model: A backbone's name. When None, the one that was used before in that folder, or the better of the packaged
            ones that is installed.
        weights: A file with the model's weights.
        views: Augmented views of each image to embed. When None, as many as before in that folder, or two, but
            none of more than 20,000 images.
        method: A name in METHODS, or "default".
        seed: Seed of the fit.
        on_error: At an unreadable image "skip" it and list it, or "fail".
        device: Where to compute.
        offline: Never download weights or data.
        overwrite: Make anew what was made with other settings.

    Raises:
        HeadclustError: Anything about the images, the settings or the folder that a user can mend.
    """
    images = open_source(data, split, offline=offline)
    _check(images, clusters, method, seed, device)
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
    with _told():
        fit_step(
            images,
            data,
            features,
            path,
            clusters=clusters,
            method=method,
            seed=seed,
            device=device,
            overwrite=overwrite,
        )
        made = report_step(path, folder / "report.html")
    return Groups(folder, folder / "features.h5", path, made, features.n_samples, len(features.skipped), left_out)


@contextmanager
def _told() -> Iterator[None]:
    """Says after Ctrl-C that nothing finished is lost, as embedding does itself."""
    try:
        yield
    except KeyboardInterrupt:
        note("stopped after embedding: the same command goes on from there.")
        raise


def _check(images: ImageSet, clusters: int | None, method: str, seed: int, device: str | None) -> None:
    """Refuses what can be known to be impossible before an image is opened."""
    recipe_of(method, clusters)
    resolve_device(device)
    if seed < 0:
        raise SettingError(f"seed {seed}: wanted 0 or more.")
    if len(images) < 2:
        raise DataError(f"{printable(images.source)}: one image: wanted at least 2 to make groups of.")
    if clusters is None and images.labels is None:
        raise SettingError(
            f"{printable(images.source)} has no class subfolders to count: say how many groups with --clusters K."
        )
    if clusters is not None and clusters > len(images):
        raise SettingError(f"{clusters} clusters asked of {len(images)} images: wanted at most {len(images)}.")
