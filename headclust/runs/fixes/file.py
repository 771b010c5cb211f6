"""The file fixes.csv, one fix per row, as `headclust` writes it or a spreadsheet saves it. See docs/run-folder.md."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headclust.disk import write_atomically, write_errors
from headclust.errors import DataError, FileFormatError
from headclust.filenames import storable_name
from headclust.progress import note, printable
from headclust.runs.names import MAX_LENGTH, is_name
from headclust.textfiles import row_writer, table_rows, whole_number

FIXES = "fixes.csv"  # in the run folder
COLUMNS = ("fix", "group", "image", "other", "name")
# The columns that each fix uses.
KINDS: Mapping[str, tuple[str, ...]] = {
    "rename": ("group", "name"),
    "merge": ("group", "other"),
    "split": ("group", "other"),
    "move": ("image", "group"),
    "together": ("image", "other"),
    "apart": ("image", "other"),
    "right": ("group",),
}
_NUMBERS = ("merge", "split")  # fixes whose column `other` is a number
_HEADER = (",".join(COLUMNS) + "\n").encode()
_DELIMITERS = (",", ";", "\t")
_LINE_ENDS = (b"\n", b"\r", b"\n\0", b"\r\0")  # the last two in UTF-16
_LARGEST = 10**9


@dataclass(frozen=True)
class Fix:
    """One row of fixes.csv.

    Attributes:
        fix: A name in KINDS.
        group: Id of a group, 0 or more.
        image: A sample id.
        other: For merge the id of the group that the images go to; for split the number of parts, or None for two; for
            together and apart another sample id.
        name: The person's name for the group.
        line: Line of the file, for messages; 0 if it comes from elsewhere.

    Raises:
        DataError: There is no such fix, or its columns are missing, of another kind, or too many.
    """

    fix: str
    group: int | None = None
    image: str | None = None
    other: int | str | None = None
    name: str | None = None
    line: int = field(default=0, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.fix not in KINDS:
            raise DataError(f"fix {printable(str(self.fix))[:50]!r}: expected one of {', '.join(KINDS)}.")
        uses = KINDS[self.fix]
        for column in COLUMNS[1:]:
            value = getattr(self, column)
            if column not in uses and value is not None:
                raise DataError(f"{self.fix} uses {' and '.join(uses)} alone: found {_shown(value)} as its {column}.")
            if column in uses and (column, self.fix) != ("other", "split") and value in (None, ""):
                raise DataError(f"{self.fix} without its {column}: expected {' and '.join(uses)}.")
        for value, least in ((self.group, 0), (self.other, 2 if self.fix == "split" else 0)):
            is_number = value is not None and (value is self.group or self.fix in _NUMBERS)
            if is_number and not (type(value) is int and least <= value < _LARGEST):
                raise DataError(f"{self.fix}: number {_shown(value)}, expected a whole number from {least} on.")
        if self.fix == "rename" and not is_name((self.name or "").strip()):
            raise DataError(f"name {_shown(self.name)}: expected 1 to {MAX_LENGTH} printable characters.")
        if self.fix != "split" and self.other is not None and self.other in (self.group, self.image):
            raise DataError(f"{self.fix} of {_shown(self.other)} with itself: expected two.")

    @property
    def parts(self) -> int:
        """Of a split, the number of things that the group is."""
        return self.other if isinstance(self.other, int) else 2

    def __str__(self) -> str:
        image, other = (printable(str(text))[:100] for text in (self.image, self.other))
        return {
            "rename": f"rename group {self.group}",
            "merge": f"merge group {self.group} into {other}",
            "split": f"split group {self.group} into {self.parts}",
            "move": f"move {image} to group {self.group}",
            "right": f"group {self.group} is right",
        }.get(self.fix, f"{self.fix}: {image} and {other}")


def read_fixes(path: Path) -> tuple[Fix, ...]:
    """The fixes in a file, in order; an empty file has none.

    The cells may be separated by commas, semicolons or tabs, in UTF-8 or UTF-16. A last line that was cut short, by a
    kill or a power failure while it was written, is left out, with a line on stderr.

    Raises:
        DataError: The file does not exist or cannot be read, or a row is no fix.
        FileFormatError: It has another header, or is not a table.
    """
    name, delimiter = printable(str(path)), _delimiter(path)
    if delimiter is None:
        return ()
    content = path.read_bytes()
    # Only a last line without its end can have been cut short: every other line is read as it is.
    cut = 0 if content.endswith(_LINE_ENDS) else len(content.splitlines())
    fixes: list[Fix] = []
    rows = table_rows(path, delimiter=delimiter, any_bytes=True)
    line = next(rows)[0]
    while True:
        next_line = line + 1
        try:
            line, cells = next(rows, (0, []))
            if not line:
                return tuple(fixes)
            next_line = line
            if any(cell.strip() for cell in cells):
                fixes.append(_fix(cells, line, is_whole=line == cut))
        except (DataError, FileFormatError) as error:
            if next_line == cut:
                note(f"{name}, line {cut} was cut short while it was written, and is left out.")
                return tuple(fixes)
            if isinstance(error, FileFormatError):
                raise
            raise DataError(f"{name}, line {line}: {error}") from None


def _delimiter(path: Path) -> str | None:
    """The character between the cells of a file with the header of fixes.csv; None for an empty file.

    Raises:
        DataError: The file does not exist or cannot be read.
        FileFormatError: It has another header.
    """
    first: list[str] = []
    for delimiter in _DELIMITERS:
        first = next(table_rows(path, delimiter=delimiter, any_bytes=True), (0, []))[1]
        if tuple(cell.strip().lower() for cell in first) == COLUMNS:
            return delimiter
    if not first:
        return None
    start = printable("".join(first))[:100]
    raise FileFormatError(f"{printable(str(path))} starts with {start!r}: expected the header {','.join(COLUMNS)}.")


def _fix(cells: Sequence[str], line: int, *, is_whole: bool) -> Fix:
    """The fix in a row; without `is_whole`, empty cells at its end may be missing.

    Raises:
        DataError: It is no fix.
    """
    if len(cells) > len(COLUMNS) or (is_whole and len(cells) < len(COLUMNS)):
        raise DataError(f"{len(cells)} cells, expected {len(COLUMNS)}: {','.join(COLUMNS)}.")
    kind, group, image, other, name = (*cells, *("",) * (len(COLUMNS) - len(cells)))
    kind = kind.strip().lower()
    return Fix(
        kind,
        group=_number("group", group),
        image=image or None,
        other=_number("other", other) if kind in _NUMBERS else other or None,
        name=name.strip() or None,
        line=line,
    )


def _number(column: str, text: str) -> int | None:
    """The number in a cell; None if it is empty.

    Raises:
        DataError: It holds something else.
    """
    number = whole_number(text)
    if number is None and text.strip():
        raise DataError(f"{column} {_shown(text)}: expected a whole number.")
    return number


def append_fixes(path: Path, fixes: Sequence[Fix]) -> None:
    """Add fixes at the end of a file and sync it to disk; the file is made, with its header, if it is missing.

    A file that a spreadsheet has saved in another form is written again as a whole, in the form of `write_fixes`.

    Raises:
        HeadclustError: The file cannot be read or written.
    """
    if not fixes:
        return
    if not path.exists():
        write_fixes(path, fixes)
        return
    with write_errors(path), path.open("r+b") as file:
        is_ours = file.read(len(_HEADER)) == _HEADER
        size = file.seek(0, os.SEEK_END)
        file.seek(size - 1 if size else 0)
        if is_ours and file.read() == b"\n":
            try:
                file.write(_lines(fixes))
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
            return
    write_fixes(path, (*read_fixes(path), *fixes))


def undo_fixes(path: Path, count: int) -> tuple[Fix, ...]:
    """Remove the last `count` fixes of a file, which is replaced at once; return them.

    Raises:
        DataError: It does not hold as many.
        HeadclustError: The file cannot be read or written.
    """
    fixes = read_fixes(path)
    if not 0 <= count <= len(fixes):
        raise DataError(f"{printable(str(path))} holds {len(fixes)} fixes: {count} cannot be undone.")
    write_fixes(path, fixes[: len(fixes) - count])
    return fixes[len(fixes) - count :]


def write_fixes(path: Path, fixes: Sequence[Fix]) -> None:
    """Write a file of fixes, renamed when complete: UTF-8, commas, line feeds; a file at `path` is replaced.

    Raises:
        HeadclustError: It cannot be written.
    """
    with write_errors(path):
        write_atomically(path, _HEADER + _lines(fixes))


def _lines(fixes: Sequence[Fix]) -> bytes:
    """The rows of fixes. Names are in quotes, so that one that was cut short is recognized."""
    text = io.StringIO(newline="")
    write = row_writer(text)
    for fix in fixes:
        cells = (getattr(fix, column) for column in COLUMNS[:-1])
        write(["" if value is None else storable_name(str(value)) for value in cells])
        text.seek(text.tell() - 1)  # before the line feed
        quoted = '"' + fix.name.replace('"', '""') + '"' if fix.name else ""
        text.write(f",{quoted}\n")
    return text.getvalue().encode(errors="surrogateescape")


def _shown(value: object) -> str:
    return printable(repr(value))[:100]
