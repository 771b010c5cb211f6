"""Export assignments for other tools: tables, JSON layouts, folders. docs/export.md describes the formats."""

from __future__ import annotations

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
    "find_images",
    "read_names",
    "write_files",
    "write_folders",
]
