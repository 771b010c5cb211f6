"""A run: one scored fit (`scored_fit`), its feature files (`inputs`) and the folder it is written to (`folder`)."""

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
