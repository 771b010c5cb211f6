"""Images that came after the fit of a run: `added.csv` in the run folder, which `headclust add` writes.

It has the form of a predicted file, with a column `novelty`. Its rows are those that the feature file of the run has
grown by, in their order; `assignments.csv` stays as it was fitted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from headclust.errors import FileFormatError
from headclust.features import Features
from headclust.progress import printable
from headclust.runs.assignments import Assignments, read_assignments
from headclust.runs.inputs import locate_features, reload_spaces
from headclust.runs.record import Record

ADDED = "added.csv"


def read_added(run: Record) -> Assignments | None:
    """The rows of a run's `added.csv`; None without.

    Raises:
        FileFormatError: Its content is not valid, or belongs to another run.
    """
    path = run.path / ADDED
    if not path.is_file():
        return None
    added = read_assignments(path)
    if len(added.clusters) and added.clusters.max() >= run.n_clusters:
        raise _wrong(path, f"cluster {added.clusters.max()}, expected 0 to {run.n_clusters - 1}")
    return added


def with_added(run: Record, assigned: Assignments) -> Assignments:
    """The fitted samples of a run, then those that were added; `novelty` is that of the added ones, NaN for others.

    Raises:
        FileFormatError: The file of the added ones cannot be used.
    """
    added = read_added(run)
    if added is None or not added.sample_ids:
        return assigned
    if twice := set(assigned.sample_ids) & set(added.sample_ids):
        raise _wrong(run.path / ADDED, f"the sample {printable(min(twice))[:100]!r}, which was fitted")
    novelty = None
    if added.novelty is not None:
        novelty = np.concatenate([np.full(len(assigned.clusters), np.nan), added.novelty])
    return replace(
        assigned,
        sample_ids=assigned.sample_ids + added.sample_ids,
        clusters=np.concatenate([assigned.clusters, added.clusters]),
        confidence=np.concatenate([assigned.confidence, added.confidence]),
        novelty=novelty,
    )


def spaces_of(run: Record) -> tuple[Features, ...]:
    """The features of all samples of a run, the added ones included, one per space.

    Raises:
        FileFormatError: A file has changed since, or lacks added samples.
        DataError: A file does not exist any more.
    """
    added = read_added(run)
    n_added = 0 if added is None else len(added.sample_ids)
    return reload_spaces(locate_features(run.path, run.config["features"]), n_added=n_added)


def _wrong(path: Path, content: str) -> FileFormatError:
    return FileFormatError(f"{printable(str(path))} holds {content}: delete it, and repeat headclust add.")
