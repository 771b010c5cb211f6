"""fixes.csv: the changes of a person to the groups of a run (`file`), and the groups that follow (`resolve`)."""

from __future__ import annotations

from headclust.runs.fixes.file import FIXES, Fix, append_fixes, read_fixes, undo_fixes, write_fixes
from headclust.runs.fixes.resolve import Resolved, apply_fixes, check_fixes, resolve_fixes

__all__ = [
    "FIXES",
    "Fix",
    "Resolved",
    "append_fixes",
    "apply_fixes",
    "check_fixes",
    "read_fixes",
    "resolve_fixes",
    "undo_fixes",
    "write_fixes",
]
