"""The Hugging Face libraries, kept quiet and kept off the network unless it was asked for."""

from __future__ import annotations

import logging
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headclust.errors import DataError

_PROBE_SECONDS = 5


def is_offline(offline: bool) -> bool:
    """Whether the network is forbidden, by the caller or by the libraries' own settings."""
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    return offline or any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in names)


@contextmanager
def without_network() -> Iterator[None]:
    """Has the libraries refuse to use the network; as it was before, afterwards."""
    import datasets.config
    import huggingface_hub.constants

    places: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines, as failures are raised too, and bars only for a person who watches; as before, afterwards."""
    import datasets
    import huggingface_hub.utils as hub

    levels = datasets.logging.get_verbosity(), hub.logging.get_verbosity()
    bars = not datasets.are_progress_bars_disabled(), not hub.are_progress_bars_disabled()
    datasets.logging.set_verbosity(logging.CRITICAL)
    hub.logging.set_verbosity(logging.CRITICAL)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        hub.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(levels[0])
        hub.logging.set_verbosity(levels[1])
        if bars[0]:
            datasets.enable_progress_bars()
        if bars[1]:
            hub.enable_progress_bars()


def refuse_unless_reachable() -> None:
    """One question to the hub, because its client tries for a long time before it gives up.

    Raises:
        OSError: It cannot be reached; the reason in one line.
    """
    from huggingface_hub import constants

    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310
        with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        error.close()  # it answers
    except urllib.error.URLError as error:
        raise OSError(f"{constants.ENDPOINT} cannot be reached ({error.reason})") from None


def refuse_remote_files(folder: Path) -> None:
    """Makes sure that the card of a local data set names no files elsewhere, which the library would fetch.

    Raises:
        DataError: It does, or it cannot be read.
    """
    import yaml
    from huggingface_hub import DatasetCard

    found: list[Any] = []
    try:
        if (folder / "README.md").is_file():
            found.append(DatasetCard.load(folder / "README.md", ignore_metadata_errors=True).data.to_dict())
        if (folder / ".huggingface.yaml").is_file():
            found.append(yaml.safe_load((folder / ".huggingface.yaml").read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"hf:{folder}: its card cannot be read: {' '.join(str(error).split())[:200]}") from None
    configs = [card.get("configs") for card in found if isinstance(card, dict)]
    if any("://" in text for text in _texts(configs)):
        raise DataError(
            f"hf:{folder}: its card names files in other places (://): expected a folder that holds its data."
        )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
