"""The verb `verify`: a check of a feature file against its checksum."""

from __future__ import annotations

from pathlib import Path

from headclust.features import verify_features


def verify(path: Path) -> list[str]:
    """Problems of a feature file, one line each; empty if it is complete and matches its checksum."""
    return verify_features(path)
