"""Runs: one scored fit (`scored_fit`), the feature files it uses (`inputs`) and the folder it leaves (`folder`)."""

from __future__ import annotations

from headclust.runs.folder import (
    GROUPS_MARK,
    Run,
    check_free,
    find_run,
    is_run,
    read_config,
    read_run,
    read_seen,
    unique_path,
    write_run,
)

__all__ = [
    "GROUPS_MARK",
    "Run",
    "check_free",
    "find_run",
    "is_run",
    "read_config",
    "read_run",
    "read_seen",
    "unique_path",
    "write_run",
]
