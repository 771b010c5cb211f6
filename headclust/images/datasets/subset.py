"""Files that name the classes of a subset, for example the 50, 100 and 200 ImageNet classes of clustering papers."""

from __future__ import annotations

from pathlib import Path

from headclust.errors import SettingError
from headclust.textfiles import read_lines


def read_class_ids(path: Path) -> tuple[str, ...]:
    """The classes that a text file names, one per line, in its order.

    The first word of a line is the class and the rest is a remark, as in SCAN's lists (`n01601694 Dipper`). A class
    with spaces is written in double quotes, from the start of the line to the last quote in it: `"Ankle boot"`. Quotes
    elsewhere are part of the name. Blank lines and lines that start with `#` are ignored; a class that starts with `#`
    or a quote is written in quotes too. Bytes that are not UTF-8 become surrogate escapes, as in file names.

    SCAN's lists: https://github.com/wvangansbeke/Unsupervised-Classification/tree/master/data/imagenet_subsets

    Raises:
        DataError: The file is missing or unreadable.
        FileFormatError: It is not text.
        SettingError: No class is named, a class is named twice, or a quote is not closed.
    """
    seen: dict[str, int] = {}
    for number, line in enumerate(read_lines(path, any_bytes=True), start=1):
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


def _class_in(line: str) -> str | None:
    """The class that a line names; None if a quote is not closed, or nothing is between the quotes."""
    if line.startswith('"'):
        return line[1:].rpartition('"')[0] or None
    return line.split(maxsplit=1)[0]
