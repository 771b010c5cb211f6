"""The verb `export`: the groups of a run for other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from headclust import runs
from headclust.choices import Duplicates, ExportFormat, Transfer
from headclust.disk import real_place
from headclust.errors import ConflictError, DataError, HeadclustError, SettingError, unknown
from headclust.export import (
    FILES,
    MODES,
    FoundImages,
    Table,
    find_copies,
    find_images,
    mark_of,
    read_names,
    without_copies,
    write_files,
    write_folders,
)
from headclust.features import Features, load_features
from headclust.filenames import file_name, storable_name
from headclust.progress import note, printable
from headclust.runs.assignments import Assignments, read_assignments
from headclust.runs.inputs import load_alike, locate_features

EXPORTS_FOLDER = Path("exports")
FORMATS = (*FILES, "folders")
_ENDS = {"csv": ".csv", "parquet": ".parquet", "fiftyone": "-fiftyone", "coco": "-coco.json", "folders": "-folders"}


def export(
    run: Path,
    *,
    to: ExportFormat,
    output: Path | None = None,
    predicted: str | None = None,
    features: Path | None = None,
    names: Path | None = None,
    level: int | None = None,
    how: Transfer = "link",
    duplicates: Duplicates = "keep",
    vectors: bool = False,
    positions: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the assignments of a run for other tools; return the file or folder. See docs/export.md.

    Args:
        run: A run folder.
        to: "csv", "parquet", "fiftyone", "coco" or "folders".
        output: The file or folder to make; named after the run, under `./exports/`, when None.
        predicted: Export the images of `RUN/predicted/NAME.csv` instead of the fitted ones: NAME, or the path of such a
            file.
        features: The feature file of these images, for their paths and labels. When None, the one that the run records
            (at its path or beside the run folder), or the one beside the predicted file.
        names: A CSV file cluster,name with names for some or all groups, which come before those in the run folder.
        level: Number of groups to join the clusters to, by levels.json; the finest level when None.
        how: For "folders": "link", "copy" or "move" the images.
        duplicates: For "folders": "keep" copies of other images like all, "leave-out" all but the best of each, or put
            them "apart", in one folder.
        vectors: For "parquet": add the features, as lists of float32 in the column `vector`; with several spaces
            `vector_1` and so on.
        positions: For "csv" and "parquet": add `projection_x` and `projection_y`, from 0 to 1, as on the report's map.
        overwrite: Replace a file. Folders are never replaced.

    Raises:
        HeadclustError: The run, the files or the output cannot be used.
    """
    if to not in FORMATS:
        raise unknown("format", to, FORMATS)
    if how not in MODES:
        raise unknown("way to export folders", how, MODES)
    if to != "folders" and how != "link":
        raise SettingError(f"--{how} is for --to folders: {to} leaves the images where they are.")
    if duplicates not in get_args(Duplicates):
        raise unknown("way to treat duplicates", duplicates, get_args(Duplicates))
    if to != "folders" and duplicates != "keep":
        raise SettingError(f"--duplicates is for --to folders: leave it out for {to}.")
    if to == "folders" and overwrite:
        raise SettingError("folders are never replaced: choose another place with -o, without --overwrite.")
    for option, given, formats in (("vectors", vectors, ("parquet",)), ("positions", positions, ("csv", "parquet"))):
        if given and to not in formats:
            raise SettingError(f"--{option} is for --to {' or '.join(formats)}: leave it out for {to}.")
    fitted = runs.read_record(run)
    file, groups = _assignments_file(fitted.path, predicted), runs.read_groups(fitted, level=level)
    n_ids = max(groups.n_clusters - 1, *groups.ids, *groups.of_cluster.tolist()) + 1
    if predicted is None:
        assigned = Assignments(groups.sample_ids, groups.clusters, groups.confidence, None)
    else:
        assigned = read_assignments(file)
        if not len(assigned.clusters) or assigned.clusters.max() >= n_ids:
            raise DataError(
                f"{printable(str(file))} has no rows, or clusters that {printable(str(run))} does not have."
            )
        assigned = replace(assigned, clusters=groups.of(assigned.clusters))
    if names is not None:
        groups = replace(groups, names={**groups.names, **read_names(names, n_ids)})
    name = _name(fitted.path)
    stem = name if predicted is None else f"{name}-{file.stem}"
    path = output or EXPORTS_FOLDER / f"{file_name(stem)}{_ENDS[to]}"
    _check_place(path, fitted.path)
    own = locate_features(fitted.path, fitted.config["features"])[0]
    beside = Path(own["path"]) if predicted is None else file.with_suffix(".h5")
    space = _features(features, beside, assigned.sample_ids)
    recorded = fitted.config["features"][0] if space is None and predicted is None else {}
    recorded = recorded if space is None else space.attributes
    source, split = (value if isinstance(value := recorded.get(key), str) else None for key in ("source", "split"))
    images = find_images(source, split, assigned.sample_ids, recorded)
    table = _table(assigned, _names_of(groups, assigned.clusters), images, space, source)
    if vectors or positions:
        paths = _space_paths(fitted, file, features, is_fitted=predicted is None)
        spaces = load_alike(fitted.config["features"], paths)
        table = replace(table, more=_columns(run, spaces, assigned, vectors=vectors, positions=positions))
    if to == "folders":
        mark = {}
        if duplicates != "keep":
            copies = find_copies(path, space, images, fitted.config["settings"])
            table, images = without_copies(table, images, copies, duplicates)
            mark = mark_of(copies, duplicates)
        write_folders(path, table, images, how, mark)
        return path
    return write_files(path, FILES[to](table), overwrite=overwrite)


