"""Handling of images that cannot be read: stop at the first, after a number of them, or never."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headclust.errors import DataError, SettingError
from headclust.progress import printable


@dataclass(frozen=True)
class Tolerance:
    """Limit on the unreadable images that are left out. Not part of a plan, because no row depends on it.

    Args:
        on_error: "fail" or "skip".
        max_bad: With "skip", the largest number of images left out; None for no limit.
    """

    on_error: str = "fail"
    max_bad: int | None = None

    def check(self) -> None:
        """Raise if the settings are not allowed.

        Raises:
            SettingError: `on_error` is neither value, or `max_bad` is negative or given without "skip".
        """
        if self.on_error not in ("fail", "skip"):
            raise SettingError(f"on-error {self.on_error!r}: expected fail or skip.")
        if self.max_bad is not None and (self.max_bad < 0 or self.on_error == "fail"):
            raise SettingError(f"max-bad {self.max_bad}: expected 0 or more, together with --on-error skip.")

    def check_bad(self, sample_ids: Sequence[str], bad: Mapping[int, str]) -> None:
        """Raise if too many images cannot be read.

        Args:
            sample_ids: Names of all rows.
            bad: Reason per row of the images that cannot be read.

        Raises:
            DataError: There are any, or with "skip" more than `max_bad`.
        """
        skip = self.on_error == "skip"
        if not bad or (skip and (self.max_bad is None or len(bad) <= self.max_bad)):
            return
        row = max(bad) if skip else min(bad)
        reason = describe_unreadable(sample_ids[row], bad[row])
        if skip:
            limit = f"{len(bad)} of the images cannot be read, --max-bad allows {self.max_bad}"
            raise DataError(f"{limit} (the last: {reason}): fix them, or use a higher limit.")
        raise DataError(f"{reason}: fix or remove it, or leave out what cannot be read with --on-error skip.")


def describe_unreadable(sample_id: str, reason: str) -> str:
    """Name of an image and the reason why it cannot be read, as a part of a sentence."""
    return f"{printable(sample_id)}: {printable(reason).removesuffix('.')}"
