"""The number of groups of `run` without --clusters: the finer end of a suggested range, recorded in the groups folder.

FOLDER-groups/
  suggestion.json  the number that was taken, and the suggestion behind it
  suggestion.html  the levels of the range, with their typical images; suggestion.svg: the curves
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from headclust import runs
from headclust.device import resolve_device
from headclust.disk import write_atomically, write_errors
from headclust.errors import FileFormatError, HeadclustError, SettingError
from headclust.features import Features
from headclust.granularity import Suggestion
from headclust.progress import note, printable
from headclust.report.commands import shell_word
from headclust.verbs.suggest import check_suggestion_place, write_suggestion

_RECORD, _PAGE = "suggestion.json", "suggestion.html"
_MOST = 100  # groups that are taken where no structure tells the number


def suggestion_page(folder: Path) -> Path | None:
    """The page of the suggestion in a folder of groups; None if there is none."""
    page = folder / _PAGE
    return page if page.is_file() and (folder / _RECORD).is_file() else None


def check_suggestion(folder: Path) -> None:
    """Raise if a suggestion cannot be written to a folder of groups.

    Raises:
        ConflictError: Something else is in the way.
    """
    check_suggestion_place(folder / _PAGE)


def number_of_groups(
    features: Features, folder: Path, data: str, seed: int, *, device: str | None, overwrite: bool
) -> int:
    """The number of groups that the folder was begun with, or else the finer end of a suggested range.

    Lines on stderr tell which, why, and how to get the other levels.

    Args:
        features: The features of the images.
        folder: The folder of groups.
        data: The images, as the user named them.
        seed: Seed of the suggestion.
        device: Where to compute.
        overwrite: Suggest again, whatever is there.

    Raises:
        SettingError: There are too few different images to suggest a number.
        HeadclustError: The suggestion cannot be written.
    """
    record = None if overwrite else _read(folder)
    before = None if overwrite else _fitted(folder)
    if before is None and record is not None:
        before = record[0]
    if before is not None:
        suggested = record is not None and record[0] == before and record[1].range is not None
        why = f", the finer end of {_range(record[1])} ({folder / _PAGE})" if record and suggested else ""
        note(f"{before} groups, as before in {folder}{why}: --clusters K sets another number.")
        return before
    from headclust.granularity.suggest import suggest

    note("looking for the number of groups, as there is no --clusters.")
    suggestion = suggest([features], seed, device=resolve_device(device))
    if suggestion.curves is None:
        raise SettingError(
            f"no number of groups found for {printable(data)} ({suggestion.reason}): set it with --clusters K; the "
            "images are embedded already."
        )
    return _take(suggestion, features, folder, data)


def _take(suggestion: Suggestion, features: Features, folder: Path, data: str) -> int:
    """Record a suggestion in the folder; return the number at its finer end, or without a range a usual number."""
    *others, finest = (level.n_clusters for level in suggestion.levels) if suggestion.range else (_usual(suggestion),)
    place = shell_word(str(folder))
    start = f"headclust run {shell_word(data)} -o {place} --overwrite"
    commands = [[f"{start} --clusters {level.n_clusters}"] for level in suggestion.levels]
    check_suggestion(folder)
    write_suggestion(folder / _PAGE, suggestion, features, commands)
    with write_errors(folder / _RECORD):
        text = json.dumps({"n_clusters": finest, **suggestion.as_json()}, indent=2)
        write_atomically(folder / _RECORD, (text + "\n").encode(errors="surrogateescape"))
    if suggestion.range is None:
        reason = f"no clear structure in {printable(data)} ({suggestion.reason})"
        note(f"{reason}: taking {finest} groups, a usual number for as many images. --clusters K sets another.")
        return finest
    note(f"{_range(suggestion)} groups fit these images: taking the finer end, {finest}. {folder / _PAGE} shows them.")
    for count, (command,) in zip(others, commands, strict=False):
        note(f"for {count} groups instead: {command}")
    return finest


def _usual(suggestion: Suggestion) -> int:
    """The square root of half the different images: a rule of thumb (Mardia, Kent and Bibby, 1979, page 365)."""
    return max(2, min(round(math.sqrt(suggestion.n_distinct / 2)), _MOST))


def _range(suggestion: Suggestion) -> str:
    assert suggestion.range is not None
    low, high = suggestion.range
    return f"{low} to {high}" if low < high else str(low)


def _fitted(folder: Path) -> int | None:
    """The number of clusters of the run in a folder of groups; None without one that can be read."""
    try:
        return int(runs.read_record(folder / "run").config["settings"]["n_clusters"])
    except (HeadclustError, LookupError, TypeError, ValueError):
        return None  # fitting reports what is wrong with a damaged run


def _read(folder: Path) -> tuple[int, Suggestion] | None:
    """The number and the suggestion that are recorded in a folder of groups; None if there are none."""
    file = folder / _RECORD
    if not file.exists():
        return None
    try:
        value: Any = json.loads(file.read_bytes())
        number = int(value["n_clusters"])
        if number < 1:
            raise ValueError(f"n_clusters is {number}")
        return number, Suggestion.from_json(value)
    except (OSError, ValueError, LookupError, TypeError, FileFormatError) as error:
        raise FileFormatError(f"{printable(str(file))} is damaged ({error}): delete it to suggest again.") from error
