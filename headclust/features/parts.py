"""The parts of a file of another program that are embeddings, ids and labels: arrays, entries or columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headclust.errors import DataError, SettingError
from headclust.progress import printable

# A matrix has one row per sample (in a table: a column of lists), numbers and texts have one value per sample.
Kind = Literal["matrix", "numbers", "texts", "other"]

_IDS = ("sample_id", "path", "file", "filename", "file_name", "image_path", "image", "id", "name")
_LABELS = ("label", "class", "target")
_ROW_NUMBERS = ("", "index", "unnamed: 0", "__index_level_0__")  # as pandas writes them
_NUMBERED = re.compile(r"(.*?)([0-9]+)")
_MAX_NAMED = 5  # names in a line


@dataclass(frozen=True)
class Parts:
    """Names of parts: one matrix or columns of numbers with the `features`, and those of ids and labels, if any."""

    features: tuple[str, ...]
    ids: str | None = None
    labels: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """The parts that are read and those that are left out, in a phrase."""
        first, last = printable(self.features[0]), printable(self.features[-1])
        phrases = [first if len(self.features) == 1 else f"{len(self.features)} columns, {first} to {last}"]
        used = (("ids", self.ids), ("labels", self.labels))
        phrases += [f"{what} from {printable(name)}" for what, name in used if name is not None]
        phrases += [f"left out {named(self.left_out)}"] if self.left_out else []
        return "; ".join(phrases)


def choose(path: Path, kinds: Mapping[str, Kind], key: str | None = None, *, is_table: bool = True) -> Parts:
    """The parts to read, by their names and kinds.

    The embeddings are the part `key`, or the only matrix, or without a matrix the numbered columns (a prefix and
    numbers that count up from 0 or 1), or without these all columns of numbers. Ids and labels are recognized by names
    such as `path` and `label`.

    Args:
        path: The file, for messages.
        kinds: Kind of each part by its name, in the order of the file.
        key: Name of a matrix, or the prefix of numbered columns.
        is_table: Take columns of numbers too; otherwise a matrix only.

    Raises:
        SettingError: Nothing is named `key`, or there are several candidates.
        DataError: There are no numbers.
    """
    file = printable(str(path))
    by_name = {name.strip().lower(): name for name, kind in kinds.items() if kind in ("numbers", "texts")}
    ids, labels = _first(by_name, _IDS), _first(by_name, _LABELS)
    numbers = [name for name, kind in kinds.items() if kind == "numbers" and name not in (ids, labels)]
    columns = [name for name in numbers if name.strip().lower() not in _ROW_NUMBERS]
    matrices: dict[str, tuple[str, ...]] = {name: (name,) for name, kind in kinds.items() if kind == "matrix"}
    groups = _numbered(columns) if is_table else {}
    candidates = matrices or groups or ({"": tuple(columns)} if columns and is_table else {})
    if key is not None:
        candidates = {name: parts for name, parts in (groups | matrices).items() if name == key}
        if not candidates:
            raise SettingError(f"{file} has no embeddings named {key!r}: it holds {named(kinds)}.")
    if not candidates:
        expected = "columns of numbers" if is_table else "an array (n_samples, feature_dim)"
        raise DataError(f"{file} holds {named(kinds) or 'nothing'}: expected {expected}.")
    if len(candidates) > 1:
        raise SettingError(f"{file} holds several embeddings: choose one with --key: {named(candidates)}.")
    (features,) = candidates.values()
    left_out = tuple(name for name in kinds if name not in (*features, ids, labels))
    return Parts(features, ids, labels, left_out)


def named(names: Sequence[str] | Mapping[str, object]) -> str:
    """The first names, quoted, and the number of the others."""
    shown = ", ".join(repr(printable(name)[:50]) for name in list(names)[:_MAX_NAMED])
    return f"{shown} and {len(names) - _MAX_NAMED} others" if len(names) > _MAX_NAMED else shown


def _first(by_name: Mapping[str, str], names: Sequence[str]) -> str | None:
    """The first of `names`, or of their plurals, that exists."""
    plurals = (form for name in names for form in (name, f"{name}es" if name.endswith("s") else f"{name}s"))
    return next((by_name[form] for form in plurals if form in by_name), None)


def _numbered(columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Columns whose names are a prefix and numbers that count up from 0 or 1, at least two of them, by prefix."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in columns:
        if match := _NUMBERED.fullmatch(name):
            groups.setdefault(match[1], []).append((int(match[2]), name))
    return {
        prefix: tuple(name for _, name in members)
        for prefix, members in groups.items()
        if len(members) > 1 and [number - members[0][0] for number, _ in members] == list(range(len(members)))
        if members[0][0] in (0, 1)
    }
