"""Export assignments for other tools: tables, JSON layouts, folders. docs/export.md describes the formats."""

from __future__ import annotations

from headclust.export.copies import find_copies, mark_of, without_copies
from headclust.export.files import FILES, Outputs, write_files
from headclust.export.folders import MODES, write_folders
from headclust.export.images import FoundImages, find_images
from headclust.export.table import Table, read_names

__all__ = [
    "FILES",
    "MODES",
    "FoundImages",
    "Outputs",
    "Table",
    "find_copies",
    "find_images",
    "mark_of",
    "read_names",
    "without_copies",
    "write_files",
    "write_folders",
]
