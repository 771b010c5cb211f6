"""Columns of a Parquet file as texts. Needs pyarrow, the extra `parquet`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headclust.errors import DataError
from headclust.parquet import open_parquet, texts_of
from headclust.progress import printable


def read_parquet(file: Path, names: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The names of all columns in lower case, and the texts of the columns `names`; missing values are empty.

    Args:
        file: The file.
        names: Names, in lower case, of the columns to read, which hold text or numbers.

    Raises:
        SettingError: pyarrow is not installed.
        FileFormatError: The file is no complete Parquet file.
        DataError: A column of `names` holds something else.
    """
    with open_parquet(file) as source:
        fields = list(source.schema_arrow)
        chosen = [field for field in fields if field.name.strip().lower() in names]
        _check_types(file, chosen)
        table = source.read(columns=[field.name for field in chosen], use_threads=False)
        columns = {field.name.strip().lower(): texts_of(table.column(field.name)) for field in chosen}
    return [field.name.strip().lower() for field in fields], columns


def _check_types(file: Path, fields: Sequence[Any]) -> None:
    import pyarrow.types as kinds

    for field in fields:
        kind = field.type.value_type if kinds.is_dictionary(field.type) else field.type
        text = kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)
        if not (text or kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_null(kind)):
            raise DataError(
                f"{file}: column {field.name!r} is of type {printable(str(field.type))[:100]}: "
                "expected text or numbers. (For a file that holds the images themselves, use hf:PATH.)"
            )
