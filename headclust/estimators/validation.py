"""Errors and checks as callers of scikit-learn expect them: bad input and bad settings are ValueErrors."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headclust.errors import DataError, FileFormatError, HeadclustError, SettingError


class InputError(HeadclustError, ValueError):
    """Input or a parameter that cannot be used; both a HeadclustError and a ValueError."""


@contextmanager
def value_errors(about: str = "") -> Iterator[None]:
    """Raise errors about data and settings as `InputError`, with the same line.

    Args:
        about: Text added to the line, for example the shape of the input.
    """
    try:
        yield
    except InputError:
        raise
    except (DataError, FileFormatError, SettingError) as error:
        raise InputError(f"{error} ({about})" if about else str(error)) from error


def check_kind(name: str, value: Any, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raise if a parameter is of none of these kinds.

    Raises:
        InputError: It is of another kind than `expected`.
    """
    if not isinstance(value, kinds):
        raise InputError(f"{name} is {value!r}: expected {expected}.")


def check_whole(name: str, value: Any, *, least: int = 1) -> int:
    """A parameter as a whole number.

    Raises:
        InputError: It is no whole number, or is below `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise InputError(f"{name} is {value!r}: expected a whole number, {least} or more.")
    return number
