"""names.json of a run folder: the names that `headclust name` proposes for its groups and their joins.

It has no checksum and can be made again. See docs/run-folder.md.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headclust.disk import write_atomically, write_errors
from headclust.errors import FileFormatError
from headclust.progress import printable

NAMES = "names.json"
MAX_LENGTH = 200  # characters of a name
_FORMAT, _FORMAT_VERSION = "headclust-names", 1
_NOT_IN_NAMES = ("Cc", "Cs", "Zl", "Zp")  # categories of characters
_MOST_BYTES = 100_000_000
_LONGEST_ID = 9  # digits


@dataclass(frozen=True)
class Name:
    """The proposed `name` of a group, None if no word is good enough, with its `score` and further `alternatives`."""

    name: str | None
    score: float = 0.0
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Names:
    """Proposed names of a run.

    Attributes:
        source: Where the words come from, for a person.
        groups: The name of each group, by its id, before any join.
        joins: The name of the group that each join of levels.json makes, in their order; None where there is none.
    """

    source: str
    groups: Mapping[int, Name]
    joins: Sequence[Name | None] = ()

    def after(self, joins: Sequence[tuple[int, int]]) -> dict[int, Name]:
        """The names by the id of the group, after the first joins of levels.json.

        Args:
            joins: The joins that are applied, (id that is kept, id that becomes part of it).
        """
        current = dict(self.groups)
        for (union, part), proposed in zip(joins, [*self.joins, *[None] * len(joins)], strict=False):
            current.pop(part, None)
            # The name of one part does not cover the union: without a name of its own, the union has none.
            current[union] = proposed or Name(None)
        return current

    def without(self, texts: Iterable[str]) -> Names:
        """The names without some texts, in any case: groups and unions that have one of these have no name."""
        taken = {text.casefold() for text in texts}

        def free(name: Name) -> Name:
            return replace(name, name=None) if name.name and name.name.casefold() in taken else name

        groups = {group: free(name) for group, name in self.groups.items()}
        return replace(self, groups=groups, joins=tuple(name and free(name) for name in self.joins))


def is_name(text: str) -> bool:
    """True if `text` can name a group: 1 to 200 characters without line ends, controls or lone surrogates."""
    # Of characters that print nothing, joiners and the like are part of names in many scripts; line ends are not.
    is_shown = all(unicodedata.category(character) not in _NOT_IN_NAMES for character in text)
    return text == text.strip() and 1 <= len(text) <= MAX_LENGTH and is_shown


def write_names(run: Path, names: Names) -> Path:
    """Write names.json into a run folder, or replace it; return its path.

    Raises:
        HeadclustError: The file cannot be written.
    """
    path = run / NAMES
    contents = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "source": names.source,
        "groups": {str(group): _to_json(name) for group, name in sorted(names.groups.items())},
        "joins": [_to_json(name) if name else None for name in names.joins],
    }
    with write_errors(path):
        write_atomically(path, (json.dumps(contents, indent=1) + "\n").encode())
    return path


def read_names(run: Path) -> Names | None:
    """The names in names.json of a run folder; None if there is no such file.

    Raises:
        FileFormatError: The file is damaged, or of a newer version.
    """
    path = run / NAMES
    if not path.exists():
        return None
    try:
        if not path.is_file():  # a pipe would block
            raise ValueError("it is not a file")
        with path.open("rb") as file:
            contents = json.loads(file.read(_MOST_BYTES).decode())
        _check_format(contents)
        groups = {_group_id(group): _from_json(name) for group, name in contents["groups"].items()}
        joins = tuple(None if name is None else _from_json(name) for name in contents["joins"])
        return Names(_text(contents["source"]), groups, joins)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = printable(str(error).partition("\n")[0])[:100]
        raise FileFormatError(
            f"{printable(str(path))} cannot be read ({reason}): make it again with headclust name, or delete it."
        ) from None


def _check_format(contents: Any) -> None:
    if not isinstance(contents, dict) or contents.get("format") != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT}")
    version = contents.get("format_version")
    if version != _FORMAT_VERSION:
        raise ValueError(f"its format version is {str(version)[:20]}, expected {_FORMAT_VERSION}")


def _group_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_ID):
        raise ValueError(f"{text[:20]!r} is not the id of a group")
    return int(text)


def _to_json(name: Name) -> dict[str, Any]:
    return {"name": name.name, "score": round(name.score, 4), "alternatives": list(name.alternatives)}


def _from_json(value: Any) -> Name:
    name, score = value["name"], value.get("score", 0.0)
    if not isinstance(score, int | float) or isinstance(score, bool) or not 0 <= score <= 1:
        raise ValueError(f"score {str(score)[:20]}, expected 0 to 1")
    alternatives = tuple(_text(text) for text in value.get("alternatives", ()))
    return Name(None if name is None else _text(name), float(score), alternatives)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise ValueError(f"{str(value)[:20]!r} is not a name")
    return value
