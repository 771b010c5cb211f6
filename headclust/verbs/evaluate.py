"""The verb `evaluate`: scores of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headclust import runs
from headclust.device import resolve_device
from headclust.errors import SettingError
from headclust.runs.inputs import joined, load_alike, locate_features, reload_spaces
from headclust.runs.scored_fit import assign
from headclust.scoring.probes import probe


def evaluate(
    run: Path, *, features: Sequence[Path] = (), probes: bool = False, device: str | None = None
) -> dict[str, Any]:
    """The metrics of a run: as fitted, or on other labeled features.

    Args:
        run: A run folder.
        features: Feature files to assign and score, one per space; the run's own metrics when empty.
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
        return dict(runs.read_record(run).metrics)
    fitted = runs.read_run(run)
    spaces = load_alike(fitted.config["features"], features)
    report = assign(fitted.model, spaces, device=resolve_device(device)).report
    if probes:
        train = reload_spaces(locate_features(fitted.path, fitted.config["features"]))
        report["probes"] = probe(joined(train), joined(spaces), device=resolve_device(device))
    return report
