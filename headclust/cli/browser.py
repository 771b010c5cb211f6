"""The browser of the person at the terminal."""

from __future__ import annotations

import os
import sys


def has_screen() -> bool:
    """True if a person at a terminal would see a browser."""
    if not sys.stdout.isatty() or os.environ.get("CI") or os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
