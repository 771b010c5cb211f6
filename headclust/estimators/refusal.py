"""What scikit-learn's callers catch: bad input and bad settings are ValueErrors there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
