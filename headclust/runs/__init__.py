"""A run: one scored fit (`scored_fit`), its feature files (`inputs`), and the folder it is written
to (`folder`), and read from (`reading`)."""

from __future__ import annotations

from headclust.runs.checksums import CHECKSUMS
from headclust.runs.folder import check_free, check_not_of_run, unique_path, write_run
from headclust.runs.groups import Groups, Union, read_groups
from headclust.runs.levels import Join, Levels, read_levels
from headclust.runs.reading import Run, read_assigned, read_run, read_seen, verify_run
from headclust.runs.record import GROUPS_MARK, Record, find_run, is_run, read_config, read_record

__all__ = [
    "CHECKSUMS",
    "GROUPS_MARK",
    "Groups",
    "Join",
    "Levels",
    "Record",
    "Run",
    "Union",
    "check_free",
    "check_not_of_run",
    "find_run",
    "is_run",
    "read_assigned",
    "read_config",
    "read_groups",
    "read_levels",
    "read_record",
    "read_run",
    "read_seen",
    "unique_path",
    "verify_run",
    "write_run",
]
