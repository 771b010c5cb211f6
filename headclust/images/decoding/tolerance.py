"""What is done about images that cannot be read: stop at once, after too many, or never."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headclust.errors import DataError, SettingError
from headclust.progress import printable


@dataclass(frozen=True)
class Tolerance:
    """How many images may be left out. Not part of a plan: it decides whether to go on, not what the rows are.

    Args:
        on_error: "fail" or "skip".
        max_bad: With "skip", the most that may be left out; None for no limit.
    """

    on_error: str = "fail"
    max_bad: int | None = None

    def check(self) -> None:
        """Refuses what is not possible.

        Raises:
            SettingError: `on_error` is neither, or `max_bad` does not go with it.
        """
        if self.on_error not in ("fail", "skip"):
            raise SettingError(f"on-error {self.on_error!r}: expected fail or skip.")
        if self.max_bad is not None and (self.max_bad < 0 or self.on_error == "fail"):
            raise SettingError(f"max-bad {self.max_bad}: expected 0 or more, together with --on-error skip.")

    def check_bad(self, sample_ids: Sequence[str], bad: Mapping[int, str]) -> None:
        """Stops over images that cannot be read, if that is wanted.

        Args:
            sample_ids: Names of all rows.
            bad: Row and reason of those that cannot be read.

        Raises:
            DataError: There are some, or more than are put up with.
        """
        skip = self.on_error == "skip"
        if not bad or (skip and (self.max_bad is None or len(bad) <= self.max_bad)):
            return
        row = max(bad) if skip else min(bad)
        reason = told(sample_ids[row], bad[row])
        if skip:
            limit = f"{len(bad)} of the images cannot be read, --max-bad allows {self.max_bad}"
            raise DataError(f"{limit} (the last: {reason}): mend them, or go on with a higher limit.")
        raise DataError(f"{reason}: mend or remove it, or leave out what cannot be read with --on-error skip.")


def told(sample_id: str, reason: str) -> str:
    """An image and why it cannot be read, to be put into a sentence."""
    return f"{printable(sample_id)}: {printable(reason).removesuffix('.')}"
