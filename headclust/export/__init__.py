"""Assignments as other tools take them: tables, JSON layouts, folders. docs/export.md has what is in each."""

from __future__ import annotations

from headclust.export.files import FILES, Outputs, write_files
from headclust.export.folders import HOW, write_folders
from headclust.export.images import Sources, find_images
from headclust.export.table import Table, group_names, read_names

__all__ = [
    "FILES",
    "HOW",
    "Outputs",
    "Sources",
    "Table",
    "find_images",
    "group_names",
    "read_names",
    "write_files",
    "write_folders",
]
