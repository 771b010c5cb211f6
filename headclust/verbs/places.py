"""Default paths of results, safe for file systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headclust.features import Features
from headclust.filenames import file_name
from headclust.runs.inputs import FEATURES_FOLDER

RUNS_FOLDER = Path("runs")


def features_path(dataset: str, split: str, name: str) -> Path:
    """`features/DATASET-SPLIT/NAME.h5`."""
    return FEATURES_FOLDER / file_name(f"{dataset}-{split}") / f"{file_name(name)}.h5"


def run_path(spaces: Sequence[Features], method: str, preset: str, seed: int) -> Path:
    """`runs/DATASET-BACKBONE-METHOD-sSEED`, with every backbone, and the preset where it is not ours."""
    names = [space.path.stem for space in spaces if space.path]
    parts = [spaces[0].attributes.get("dataset"), *names, method, f"s{seed}"]
    return RUNS_FOLDER / file_name("-".join(str(part) for part in [*parts, "" if preset == "ours" else preset] if part))
