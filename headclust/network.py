"""The one rule for downloads: what forbids them, and a context in which libraries make none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Modules whose flag the Hugging Face libraries read at each request; the flags are set when the modules are imported.
_FLAGS = (
    ("huggingface_hub.constants", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_HUB_OFFLINE"),
    ("transformers.utils.hub", "_is_offline_mode"),
)


def is_offline(offline: bool) -> bool:
    """True if the network is forbidden, by the caller or by the settings of the libraries."""
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
    return offline or any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in names)


@contextmanager
def without_network(forbidden: bool = True) -> Iterator[None]:
    """Disable the network access of the libraries, unless `forbidden` is False; restore the settings at the end.

    Files in the caches of the libraries are still read.
    """
    import huggingface_hub.constants  # noqa: F401 - the module that every other one asks

    present = [(sys.modules[name], flag) for name, flag in _FLAGS if name in sys.modules]
    before: list[tuple[Any, str, bool]] = [
        (module, flag, getattr(module, flag)) for module, flag in present if hasattr(module, flag)
    ]
    try:
        for module, flag, value in before:
            setattr(module, flag, forbidden or value)
        yield
    finally:
        for module, flag, value in before:
            setattr(module, flag, value)
