"""Names: as file names anywhere, and as they are written into files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def file_name(text: str) -> str:
    """`text` with everything but letters, digits and `._=+@` turned into "-", so that it can name a file anywhere."""
    text = text.encode(errors="surrogateescape").decode(errors="backslashreplace")  # what is not UTF-8 stays apart
    return re.sub(r"[^\w.=+@-]+", "-", text).strip("-.") or "unnamed"


def as_written(name: str) -> str:
    """`name` with the surrogates that stand for no byte (U+DC80-U+DCFF do) as the bytes UTF-8 would have for them."""
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
