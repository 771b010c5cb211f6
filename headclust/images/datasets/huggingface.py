"""Data sets of the Hugging Face `datasets` library, local or from the hub. Needs the extra `huggingface`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headclust.errors import DataError, HeadclustError, SettingError, unreadable
from headclust.images.datasets.folder import exists
from headclust.images.datasets.hub import (
    check_no_remote_files,
    check_reachable,
    quiet,
)
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.layout import encode_labels, numeric_class_names
from headclust.images.datasets.unchanged import ListedFiles, check_folder, file_stamp, folder_identity, folders_of
from headclust.images.image_file import decode
from headclust.network import is_offline, without_network
from headclust.progress import note, printable

# Names of the columns that are used if several columns have the same type.
_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")
# Types of columns, as the library names them.
_TEXT = ("string", "large_string", "string_view")
_BINARY = ("binary", "large_binary", "binary_view")
_LOCAL_FILES = {".parquet": "parquet", ".arrow": "arrow"}


def open_huggingface(name: str, split: str | None, *, offline: bool = False) -> ImageSet:
    """The images of a Hugging Face data set. Sample ids are row numbers of the split.

    The image column is the column of type Image; of several, `image` or `img`. Without any, it is a struct of `bytes`
    and perhaps `path`, or a binary column named `image` or `img`. The label column is the column of type ClassLabel; of
    several, `label`, `labels` or `fine_label`; without any, a column `label` of whole numbers, or of texts, which are
    class names, numbered by code point over all splits; empty is unknown. No code of a data set is run. Data that the
    library has prepared before is read from its cache.

    Args:
        name: A folder made by `save_to_disk`, a folder that `load_dataset` accepts, or a `.parquet` or `.arrow` file;
            otherwise a name on the hub: `owner/name`, or `owner/name@config`.
        split: "train" by default.
        offline: Forbid the network, like HF_HUB_OFFLINE=1. Local data never use it.

    Raises:
        SettingError: The library is not installed, the split does not exist, or the data set is not on this machine and
            cannot be downloaded.
        DataError: There is no image column, or several; labels have no names; or the split is empty.
    """
    datasets = _library(name)
    local = Path(name).expanduser().resolve() if exists(name) else None
    where = f"hf:{local or name}"
    title = local.stem if local else name.rpartition("/")[2].replace("@", "-")
    with quiet():
        loaded = _load_local(datasets, local) if local else _load_named(datasets, name, offline)
        try:
            images = _image_set(datasets, loaded, where, title, split)
        except HeadclustError:
            raise
        except Exception as error:  # malformed tables
            raise DataError(f"{where} cannot be read: {_one_line(error)}") from None
    return _of_folder(images, local) if local and local.is_dir() else replace(images, class_folders=())


def _image_set(datasets: Any, loaded: Any, where: str, title: str, split: str | None) -> ImageSet:
    rows, split = _split(loaded, where, split)
    column = _image_column(datasets, rows, where)
    splits = list(loaded.values()) if isinstance(loaded, dict) else [loaded]
    labels, class_names = _labels(datasets, rows, splits, where)
    images = rows.with_format(None).select_columns([column])
    if isinstance(rows.features[column], datasets.Image):
        images = images.cast_column(column, datasets.Image(decode=False))
    files = _listed_files(images, column)
    # The library's fingerprint of the data.
    changes = int.from_bytes(hashlib.sha256(str(rows._fingerprint).encode()).digest()[:7])
    return ImageSet(
        dataset=title or "images",
        split=split,
        source=where,
        sample_ids=tuple(str(row) for row in range(len(rows))),
        labels=labels,
        class_names=class_names,
        stamps=((0, changes),) * len(rows),
        read=lambda i: _read(images, i, column, files),
        class_folders=class_names if _is_image_folder(datasets, rows) else (),
    )


def _of_folder(images: ImageSet, folder: Path) -> ImageSet:
    """The images of a local folder; reading stops the run if the folder is gone."""
    identity = folder_identity(folder)

    def read(row: int) -> Image.Image:
        try:
            return images.read(row)
        except DataError:
            check_folder(str(folder), identity)
            raise

    return replace(images, read=read)


def _is_image_folder(datasets: Any, rows: Any) -> bool:
    """True if the library has made the labels from the names of subfolders."""
    return rows.info.builder_name == "imagefolder" and isinstance(rows.features.get("label"), datasets.ClassLabel)


def _listed_files(images: Any, column: str) -> ListedFiles:
    """The files of the rows whose images are not in the table; empty paths for the others."""
    chunks = images.data.column(column).chunks
    paths = list[str]()
    for chunk in chunks:
        fields = {chunk.type.field(number).name for number in range(chunk.type.num_fields)}
        if not {"bytes", "path"} <= fields:  # a column of bytes
            paths += [""] * len(chunk)
            continue
        stored = chunk.field("bytes").is_valid().to_pylist()
        names = chunk.field("path").to_pylist()
        paths += ["" if inside else name or "" for name, inside in zip(names, stored, strict=True)]
    if images._indices is not None:
        paths = [paths[row] for row in images._indices.column(0).to_pylist()]
    stamps = [file_stamp(path) if path else (0, 0) for path in paths]
    return ListedFiles(paths.__getitem__, stamps, folders_of(list(filter(None, paths))))


def _read(images: Any, row: int, column: str, files: ListedFiles) -> Image.Image:
    content = _content(images, row, column)
    return files.read(row) if isinstance(content, str) else decode(content)


def _library(name: str) -> Any:
    try:
        import datasets
    except ImportError:
        problem = "is not installed"
    else:
        # Older versions run the code of a data set.
        if int(str(datasets.__version__).partition(".")[0]) >= 4:
            return datasets
        problem = f"is version {datasets.__version__}"
    raise SettingError(
        f"hf:{printable(name)[:100]} needs the library datasets, version 4 or later, which {problem}: "
        "pip install 'headclust[huggingface]'."
    )


def _load_local(datasets: Any, path: Path) -> Any:
    if path.is_dir():
        check_no_remote_files(path)
    elif path.suffix.lower() not in _LOCAL_FILES:
        raise DataError(f"hf:{path}: expected a folder, a .parquet or an .arrow file.")
    try:
        with without_network():
            if path.is_file():
                return datasets.load_dataset(_LOCAL_FILES[path.suffix.lower()], data_files=str(path))
            if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
                return datasets.load_from_disk(str(path))
            return datasets.load_dataset(str(path))
    except IndexError:  # the library's error if there are no rows
        raise DataError(f"hf:{path} cannot be loaded: it, or a split of it, has no rows.") from None
    except Exception as error:  # its many readers raise errors of many types
        raise DataError(f"hf:{path} cannot be loaded: {_one_line(error)}") from None


def _load_named(datasets: Any, name: str, offline: bool) -> Any:
    repo, _, config = name.partition("@")
    if not repo or repo.count("/") > 1 or repo.startswith((".", "/", "~")) or ":" in repo:
        raise DataError(
            f"hf:{printable(name)[:100]}: no such folder or file, and no name on the hub: expected owner/name."
        )
    try:
        with without_network():
            return datasets.load_dataset(repo, config or None)
    except Exception:
        if is_offline(offline):
            forbidden = "downloads are forbidden (--offline, --dry-run, HF_HUB_OFFLINE or HF_DATASETS_OFFLINE)"
            raise _unavailable(name, forbidden) from None
    try:
        check_reachable()
        note(f"downloading the data set {printable(name)} from the hub")
        return datasets.load_dataset(repo, config or None)
    except Exception as error:
        raise _unavailable(name, f"fetching it from the hub failed: {_one_line(error)}") from None


def _unavailable(name: str, reason: str) -> HeadclustError:
    return SettingError(
        f"the data set {name[:100]!r} is not on this machine, and {reason}. "
        "Download it elsewhere, store it with save_to_disk, and use hf:FOLDER."
    )


def _split(loaded: Any, where: str, split: str | None) -> tuple[Any, str]:
    """The rows of the split, and its name."""
    if isinstance(loaded, dict):
        own = split or "train"
        if own not in loaded:
            names = ", ".join(printable(str(name)) for name in list(loaded)[:12])
            raise SettingError(f"{where} has no split {own!r}: expected {names}.")
        rows = loaded[own]
    else:
        rows, own = loaded, str(loaded.split or "all")
        if split not in (None, own, "all"):
            raise SettingError(f"{where} has no split {split!r}: it holds {own!r} only; leave --split out.")
    if not len(rows):
        raise DataError(f"{where}: split {own!r} is empty.")
    return rows, own


def _image_column(datasets: Any, rows: Any, where: str) -> str:
    names = [name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    # Files of other programs do not record the type: images as bytes and path, or as bytes alone.
    names = names or [name for name, kind in rows.features.items() if _holds_files(kind)]
    names = names or [name for name in _IMAGE_COLUMNS if _kind(rows.features.get(name)) in _BINARY]
    if len(names) > 1:
        names = [name for name in names if name in _IMAGE_COLUMNS]
    if len(names) != 1:
        columns = printable(", ".join(f"{name} ({_kind(kind)})" for name, kind in rows.features.items()))
        raise DataError(f"{where} has the columns {columns[:300]}: expected one of type Image, or one named image.")
    return str(names[0])


def _holds_files(feature: Any) -> bool:
    """True for a struct of the bytes of a file, and perhaps its path."""
    if not isinstance(feature, dict) or _kind(feature.get("bytes")) not in _BINARY:
        return False
    return feature.keys() <= {"bytes", "path"} and _kind(feature.get("path")) in (*_TEXT, "NoneType")


def _kind(feature: Any) -> str:
    return str(getattr(feature, "dtype", None) or type(feature).__name__)[:40]


def _labels(datasets: Any, rows: Any, splits: list[Any], where: str) -> tuple[np.ndarray | None, tuple[str, ...]]:
    named = [name for name, kind in rows.features.items() if isinstance(kind, datasets.ClassLabel)]
    chosen = named[0] if len(named) == 1 else next((name for name in _LABEL_COLUMNS if name in named), None)
    if chosen is None and named:
        note(f"{where}: no labels, because it has several label columns: {printable(', '.join(named))}")
        return None, ()
    kind = _kind(rows.features.get("label"))
    if chosen is None and kind in _TEXT:
        names = {text for part in splits if "label" in part.features for text in _texts(part)}
        return encode_labels(_texts(rows), names) if names - {""} else (None, ())
    if chosen is None and not kind.startswith(("int", "uint")):
        return None, ()
    column = chosen or "label"
    labels = np.array([-1 if value is None else value for value in _values(rows, column)], np.int64)
    if labels.max() < 0:
        return None, ()
    class_names = tuple(map(str, rows.features[column].names or ())) if chosen else numeric_class_names(labels)
    if labels.min() < -1 or (class_names and labels.max() >= len(class_names)):
        raise DataError(f"{where}: labels from {labels.min()} to {labels.max()}, but {len(class_names)} classes.")
    return labels, class_names


def _values(rows: Any, column: str) -> list[Any]:
    return list(rows.with_format(None).select_columns([column])[:][column])


def _texts(rows: Any) -> list[str]:
    return ["" if value is None else str(value).strip() for value in _values(rows, "label")]


def _content(images: Any, row: int, column: str) -> str | bytes:
    """The image to decode: bytes from the table, or the path of a local file."""
    try:
        stored = images[row][column] or {}
        stored = {"bytes": stored} if isinstance(stored, bytes) else stored
    except Exception as error:
        raise unreadable(error, f"cannot be read from the table: {_one_line(error)}") from None
    content, path = stored.get("bytes"), stored.get("path")
    if content is not None:
        return bytes(content)
    if not path:
        raise DataError("no image in this row")
    if "://" in path or "::" in path:
        raise DataError(f"a remote file, which is not read: {printable(path)[:100]}")
    return str(path)


def _one_line(error: BaseException) -> str:
    """The first line of an error's message; errors of the hub have several."""
    lines = str(error.__cause__ or error).strip().splitlines()
    return " ".join(lines[0].split())[:200] if lines else type(error).__name__
