"""The verb `verify`: a check of a feature file, a run folder or the folder of a `headclust run` against checksums."""

from __future__ import annotations

from pathlib import Path

from headclust import runs
from headclust.features import is_folder, stored_states, verify_features
from headclust.progress import note, printable


def verify(path: Path) -> list[str]:
    """Problems of a feature file, a run folder or a folder of groups, one line each; empty if nothing has changed.

    Raises:
        DataError: The path does not exist, or is none of these.
    """
    if not path.is_dir() or is_folder(path):
        return verify_features(path)
    folder = runs.find_run(path)
    if runs.is_run(folder) and not (folder / runs.CHECKSUMS).exists():
        note(f"{folder} is of an older version, without checksums: its contents are checked.")
    if folder == path:
        return runs.verify_run(path)
    features = path / "features.h5"
    missing = f"{printable(str(features))} is missing: restore it from a copy, or repeat the headclust run."
    problems = verify_features(features) if features.exists() else [missing]
    if not folder.exists():
        note(f"{path} holds no run yet: the features alone are checked.")
        return problems
    return [*problems, *runs.verify_run(path)] or _match(features, path)


def _match(features: Path, groups: Path) -> list[str]:
    """A line if the run of a folder of groups was not fitted on its features."""
    recorded = [space["sha256"] for space in runs.read_record(groups).config["features"]]
    if set(stored_states(features)) & set(recorded):
        return []
    return [f"{printable(str(groups))}: its run was fitted on other features: repeat the headclust run that made it."]
