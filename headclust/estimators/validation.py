"""What scikit-learn's callers catch: bad input and bad settings are ValueErrors there."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headclust.errors import DataError, FileFormatError, HeadclustError, SettingError


class InputError(HeadclustError, ValueError):
    """Input or a parameter that cannot be used, for those who catch either kind."""


@contextmanager
def value_errors(about: str = "") -> Iterator[None]:
    """Raises what can be mended about data and settings as `InputError`, with the same line.

    Args:
        about: What is put behind the line, for example the shape of the input.
    """
    try:
        yield
    except InputError:
        raise
    except (DataError, FileFormatError, SettingError) as error:
        raise InputError(f"{error} ({about})" if about else str(error)) from error


def check_kind(name: str, value: Any, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Refuses a parameter that is of none of these kinds.

    Raises:
        InputError: It is not.
    """
    if not isinstance(value, kinds):
        raise InputError(f"{name} is {value!r}: expected {wanted}.")


def check_whole(name: str, value: Any, *, least: int = 1) -> int:
    """A parameter that has to be a whole number, as one.

    Raises:
        InputError: It is not, or is below `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise InputError(f"{name} is {value!r}: expected a whole number, {least} or more.")
    return number
