"""Errors that a user can fix, each with a one-line message, and the checks of settings that raise them."""

from __future__ import annotations

import difflib
import errno
import math
import sys
from collections.abc import Iterable, Mapping, Sequence

FINITE = sys.float_info.max  # as the upper end of a range: any number but infinity
# Messages without a type of their own: of torch on the CPU, on an accelerator and for sizes beyond any memory; of
# oneDNN, of C++, and of the system while it loads a library.
_OUT_OF_MEMORY = (
    *("can't allocate memory", "out of memory", "Storage size calculation overflowed", "not enough memory"),
    *("could not create a memory", "could not create a primitive", "std::bad_alloc"),
    *("Cannot allocate memory", "failed to map segment"),
)
ABOVE_ZERO, BELOW_ONE = math.nextafter(0, 1), math.nextafter(1, 0)  # as ends of a range: 0 and 1 themselves are outside


class HeadclustError(Exception):
    """An error with a one-line message: the thing, the problem, the expected value, the next step."""

    exit_code = 2


class SettingError(HeadclustError):
    """A name, a value or a combination of settings that is not possible."""


class DataError(HeadclustError):
    """Images, arrays or labels that cannot be used."""


class PassingError(DataError):
    """An image that cannot be read now, but perhaps later: missing, forbidden, a failing disk, a lack of memory."""


class FileFormatError(HeadclustError):
    """A file that is not in its format: truncated, of another program, or changed since it was written."""


class ConflictError(HeadclustError):
    """An existing result, an unfinished result with another plan, or a second writer is in the way."""


class LostProcessError(HeadclustError):
    """Another process of the same fit has ended; it reports the cause itself, if it can."""


class BusyError(ConflictError):
    """Another process is writing the same result: retry later."""


class SourceError(ConflictError):
    """The source of the images is gone, or has changed while it was read."""


class Reason(str):
    """Text: the reason why an image cannot be read; `passing` is True if that reason can pass.

    Args:
        text: The reason in one line.
        passing: True if the same file may be readable later (`PassingError`, a time-out, a decoder that was killed).
    """

    __slots__ = ("passing",)
    passing: bool

    def __new__(cls, text: str, passing: bool) -> Reason:
        """Make the text and its attribute."""
        reason = super().__new__(cls, text)
        reason.passing = passing
        return reason

    def __reduce__(self) -> tuple[type[Reason], tuple[str, bool]]:  # for copy.copy: str alone would lose the kind
        return Reason, (str(self), self.passing)


# Codes with which the system refuses a name or a position, at any time; a damaged file leads to impossible positions.
_LASTING = (errno.EINVAL, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.EFBIG, errno.EOVERFLOW)


def unreadable(error: BaseException, text: str) -> DataError:
    """The DataError with `text` for an error while reading: a PassingError if the cause was the system.

    Libraries also raise OSError for damaged content; only errors of the system have a code.
    """
    passing = isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno is not None and error.errno not in _LASTING
    )
    return PassingError(text) if passing else DataError(text)


def unknown(kind: str, name: str, names: Iterable[str], *, how: str = "") -> SettingError:
    """The error for a name that is not in a registry, with the most similar names of the registry.

    Args:
        kind: Kind of the name, in the user's words: "model", "method", "setting".
        name: The unknown name.
        names: The names that exist.
        how: The next step, for example a command that lists the names.
    """
    choices = sorted(names)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    hint = (
        f"did you mean {', '.join(near)}?"
        if near
        else f"known: {', '.join(choices[:12])}{' ...' if len(choices) > 12 else ''}."
    )
    return SettingError(f"unknown {kind} {name!r}: {hint}{' ' + how if how else ''}")


def one_line(error: BaseException) -> str:
    """The message of an error, without a file's path, in one line of at most 200 characters; else its type."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """True if memory ran out, or if that is the reason in the message of an error."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)


def check_ranges(owner: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raise if a setting is outside its range; NaN is outside every range.

    Args:
        owner: The object whose attributes are the settings.
        ranges: Name of a setting -> its smallest and largest allowed value. `FINITE` as the largest value allows any
            number but infinity, `math.inf` allows infinity too; `ABOVE_ZERO` and `BELOW_ONE` are open ends.

    Raises:
        SettingError: A value is outside its range.
    """
    for name, (least, most) in ranges.items():
        value = getattr(owner, name)
        if not least <= value <= most:
            raise SettingError(f"{name} is {value}: expected {_describe(least, most)}.")


def _describe(least: float, most: float) -> str:
    lower = "more than 0" if least == ABOVE_ZERO else f"{least} or more"
    if most >= FINITE:
        return lower
    return f"{lower}, and less than 1" if most == BELOW_ONE else f"{least} to {most:,g}"


def check_choices(owner: object, choices: Mapping[str, Sequence[str]]) -> None:
    """Raise if a setting is not one of its choices.

    Args:
        owner: The object whose attributes are the settings.
        choices: Name of a setting -> its allowed values.

    Raises:
        SettingError: A value is not among its choices.
    """
    for name, allowed in choices.items():
        value = getattr(owner, name)
        if value not in allowed:
            raise SettingError(f"{name} is {value!r}: expected one of {', '.join(allowed)}.")
