"""Match the names of rows made elsewhere with the images of a source."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from headclust.errors import DataError
from headclust.filenames import storable_name
from headclust.images.datasets.imageset import ImageSet
from headclust.progress import note, printable


def matched_ids(images: ImageSet, names: Sequence[str]) -> list[str]:
    """The sample ids of the images with these names; a name without an image is not changed. One line sums up.

    A name matches an image by, in this order: its sample id; its path, absolute or from a folder above the source; its
    file name; its file name without suffix. From the second on the case of letters does not matter, and a match must be
    the only one.

    Args:
        images: The images.
        names: Different names.

    Raises:
        DataError: No name matches.
    """
    ids = [storable_name(name) for name in images.sample_ids]
    row_of = dict[int, int]()  # row of the image by position of the name
    by_other_names = 0
    keys = ((_same, _same), (_normal, _path_below(images.source)), (_file_name, _file_name), (_stem, _stem))
    for key_of_image, key_of_name in keys:
        free = set(range(len(ids))) - set(row_of.values())
        rows = _unique({row: key_of_image(ids[row]) for row in free})
        open_names = {at: storable_name(name) for at, name in enumerate(names) if at not in row_of}
        positions = _unique({at: key_of_name(name) for at, name in open_names.items()})
        new = {positions[text]: rows[text] for text in positions.keys() & rows.keys()}
        by_other_names += sum(open_names[at] != ids[row] for at, row in new.items())
        row_of |= new
    source = printable(images.source)
    if not row_of:
        examples = f"{printable(names[0])!r} and {printable(images.sample_ids[0])!r}"
        raise DataError(f"no id is the name of an image in {source}: the first are {examples}: name another folder.")
    missing = [name for at, name in enumerate(names) if at not in row_of]
    phrases = [f"images of {len(row_of)} of {len(names)} rows are in {source}"]
    phrases += [f"{by_other_names} ids were replaced by the path there"] if by_other_names else []
    phrases += [f"no image for {printable(missing[0])!r}" + _others(len(missing) - 1)] if missing else []
    phrases += [f"{len(ids) - len(row_of)} of its images have no row"] if len(ids) > len(row_of) else []
    note(f"{'; '.join(phrases)}.")
    return [images.sample_ids[row_of[at]] if at in row_of else name for at, name in enumerate(names)]


def _others(count: int) -> str:
    return f" and {count} others" if count else ""


def _unique(keys: dict[int, str]) -> dict[str, int]:
    """Number by key, for keys that occur once."""
    counts = Counter(keys.values())
    return {key: number for number, key in keys.items() if counts[key] == 1}


def _same(name: str) -> str:
    return name


def _normal(name: str) -> str:
    """`name` without differences of case, of Unicode composition, and of Windows and POSIX paths."""
    return posixpath.normpath(unicodedata.normalize("NFC", name).casefold().replace("\\", "/"))


def _path_below(source: str) -> Callable[[str], str]:
    """A function that removes the source, or the last folders of its path, from the start of a path."""
    parts = _normal(source).split("/")
    starts = ["/".join(parts[start:]) + "/" for start in range(len(parts))]

    def key(name: str) -> str:
        path = _normal(name)
        return next((path.removeprefix(start) for start in starts if path.startswith(start)), path)

    return key


def _file_name(name: str) -> str:
    return _normal(name).rpartition("/")[2]


def _stem(name: str) -> str:
    return posixpath.splitext(_file_name(name))[0]
