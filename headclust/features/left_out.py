"""The images that a feature file leaves out: their reasons, and which of them are worth another try.

`/skipped` holds id and reason of each. The attribute `skipped_kinds` holds, in the same order, lists of kind, file size
and file time. The kind is "passing" for a reason that can pass (a disk that was away) and "lasting" for one that cannot
(a damaged file); size and time are those that `samples_sha256` was computed of. Files of older versions lack it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError, Reason
from headclust.features.format import samples_sha256

PASSING, LASTING = "passing", "lasting"
Stamp = tuple[int, int]


class LeftOut(NamedTuple):
    """An image without a row.

    Attributes:
        sample_id: Its name.
        reason: Why it cannot be read. Without a recorded kind it counts as passing.
        stamp: Size and time of its file when it was listed; None if unknown.
    """

    sample_id: str
    reason: Reason
    stamp: Stamp | None


def kind_of(reason: Reason) -> str:
    """The kind of a reason, as stored."""
    return PASSING if reason.passing else LASTING


def stored_kinds(left_out: Iterable[tuple[Reason, Stamp]]) -> list[list[Any]]:
    """The attribute `skipped_kinds`, of the reason and the stamp of each image."""
    return [[kind_of(reason), *stamp] for reason, stamp in left_out]


def check_kinds(kinds: Any, n_skipped: int) -> None:
    """Raise unless `kinds` is the attribute `skipped_kinds` of a file with this number of `/skipped`.

    Raises:
        DataError: Its form, its length or a value differs.
    """
    if not isinstance(kinds, list) or len(kinds) != n_skipped:
        raise DataError(f"its attribute skipped_kinds is no list of {n_skipped} items, one per image in /skipped.")
    for item in kinds:
        if not isinstance(item, list) or [type(part) for part in item] != [str, int, int]:
            raise DataError(f"its attribute skipped_kinds holds {str(item)[:60]}: expected kind, size and time.")
        if item[0] not in (PASSING, LASTING):
            raise DataError(f"its attribute skipped_kinds holds {item[0][:60]!r}: expected {PASSING} or {LASTING}.")


def read_left_out(skipped: Sequence[Sequence[str]], kinds: Sequence[Sequence[Any]] | None) -> tuple[LeftOut, ...]:
    """The images that a file leaves out.

    Args:
        skipped: (sample id, reason) of each.
        kinds: The attribute `skipped_kinds`; None in files of older versions.
    """
    if kinds is None:
        return tuple(LeftOut(name, Reason(text, True), None) for name, text in skipped)
    return tuple(
        LeftOut(name, Reason(text, kind == PASSING), (size, time))
        for (name, text), (kind, size, time) in zip(skipped, kinds, strict=True)
    )


def worth_trying(left_out: Iterable[LeftOut], stamps: Mapping[str, Stamp]) -> list[str]:
    """Ids of the images whose reason can pass, or whose file has changed since.

    Args:
        left_out: The images that a file leaves out.
        stamps: Current size and time of each file, by sample id.
    """
    return [
        name
        for name, reason, stamp in left_out
        if name in stamps and (reason.passing or stamp not in (None, stamps[name]))
    ]


def samples_as_recorded(
    left_out: Iterable[LeftOut], sample_ids: Sequence[str], stamps: Sequence[Stamp], labels: NDArray[np.int64] | None
) -> str:
    """`samples_sha256` of these samples, with the recorded stamps in place of the current ones for images left out.

    So a file is still that of its samples if a file that it leaves out has come back, or was replaced.
    """
    recorded = {name: stamp for name, _, stamp in left_out if stamp is not None}
    return samples_sha256(
        sample_ids, (recorded.get(name, stamp) for name, stamp in zip(sample_ids, stamps, strict=True)), labels
    )
