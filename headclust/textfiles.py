"""Text files that users write: lines and tables, in UTF-8 or UTF-16, with the line ends of any system."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from headclust.errors import DataError, FileFormatError
from headclust.progress import printable

DELIMITERS: Mapping[str, str] = {".csv": ",", ".tsv": "\t"}
# Longest first: the mark of UTF-32 starts with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# With an optional ".0": programs often write whole numbers so if the column has missing values.
_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,18})(\.0*)?")


def read_lines(path: Path, *, any_bytes: bool = False) -> list[str]:
    r"""The lines of a text file, ended by \n, \r\n or \r; blank lines at the end are left out.

    Args:
        path: The file.
        any_bytes: Turn bytes that are not UTF-8 into surrogate escapes, as in file names, instead of raising.

    Raises:
        DataError: The file does not exist or cannot be read.
        FileFormatError: It is not text: bytes that are not of its encoding, or a null character.
    """
    lines = [line.removesuffix("\n") for line in _stream(path, None, any_bytes=any_bytes)]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def read_names(path: Path) -> list[str]:
    """One name per line, as in a list of sample ids; bytes that are not UTF-8 become surrogate escapes.

    Raises:
        DataError: The file does not exist, a line is blank, or a name occurs twice; with the numbers of the lines.
        FileFormatError: It is not text.
    """
    return unique_names(path, enumerate(read_lines(path, any_bytes=True), start=1))


def unique_names(path: Path, numbered: Iterable[tuple[int, str]], unit: str = "line") -> list[str]:
    """The names in pairs (number of the line, name), none of them blank or repeated.

    Args:
        path: The file, for messages.
        numbered: The pairs.
        unit: The word for what is numbered, for messages.

    Raises:
        DataError: A name is blank or occurs twice.
    """
    numbers: dict[str, int] = {}
    for number, name in numbered:
        where = f"{printable(str(path))}, {unit} {number}"
        if not name.strip():
            raise DataError(f"{where} is blank: expected one name per {unit}.")
        if name in numbers:
            shown = printable(name)[:100]
            raise DataError(f"{where}: {shown!r} is in {unit} {numbers[name]} already: expected every name once.")
        numbers[name] = number
    return list(numbers)


def table_rows(path: Path, *, delimiter: str = ",", any_bytes: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table with quotes as in spreadsheets, each with the number of its last line; blank ones left out.

    Args:
        path: The file.
        delimiter: The character between cells.
        any_bytes: As for `read_lines`.

    Raises:
        DataError: The file does not exist or cannot be read.
        FileFormatError: It is not text, or a quote is not closed.
    """
    # Strict: otherwise an unclosed quote would join the rest of the table to one cell.
    reader = csv.reader(_stream(path, "", any_bytes=any_bytes), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        kind = "tab-separated" if delimiter == "\t" else "CSV"
        line = reader.line_num
        raise FileFormatError(f"{printable(str(path))}, line {line}: {error}: expected {kind} text.") from None


def row_writer(file: TextIO) -> Callable[[Sequence[object]], object]:
    """A function that writes a row of CSV to a file opened with `newline=""`; rows end with a line feed."""
    rows = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)

    def write(row: Sequence[object]) -> object:
        # Python before 3.13 does not quote a lone carriage return, and readers take it for the end of the row.
        return (quoted if any(isinstance(cell, str) and "\r" in cell for cell in row) else rows).writerow(row)

    return write


def whole_number(text: str) -> int | None:
    """The number that `text` is: digits with an optional sign, and .0 as other programs add it; None if it is none."""
    number = _WHOLE_NUMBER.fullmatch(text.strip())
    return int(number[1]) if number else None


def _stream(path: Path, newline: str | None, *, any_bytes: bool) -> Iterator[str]:
    """The lines of a text file with their ends, which `newline` treats as `open` does; its mark is removed."""
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            start = file.read(max(len(mark) for mark, _ in _MARKS))
        encoding = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), "utf-8")
        errors = "surrogateescape" if any_bytes and encoding.startswith("utf-8") else "strict"
        with path.open(encoding=encoding, errors=errors, newline=newline) as stream:
            for number, line in enumerate(stream, start=1):
                if "\0" in line:
                    raise FileFormatError(
                        f"{name}, line {number}: a null character, as in a file that is not text, or in UTF-16 without "
                        "a byte order mark: save it as UTF-8."
                    )
                yield line
    except FileNotFoundError:
        raise DataError(f"{name}: no such file.") from None
    except UnicodeError as error:
        shown = encoding.removesuffix("-sig").upper()
        reason = error.reason if isinstance(error, UnicodeDecodeError) else error
        raise FileFormatError(
            f"{name}{_place(path, encoding)} is not {shown} text ({reason}): save it as UTF-8."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise DataError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def _place(path: Path, encoding: str) -> str:
    """The line of the first bytes that cannot be decoded, for a message; empty where lines cannot be counted."""
    data = path.read_bytes()
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding.startswith("utf-8"):
            line = data.count(b"\n", 0, error.start) + 1
            return f", line {line}"
    return ""
