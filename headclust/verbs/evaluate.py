"""The verb `evaluate`: scores of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust import runs
from headclust.device import resolve_device
from headclust.errors import HeadclustError, SettingError
from headclust.filenames import storable_name
from headclust.progress import note
from headclust.runs.added import spaces_of
from headclust.runs.groups import Groups, describe_groups, read_groups
from headclust.runs.inputs import joined, load_alike, locate_features, reload_spaces
from headclust.runs.scored_fit import assign
from headclust.scoring.probes import probe


def evaluate(
    run: Path,
    *,
    features: Sequence[Path] = (),
    level: int | None = None,
    probes: bool = False,
    device: str | None = None,
) -> dict[str, Any]:
    """The metrics of a run: as fitted, or on other labeled features.

    With a level, or after fixes that change groups, these are the metrics of the groups that there are then: sizes, and
    scores if the features of the run are still there and have labels.

    Args:
        run: A run folder.
        features: Feature files to assign and score, one per space; the run's own metrics when empty.
        level: Number of groups to join the clusters to, by levels.json; the finest level when None.
        probes: Add an entry `probes`: kNN, linear probe and neighbor purity, fitted on the run's own features.
        device: Where to compute; the best available when None.

    Raises:
        HeadclustError: The run or the features cannot be used.
    """
    if probes and not features:
        raise SettingError("probes are trained on the run's features: name others to test them on with --features.")
    if device is not None:
        resolve_device(device)
    if not features:
        record = runs.read_record(run)
        groups = read_groups(record, level=level)
        return describe_groups(groups.clusters, _labels(record, groups)) if groups.is_changed else dict(record.metrics)
    fitted = runs.read_run(run)
    groups = read_groups(fitted, level=level)
    spaces = load_alike(fitted.config["features"], features)
    assigned = assign(fitted.model, spaces, device=resolve_device(device))
    report = assigned.report
    if groups.is_changed:
        report = describe_groups(groups.of(assigned.clusters), spaces[0].labels)
    if probes:
        train = reload_spaces(locate_features(fitted.path, fitted.config["features"]))
        report["probes"] = probe(joined(train), joined(spaces), device=resolve_device(device))
    return report


def _labels(run: runs.Record, groups: Groups) -> NDArray[np.int64] | None:
    """Labels of the run's samples, int64 (n_samples,), in the order of its groups; None without labels.

    A line on stderr tells why, if the features of the run cannot be read.
    """
    try:
        space = spaces_of(run)[0]
    except HeadclustError as error:
        note(f"without scores: {error}")
        return None
    if space.labels is None:
        return None
    row_of = {storable_name(name): row for row, name in enumerate(space.sample_ids)}
    return space.labels[[row_of[name] for name in groups.sample_ids]]
