"""Names that are valid file names, numbered paths, and names as written into files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def file_name(text: str) -> str:
    """`text` as a name that is valid on every file system: all but letters, digits and `._=+@` becomes "-"."""
    text = text.encode(errors="surrogateescape").decode(errors="backslashreplace")  # bytes that are not UTF-8: \xe9
    return re.sub(r"[^\w.=+@-]+", "-", text).strip("-.") or "unnamed"


def storable_name(name: str) -> str:
    """`name` with surrogates that represent no byte (U+DC80-U+DCFF do) replaced by the bytes of their UTF-8 code."""
    if _NO_BYTE.search(name):
        return name.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    return name


def numbered(path: Path, *, suffix: str = "") -> Iterator[Path]:
    """`path`, then `path` with -2, -3 ... at the end of its name, before `suffix`, without end.

    Args:
        path: The path without a number; its name ends with `suffix`.
        suffix: The end of the name that follows the number, for example ".h5"; the number is last by default.
    """
    yield path
    stem = path.name.removesuffix(suffix)
    for number in itertools.count(2):
        yield path.with_name(f"{stem}-{number}{suffix}")
