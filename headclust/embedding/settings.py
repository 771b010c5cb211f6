"""EmbedSettings: how images become a feature file, checked when built. Loads no heavy library."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from headclust.choices import Augmentation, Dtype, OnError, Precision
from headclust.errors import DataError, Reason, SettingError, unknown
from headclust.progress import printable

_LONGEST_TIMEOUT = 86_400  # seconds
MOST_PIXELS = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class EmbedSettings:
    """Settings of stage 1 besides the images, the backbone and the output file.

    Args:
        batch_size: Images per forward pass; part of the plan, because the last bits of a row depend on it.
        dtype: "float32" or "float16", of the stored features.
        device: "cpu", "cuda", "cuda:N" or "mps"; the best available when None.
        precision: Of the computation: "float32", "bfloat16" (autocast), or "auto" for float16 autocast on CUDA and MPS.
        n_views: Augmented views to embed per image, besides the image itself.
        augmentation: Kind of the views: "standard" or "strong".
        on_error: "fail" stops at the first image that cannot be read; "skip" lists it in the file with the reason.
        max_bad: With "skip", stop when more images than this cannot be read; finished work is not lost. None: no limit.
        timeout: Seconds that reading an image may take, up to a day; a slower image is tried once more, then counts as
            unreadable.
        max_pixels: Largest image to read, in pixels. When None, 89 million, and 268 million of a JPEG, which takes less
            memory because it is decoded at a reduced size.
        overwrite: Replace a finished file, and unfinished work with other settings.
        seed: Seed of a random subset of the images and of the views, 0 to 2**63 - 1.

    Raises:
        SettingError: A value is out of its range, or `max_bad` is given without "skip".
    """

    batch_size: int = 64
    dtype: Dtype = "float32"
    device: str | None = None
    precision: Precision = "auto"
    n_views: int = 0
    augmentation: Augmentation = "standard"
    on_error: OnError = "fail"
    max_bad: int | None = None
    timeout: float = 60.0
    max_pixels: int | None = None
    overwrite: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("n_views", 0), ("seed", 0)):
            value = getattr(self, name)
            if not (hasattr(value, "__index__") and least <= value < 2**63):
                raise SettingError(f"{name.replace('_', ' ')} {value!r}: expected a whole number, {least} or more.")
            object.__setattr__(self, name, operator.index(value))  # Python integers, which JSON can store
        if self.max_pixels is not None and not 1 <= self.max_pixels <= MOST_PIXELS:
            raise SettingError(f"max-pixels {self.max_pixels}: expected 1 to {MOST_PIXELS}.")
        for name, choices in (("dtype", Dtype), ("precision", Precision), ("augmentation", Augmentation)):
            if getattr(self, name) not in get_args(choices):
                raise unknown(name, getattr(self, name), get_args(choices))
        if self.on_error not in get_args(OnError):
            raise SettingError(f"on-error {self.on_error!r}: expected fail or skip.")
        if self.max_bad is not None and (self.max_bad < 0 or self.on_error == "fail"):
            raise SettingError(f"max-bad {self.max_bad}: expected 0 or more, together with --on-error skip.")
        if not 0 < self.timeout <= _LONGEST_TIMEOUT:
            expected = f"more than 0, at most {_LONGEST_TIMEOUT} (a day)"
            raise SettingError(f"timeout {self.timeout:g} s: expected {expected}.")

    def check_unreadable(self, sample_ids: Sequence[str], unreadable: Mapping[int, Reason]) -> None:
        """Raise if there are more unreadable images than these settings allow.

        Args:
            sample_ids: Names of all rows.
            unreadable: Row and reason of each image that cannot be read.

        Raises:
            DataError: An image is unreadable and `on_error` is "fail", or more than `max_bad` images are.
        """
        skip = self.on_error == "skip"
        if not unreadable or (skip and (self.max_bad is None or len(unreadable) <= self.max_bad)):
            return
        row = max(unreadable) if skip else min(unreadable)
        reason = describe_unreadable(sample_ids[row], unreadable[row])
        if skip:
            count = f"{len(unreadable)} of the images cannot be read, --max-bad allows {self.max_bad}"
            raise DataError(f"{count} (the last: {reason}): fix them, or set a higher limit.")
        raise DataError(f"{reason}: fix or remove it, or leave out unreadable images with --on-error skip.")


def chosen_precision(recorded: str | None) -> Precision:
    """The setting that gives the precision that a feature file records; "auto" if none is recorded."""
    return "float32" if recorded == "float32" else "bfloat16" if recorded == "bfloat16 autocast" else "auto"


def describe_unreadable(sample_id: str, reason: str) -> str:
    """An image and the reason why it cannot be read, as part of a sentence."""
    return f"{printable(sample_id)}: {printable(reason).removesuffix('.')}"
