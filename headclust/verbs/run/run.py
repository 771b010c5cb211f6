"""From a folder of images to groups and a report, in one folder; an interrupted run resumes.

FOLDER-groups/
  headclust.json   records the source of the images
  features.h5      the features of the images, and of their views
  left-out.csv     sample_id,reason,kind of the images that cannot be read, if there are any
  run/             the run folder, with assignments.csv
  report.html      the report
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headclust.choices import Labels, OnError
from headclust.errors import DataError, SettingError
from headclust.granularity import FEWEST
from headclust.images.datasets import ImageSet, describe_folders, open_source
from headclust.progress import note, printable

if TYPE_CHECKING:
    from headclust.methods import Recipe


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
        left_out: The list of these images, and of folders that cannot be listed; None if there are none.
        n_folders_left_out: Folders that cannot be listed.
        suggestion: The page with other numbers of groups; None if none were suggested.
    """

    folder: Path
    features: Path
    run: Path
    report: Path
    n_samples: int
    n_left_out: int
    left_out: Path | None
    n_folders_left_out: int = 0
    suggestion: Path | None = None

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
    exclude: Sequence[str] = (),
    labels: Labels = "dataset",
    output: Path | None = None,
    model: str | None = None,
    weights: Path | None = None,
    views: int | None = None,
    method: str = "default",
    seed: int = 0,
    on_error: OnError = "skip",
    max_pixels: int | None = None,
    device: str | None = None,
    offline: bool = False,
    overwrite: bool = False,
) -> Groups:
    """Embed images, fit a method and make a report. Finished steps with the same settings are not repeated.

    Args:
        data: Source of the images, usually a folder, as for `headclust.images.datasets.open_source`.
        clusters: Number of clusters. When None, the number of labeled classes; without labels the one used before in
            that folder, in a new folder the finer end of the range that `suggest` finds.
        split: The split, if the source has several.
        exclude: Patterns of files and folders to leave out, as for `open_source`.
        labels: What becomes labels: "dataset" for those of a named data set, a list or shards, "folders" for class
            subfolders too, whose names the report then shows, "none".
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
        max_pixels: Largest image to read, as in EmbedSettings.
        device: Where to compute; the best available when None.
        offline: Never download weights or data.
        overwrite: Replace results that were made with other settings.

    Raises:
        HeadclustError: The images, the settings or the folder cannot be used.
    """
    images = open_source(data, split, exclude=exclude, labels=labels, offline=offline)
    from headclust.methods import Recipe  # loads after the source is known to be possible, as does all that follows

    recipe = Recipe.of(method).changed({} if clusters is None else {"n_clusters": clusters})
    _check(images, labels, recipe, seed, device)
    from headclust.report import check_place
    from headclust.verbs.left_out import warn_if_many
    from headclust.verbs.run.embedding import embed_step
    from headclust.verbs.run.groups_folder import groups_folder
    from headclust.verbs.run.number import check_suggestion, number_of_groups, suggestion_page
    from headclust.verbs.run.steps import fit_step, list_left_out, name_step, report_step

    folder = groups_folder(images, output)
    check_place(folder / "report.html")
    check_suggestion(folder)
    if images.class_folders and labels == "dataset":
        use = "are not used as classes; --labels folders uses them, for scores and names in the report only"
        note(f"{images.source}: its {describe_folders(images)} {use}.")
    features = embed_step(
        images,
        folder / "features.h5",
        model=model,
        weights=weights,
        views=views,
        device=device,
        on_error=on_error,
        max_pixels=max_pixels,
        offline=offline,
        overwrite=overwrite,
    )
    left_out, path = list_left_out(folder / "left-out.csv", features), folder / "run"
    with _resumable():
        if recipe.n_clusters == 0 and images.labels is None:
            number = number_of_groups(features, folder, data, seed, device=device, overwrite=overwrite)
            recipe = recipe.changed({"n_clusters": number})
        fit_step(images, data, features, path, recipe, seed, labels=labels, device=device, overwrite=overwrite)
        name_step(path, features)
        report = report_step(path, folder / "report.html", labels=labels == "folders")
    if left_out is not None:
        warn_if_many(features, f"{left_out} lists them")
    return Groups(
        folder,
        folder / "features.h5",
        path,
        report,
        features.n_samples,
        len(features.skipped),
        left_out,
        len(features.attributes.get("unlisted", ())),
        suggestion_page(folder),
    )


@contextmanager
def _resumable() -> Iterator[None]:
    """Log after Ctrl-C that the same command resumes; embedding logs this itself."""
    try:
        yield
    except KeyboardInterrupt:
        note("stopped after embedding: the same command resumes there.")
        raise


def _check(images: ImageSet, labels: Labels, recipe: Recipe, seed: int, device: str | None) -> None:
    """Raise for settings that are known to be impossible before an image is opened."""
    if seed < 0:
        raise SettingError(f"seed {seed}: expected 0 or more.")
    if len(images) < 2:
        raise DataError(f"{printable(images.source)}: one image: expected at least 2 to make groups of.")
    if labels == "folders" and images.labels is None:
        raise SettingError(
            f"{printable(images.source)} has no class subfolders (every image in FOLDER/CLASS/, two classes or more): "
            "leave --labels out."
        )
    if recipe.n_clusters == 0 and images.labels is None and len(images) < FEWEST:
        counted = "has no class subfolders to count"
        if images.class_folders:
            counted = f"has {describe_folders(images)}, which --labels folders counts as classes"
        few = f"and {len(images)} images are too few to suggest a number of groups"
        raise SettingError(printable(f"{images.source} {counted}, {few}: set it with --clusters K."))
    if recipe.n_clusters > len(images):
        raise SettingError(f"{recipe.n_clusters} clusters of {len(images)} images: expected at most {len(images)}.")
    if device is not None:
        from headclust.device import resolve_device

        resolve_device(device)
