"""What can go wrong in a way a user can mend: one line each, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HeadclustError(Exception):
    """A failure the caller can act on, told in one line: the thing, what was found, what was wanted, the next step."""

    exit_code = 2


class SettingError(HeadclustError):
    """A name, a value or a combination of settings that is not possible."""


class DataError(HeadclustError):
    """Images, arrays or labels that cannot be used as they are."""


class FileFormatError(HeadclustError):
    """A file that is not what its name says: truncated, foreign, changed since it was written."""


class ConflictError(HeadclustError):
    """Something is in the way: an existing result, an unfinished one with another plan, a second writer."""


class BusyError(ConflictError):
    """Another process is making the same thing: it will be there later."""


def unknown(kind: str, name: str, known: Iterable[str], *, how: str = "") -> SettingError:
    """The error for a name that is not in a registry, with the nearest names it holds.

    Args:
        kind: What was looked up, as a user would call it: "model", "method", "setting".
        name: What was asked for.
        known: The names that exist.
        how: The next step, for example a command that lists the names.
    """
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    hint = (
        f"did you mean {', '.join(near)}?"
        if near
        else f"known: {', '.join(choices[:12])}{' ...' if len(choices) > 12 else ''}."
    )
    return SettingError(f"unknown {kind} {name!r}: {hint}{' ' + how if how else ''}")


def one_line(error: BaseException) -> str:
    """What an error says, without a file's path, in one line of at most 200 characters; else its type."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__
