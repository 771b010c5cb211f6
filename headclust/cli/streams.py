"""Standard output in any encoding: no character, and no name of a file, makes a command fail."""

from __future__ import annotations

import codecs
import os
import sys
from typing import TextIO

_ERRORS = "headclust-bytes"


def prepare_stdout() -> None:
    """Print names of files as their bytes, and escape characters that the encoding of stdout lacks.

    ASCII, the encoding of the C locale, becomes UTF-8: it is not chosen but left over.
    """
    stream: TextIO | None = sys.stdout
    if stream is None or not hasattr(stream, "reconfigure"):
        return
    name = codecs.lookup(stream.encoding).name
    if name in ("ascii", "utf-8"):
        stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    else:
        codecs.register_error(_ERRORS, _bytes_or_escape)
        stream.reconfigure(errors=_ERRORS)


def discard_stdout() -> None:
    """Discard output that stdout could not take; flushing it at exit would raise again."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _bytes_or_escape(error: UnicodeError) -> tuple[str | bytes, int]:
    r"""The byte that a surrogate escape stands for (of a name that is not UTF-8), or a character as \xNN or \uNNNN."""
    assert isinstance(error, UnicodeEncodeError)
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeEncodeError:
        return codecs.lookup_error("backslashreplace")(error)
