"""What a result was made with."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from headclust import __version__


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python, headclust and those of `packages` that are installed under that name."""
    found = {"headclust": __version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
