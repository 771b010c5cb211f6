"""Errors and checks as callers of scikit-learn expect them: bad input and bad settings are ValueErrors."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sklearn.exceptions import NotFittedError

from headclust.errors import HeadclustError


class InputError(HeadclustError, ValueError):
    """Input or a parameter that cannot be used; both a HeadclustError and a ValueError."""


class InputTypeError(InputError, TypeError):
    """Input of a type that scikit-learn calls a TypeError."""


class UnfittedError(InputError, NotFittedError):  # type: ignore[misc]
    """A method that needs a fitted estimator is called before `fit`."""


@contextmanager
def value_errors(about: str = "") -> Iterator[None]:
    """Raise errors of headclust as `InputError`, with the same line.

    Args:
        about: Text added to the line, for example the shape of the input.
    """
    try:
        yield
    except InputError:
        raise
    except HeadclustError as error:
        raise InputError(f"{error} ({about})" if about else str(error)) from error


@contextmanager
def scikit_learn_errors() -> Iterator[None]:
    """Raise errors of scikit-learn's checks as `InputError` too, in one line.

    Only its error about other column names has several lines, one per name, as its checks of estimators expect.
    """
    try:
        yield
    except NotFittedError as error:
        raise UnfittedError(str(error)) from error
    except TypeError as error:
        raise InputTypeError(_first_line(str(error))) from error
    except ValueError as error:
        raise InputError(_first_line(str(error))) from error


def _first_line(text: str) -> str:
    """scikit-learn's message without the values of X and what other estimators could do; with the advice on shapes."""
    if text.startswith("The feature names"):
        return text
    first, _, rest = text.partition("\n")
    _, advice, more = rest.partition("Reshape")
    return " ".join(f"{first} {advice}{more}".split())


def check_kind(name: str, value: Any, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raise if a parameter has none of these types.

    Raises:
        InputError: The type is another one; the message has `expected`.
    """
    if not isinstance(value, kinds):
        raise InputError(f"{name} is {value!r}: expected {expected}.")


def check_whole(name: str, value: Any, *, least: int = 1) -> int:
    """A parameter as a whole number.

    Raises:
        InputError: The value is no whole number, or is below `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise InputError(f"{name} is {value!r}: expected a whole number, {least} or more.")
    return number