def _name(run: Path) -> str:
    """Name of a run: the name of its folder; for the `run` of a `headclust run`, that of the folder around it."""
    folder = run.resolve()
    return folder.parent.name if folder.name == "run" and (folder.parent / runs.GROUPS_MARK).is_file() else folder.name


def _check_place(path: Path, run: Path) -> None:
    """Raise if the output lies in a run folder, or is a link to no place."""
    if real_place(path).is_relative_to(run.resolve()):
        raise ConflictError(
            f"{printable(str(path))} lies in the run folder, and would be deleted with it: choose another -o."
        )
    runs.check_not_of_run(path)


def _assignments_file(run: Path, predicted: str | None) -> Path:
    if predicted is None:
        return run / "assignments.csv"
    if predicted.endswith(".csv"):
        return Path(predicted)
    file = run / "predicted" / f"{predicted}.csv"
    if file.parent != run / "predicted" or not file.is_file():
        names = sorted(path.stem for path in (run / "predicted").glob("*.csv"))
        raise (
            unknown("predicted file", predicted, names)
            if names
            else DataError(
                f"{printable(str(run))} has no predictions: make some with headclust predict, or name their CSV file."
            )
        )
    return file


def _features(given: Path | None, beside: Path, sample_ids: Sequence[str]) -> Features | None:
    """The feature file of the samples; None if no file is given and the default one is missing or has other samples."""
    try:
        features = load_features(given or beside)
        if features.n_samples > len(sample_ids):  # it has grown by images that another run was given
            features = features.first(len(sample_ids))
        if tuple(map(storable_name, features.sample_ids)) != tuple(sample_ids):
            raise DataError(f"{printable(str(features.path))} holds other samples than the assignments.")
        return features
    except HeadclustError as error:
        if given is not None:
            raise
        note(f"exported without labels: {error} Name the feature file with --features.")
        return None


def _space_paths(fitted: runs.Record, file: Path, given: Path | None, *, is_fitted: bool) -> list[Path]:
    """The feature files of the samples, one per space."""
    recorded = fitted.config["features"]
    if given is not None:
        if len(recorded) > 1:
            raise SettingError(f"the run has {len(recorded)} feature spaces, and --features names one: leave it out.")
        return [given]
    if is_fitted:
        return [Path(record["path"]) for record in locate_features(fitted.path, recorded)]
    suffixes = ["", *(f"-space{number}" for number in range(2, len(recorded) + 1))]
    return [file.with_name(f"{file.stem}{suffix}.h5") for suffix in suffixes]


def _columns(
    run: Path, spaces: Sequence[Features], assigned: Assignments, *, vectors: bool, positions: bool
) -> dict[str, NDArray[np.floating[Any]]]:
    """The features and the positions on the map, in the order of the assignments."""
    from headclust.report.layouts import HEIGHT, WIDTH, make_layouts, sample_rows

    row_of = {storable_name(name): row for row, name in enumerate(spaces[0].sample_ids)}
    missing = [name for name in assigned.sample_ids if name not in row_of]
    if missing:
        raise DataError(f"{printable(str(spaces[0].path))} lacks the sample {printable(missing[0])!r}.")
    rows = np.array([row_of[name] for name in assigned.sample_ids])
    names = ["vector"] if len(spaces) == 1 else [f"vector_{number}" for number in range(1, len(spaces) + 1)]
    pairs = zip(names, spaces, strict=True) if vectors else ()
    columns: dict[str, NDArray[np.floating[Any]]] = {name: space.rows(rows).numpy() for name, space in pairs}
    if positions:
        order = sample_rows(assigned.clusters, len(rows))  # as in the report, so that the map is the same
        layout = make_layouts(runs.read_run(run).model, spaces, rows[order], ("umap", "pca"))[0]
        note(f"positions by {layout.description}")
        x, y = np.empty((2, len(rows)))
        x[order], y[order] = layout.positions.T / [[WIDTH], [HEIGHT]]
        columns |= {"projection_x": x, "projection_y": 1 - y}
    return columns


def _names_of(groups: runs.Groups, clusters: NDArray[np.int64]) -> dict[int, str]:
    """The name of each group: of all clusters of the fit, or after fixes or at a level of those that there are."""
    ids = {*groups.ids, *clusters.tolist(), *(() if groups.is_changed else range(groups.n_clusters))}
    return {group: groups.label(group) for group in sorted(ids)}


def _table(
    assigned: Assignments, groups: Mapping[int, str], images: FoundImages, features: Features | None, source: str | None
) -> Table:
    return Table(
        sample_ids=assigned.sample_ids,
        paths=images.paths,
        clusters=assigned.clusters.tolist(),
        groups=groups,
        confidence=assigned.confidence.tolist(),
        novelty=None if assigned.novelty is None else assigned.novelty.tolist(),
        labels=None if features is None else _labels(features),
        source=source,
    )


def _labels(features: Features) -> list[str | None] | None:
    """Class of each sample: its name, or its number if classes have no names; None without labels."""
    if features.labels is None:
        return None
    names = [storable_name(name) for name in features.class_names]
    return [None if label < 0 else names[label] if names else str(label) for label in features.labels.tolist()]
