"""Export formats that are files: CSV, Parquet, FiftyOne's classification layout, COCO."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headclust.disk import is_temporary, sync_folder, write_atomically, write_errors
from headclust.errors import ConflictError, DataError, SettingError
from headclust.export.table import Table
from headclust.filenames import readable
from headclust.images.image_file import FORMATS
from headclust.progress import note, printable
from headclust.textfiles import row_writer

Outputs = Mapping[str, bytes]  # content by file name; with the name "" the output itself is the file
_BLOCK = 65_536  # vectors per block, whose numbers have to be fewer than 2**31
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_files(path: Path, outputs: Outputs, *, overwrite: bool = False) -> Path:
    """Write the files of a format, each under a temporary name first, and return `path`.

    Existing files with the same content are not written again.

    Args:
        path: The file; or the folder, if the outputs have names.
        outputs: Contents of the files.
        overwrite: Replace files of other content.

    Raises:
        ConflictError: Something else exists at `path`.
        HeadclustError: A file cannot be written.
    """
    shown, contents = printable(str(path)), {path / name if name else path: data for name, data in outputs.items()}
    with write_errors(path):
        if not path.name:
            raise ConflictError(f"{shown} is not the name of a file: give one with -o.")
        if path.exists() and path.is_dir() != ("" not in outputs):
            existing, expected = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
            raise ConflictError(f"{shown} is {existing}, but this format is {expected}: choose another place with -o.")
        files = path.iterdir() if path.is_dir() else ()
        others = [file.name for file in files if file not in contents and not is_temporary(file)]
        if others:
            raise ConflictError(f"{shown} holds other files ({printable(others[0])}): choose another place with -o.")
        new = {file: content for file, content in contents.items() if not _holds(file, content)}
        taken = [file for file in new if file.is_symlink() or file.exists()]
        if taken and not overwrite:
            raise ConflictError(
                f"{printable(str(taken[0]))} exists: choose another place with -o, or replace it with --overwrite."
            )
        for file, content in new.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, content)
        if new:
            sync_folder(path.parent)
    return path


def _holds(file: Path, content: bytes) -> bool:
    return file.is_file() and file.stat().st_size == len(content) and file.read_bytes() == content


def _csv(table: Table) -> Outputs:
    columns = _columns(table)
    text = io.StringIO()
    write = row_writer(text)
    write(list(columns))
    for row in zip(*columns.values(), strict=True):
        write([f"{cell:.6f}" if isinstance(cell, float) else cell for cell in row])
    texts = [(name, cell) for name, cells in columns.items() for cell in cells if isinstance(cell, str)]
    risky = [(name, cell) for name, cell in texts if cell.startswith(_FORMULA)]
    if risky:
        first = f"{risky[0][0]} {printable(risky[0][1])[:60]}"
        note(f"cells that start like a formula: {len(risky)} ({first}). Import them as text into a spreadsheet.")
    return {"": text.getvalue().encode("utf-8", "surrogateescape")}


def _parquet(table: Table) -> Outputs:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise SettingError(
            "pyarrow, which writes Parquet files, is not installed: pip install 'headclust[parquet]', or use --to csv."
        ) from None
    kinds = {"cluster": pa.int64(), "confidence": pa.float64(), "novelty": pa.float64()}
    kinds |= dict.fromkeys(table.more, pa.float64())
    vectors = {name: columns for name, columns in table.more.items() if columns.ndim == 2}
    arrays = {
        name: pa.array([readable(c) if isinstance(c, str) else c for c in cells], kinds.get(name, pa.string()))
        for name, cells in _columns(table).items()
        if name not in vectors
    }
    for name, rows in vectors.items():
        blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
        arrays[name] = pa.chunked_array([_lists(block) for block in blocks], pa.list_(pa.float32()))
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink)
    return {"": sink.getvalue()}


def _lists(rows: NDArray[np.floating[Any]]) -> Any:
    import pyarrow as pa

    starts = pa.array(range(0, rows.size + 1, rows.shape[1]), pa.int32())
    return pa.ListArray.from_arrays(starts, pa.array(rows.astype(np.float32).ravel()))


def _fiftyone(table: Table) -> Outputs:
    """Labels and image paths by row number, because FiftyOne would change some sample ids used as keys.

    https://docs.voxel51.com/user_guide/import_datasets.html, FiftyOneImageClassificationDataset.
    """
    index = {name: number for number, name in enumerate(table.classes)}
    paths, labels, n_left_out = dict[str, str](), dict[str, Any](), 0
    for row, (path, group) in enumerate(zip(table.paths, table.group_of, strict=True)):
        if path is None or readable(path) != path:  # FiftyOne's database takes UTF-8 only
            n_left_out += 1
            continue
        attributes: dict[str, Any] = {"sample_id": readable(table.sample_ids[row]), "cluster": table.clusters[row]}
        attributes |= {} if table.novelty is None else {"novelty": table.novelty[row]}
        label = None if table.labels is None else table.labels[row]
        attributes |= {} if label is None else {"ground_truth": readable(label)}
        paths[f"{row:09d}"] = path
        labels[f"{row:09d}"] = {"label": index[group], "confidence": table.confidence[row], "attributes": attributes}
    if not paths:
        raise DataError(
            f"FiftyOne needs image files, and none of the {len(table)} images is a file "
            f"(source: {printable(table.source or 'unknown')}): export folders with --copy first, or use --to csv."
        )
    if n_left_out:
        note(f"images left out (missing, not a separate file, or with a path that is not UTF-8): {n_left_out}.")
    return {"data.json": _json(paths), "labels.json": _json({"classes": list(index), "labels": labels})}


def _coco(table: Table) -> Outputs:
    """One category per group, one annotation per image; with a box of the whole image if its size can be read.

    https://cocodataset.org/#format-data.
    """
    category = {name: number for number, name in enumerate(table.classes, start=1)}
    images, annotations = [], []
    for row, (name, group) in enumerate(zip(table.sample_ids, table.group_of, strict=True), start=1):
        width, height = _size(table.paths[row - 1])
        size = {"width": width, "height": height} if width else {}
        box = {"bbox": [0, 0, width, height], "area": width * height, "iscrowd": 0} if width else {}
        details: dict[str, Any] = {"score": table.confidence[row - 1], "cluster": table.clusters[row - 1]}
        details |= {} if table.novelty is None else {"novelty": table.novelty[row - 1]}
        label = None if table.labels is None else table.labels[row - 1]
        details |= {} if label is None else {"ground_truth": readable(label)}
        images.append({"id": row, "file_name": readable(name), **size})
        annotations.append({"id": row, "image_id": row, "category_id": category[group], **box, **details})
    categories = [{"id": number, "name": name, "supercategory": "cluster"} for name, number in category.items()]
    info = {"description": "clusters by headclust", "source": None if table.source is None else readable(table.source)}
    return {
        "": _json(
            {"info": info, "licenses": [], "categories": categories, "images": images, "annotations": annotations}
        )
    }


FILES: dict[str, Callable[[Table], Outputs]] = {
    "csv": _csv,
    "parquet": _parquet,
    "fiftyone": _fiftyone,
    "coco": _coco,
}


def _columns(table: Table) -> dict[str, list[Any]]:
    columns: dict[str, Any] = {
        "sample_id": table.sample_ids,
        "path": table.paths,
        "cluster": table.clusters,
        "group": table.group_of,
        "confidence": table.confidence,
        "novelty": table.novelty,
        "label": table.labels,
        **{name: column.tolist() if column.ndim == 1 else column for name, column in table.more.items()},
    }
    return {name: list(cells) for name, cells in columns.items() if cells is not None}


def _size(path: str | None) -> tuple[int, int]:
    """Width and height as stored, from the file's header; 0, 0 if it cannot be read."""
    try:
        if path is None:
            return 0, 0
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            return image.size
    except Exception:  # decoders may raise anything on damaged files; the image keeps its row
        return 0, 0


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
