"""The Hugging Face libraries without log lines, and checks before they use the network."""

from __future__ import annotations

import logging
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headclust.errors import DataError

_PROBE_SECONDS = 5


@contextmanager
def quiet() -> Iterator[None]:
    """Disable log lines (failures are raised too), and progress bars unless on a terminal; restore both at the end."""
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


def check_reachable() -> None:
    """Raise if the hub does not answer one short request; its own client would retry for a long time.

    Raises:
        OSError: The hub cannot be reached; the reason in one line.
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


def check_no_remote_files(folder: Path) -> None:
    """Raise if the card of a local data set names remote files, which the library would download.

    Raises:
        DataError: The card names remote files, or cannot be read.
    """
    import yaml
    from huggingface_hub import DatasetCard

    cards: list[Any] = []
    try:
        if (folder / "README.md").is_file():
            cards.append(DatasetCard.load(folder / "README.md", ignore_metadata_errors=True).data.to_dict())
        if (folder / ".huggingface.yaml").is_file():
            cards.append(yaml.safe_load((folder / ".huggingface.yaml").read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"hf:{folder}: its card cannot be read: {' '.join(str(error).split())[:200]}") from None
    configs = [card.get("configs") for card in cards if isinstance(card, dict)]
    if any("://" in text for text in _texts(configs)):
        raise DataError(f"hf:{folder}: its card names remote files (://): expected a folder that holds its data.")


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
