"""Files that name the classes of a subset, for example the 50, 100 and 200 ImageNet classes of clustering papers."""

from __future__ import annotations

from pathlib import Path

from headclust.errors import DataError, SettingError

_MAX_BYTES = 2**24


def read_class_ids(path: Path) -> tuple[str, ...]:
    """The classes that a text file names, one per line, in its order.

    The first word of a line is the class and the rest is a remark, as in SCAN's lists (`n01601694 Dipper`). A class
    with spaces is written in double quotes, from the start of the line to the last quote in it: `"Ankle boot"`. Quotes
    elsewhere are part of the name. Blank lines and lines that start with `#` are ignored; a class that starts with `#`
    or a quote is written in quotes too. The file is UTF-8; other bytes become surrogate escapes, as in file names.

    SCAN's lists: https://github.com/wvangansbeke/Unsupervised-Classification/tree/master/data/imagenet_subsets

    Raises:
        DataError: The file is missing, unreadable, larger than 16 MiB, or not text.
        SettingError: No class is named, a class is named twice, or a quote is not closed.
    """
    seen: dict[str, int] = {}
    for number, line in enumerate(_text(path).split("\n"), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name = _class_in(line)
        if name is None:
            raise SettingError(f"{path}, line {number}: expected a class in double quotes, found {line[:50]!r}.")
        if name in seen:
            raise SettingError(f"{path}, line {number}: class {name!r} is named on line {seen[name]} already.")
        seen[name] = number
    if not seen:
        raise SettingError(f"{path} names no class: expected one per line.")
    return tuple(seen)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"list of classes {str(path)[:100]!r} cannot be read: {reason}.") from None
    if len(data) > _MAX_BYTES or b"\0" in data:
        raise DataError(f"{path} is no list of classes: expected UTF-8 text with one class per line.")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _class_in(line: str) -> str | None:
    """The class that a line names; None if a quote is not closed, or nothing is between the quotes."""
    if line.startswith('"'):
        return line[1:].rpartition('"')[0] or None
    return line.split(maxsplit=1)[0]
