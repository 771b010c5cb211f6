"""Versions of the software that computed a result."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from headclust import __version__


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python, headclust and the installed ones of `packages`."""
    installed = {"headclust": __version__, "python": platform.python_version()}
    for name in packages:
        with suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed
