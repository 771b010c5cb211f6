"""The verb `verify`: a check of a feature file against its checksum."""

from __future__ import annotations

from pathlib import Path

from headclust.features import verify_features


def verify(path: Path) -> list[str]:
    """Problems of a feature file, one line each; empty when it is as it was written."""
    return verify_features(path)
