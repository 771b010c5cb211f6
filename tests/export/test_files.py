import contextlib
import csv
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from export.conftest import NAMES, draw, make_table, tree
from headclust.errors import ConflictError, DataError, HeadclustError, SettingError
from headclust.export import FILES, Table, write_files

HOSTILE = (
    "=1+1.png",
    "new\nline.png",
    "carriage\rreturn.png",
    "\x1b[2J.png",
    "<script>.png",
    "\udce9.png",
    'quo"te,.png',
)


def read_csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline="")))


def test_csv(photos):
    table, _ = make_table(photos, *NAMES[:2], novelty=[0.25, 0.5], labels=["cat", None])
    assert FILES["csv"](table)[""].decode() == (
        "sample_id,path,cluster,group,confidence,novelty,label\n"
        f"a.png,{photos}/a.png,0,one,0.000000,0.250000,cat\n"
        f"b.png,{photos}/b.png,1,two,0.500000,0.500000,\n"
    )
    table, _ = make_table(photos, *NAMES[:2])
    assert FILES["csv"](table)[""].startswith(b"sample_id,path,cluster,group,confidence\n")


def test_hostile_names_are_the_same_text_everywhere(tmp_path, capsys):
    photos = draw(tmp_path / "photos", *HOSTILE)
    table, _ = make_table(photos, *HOSTILE, labels=["=1+1"] * len(HOSTILE))
    rows = read_csv(FILES["csv"](table)[""])
    assert [row["sample_id"] for row in rows] == list(HOSTILE)
    assert [row["path"] for row in rows] == [f"{photos}/{name}" for name in HOSTILE]
    assert "cells that start like a formula: 8 (sample_id =1+1.png)" in capsys.readouterr().err
    coco = json.loads(FILES["coco"](table)[""])
    shown = [name.replace("\udce9", "\\xe9") for name in HOSTILE]
    assert [image["file_name"] for image in coco["images"]] == shown
    assert all((photos / name).is_file() for name in shown if "\\" not in name)
    parquet = pq.read_table(io.BytesIO(FILES["parquet"](table)[""]))
    assert parquet["sample_id"].to_pylist() == shown


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"labels": ["cat", "=1+1", None]}, "1 (label =1+1)"),
        ({"groups": ("@one", "two")}, "2 (group @one)"),
        ({"groups": ("one", "two"), "labels": ["\t\x1b[2J", "cat", "-1"]}, "2 (label \\t\\x1b[2J)"),
    ],
)
def test_cells_like_formulas_are_noted_in_every_column(photos, capsys, more, expected):
    # This was once noted for sample ids only.
    FILES["csv"](make_table(photos, *NAMES[:3], **more)[0])
    assert f"cells that start like a formula: {expected}. Import them as text" in capsys.readouterr().err
    FILES["csv"](make_table(photos, *NAMES[:3], labels=["a=1", None, "1-1"])[0])
    assert capsys.readouterr().err == ""


def test_coco_holds_text_alone(tmp_path):
    # Many JSON readers refuse lone surrogates.
    photos = draw(tmp_path / "\udce9", "\udcff.png")
    content = FILES["coco"](make_table(photos, "\udcff.png", labels=["\udce8"])[0])[""]
    assert b"\\ud" not in content
    document = json.loads(content)
    assert document["info"]["source"] == str(tmp_path / "\\xe9")
    assert document["images"][0]["file_name"] == "\\xff.png"
    assert document["annotations"][0]["ground_truth"] == "\\xe8"
    assert document["images"][0]["width"] == 3
    nowhere = Table(("a",), (None,), [0], {0: "one"}, [1.0])
    assert json.loads(FILES["coco"](nowhere)[""])["info"]["source"] is None


def test_parquet(photos):
    table, _ = make_table(photos, *NAMES[:2], "gone.png", novelty=[0.25, 0.5, 0.75], labels=["cat", None, "dog"])
    assert pq.read_table(io.BytesIO(FILES["parquet"](table)[""])).to_pylist() == [
        {
            "sample_id": name,
            "path": None if name == "gone.png" else f"{photos}/{name}",
            "cluster": row % 2,
            "group": ("one", "two")[row % 2],
            "confidence": row / 3,
            "novelty": (row + 1) / 4,
            "label": ("cat", None, "dog")[row],
        }
        for row, name in enumerate((*NAMES[:2], "gone.png"))
    ]


def test_parquet_without_any_path(tmp_path):
    table, _ = make_table(tmp_path / "nowhere", "a", "b")
    table_read = pq.read_table(io.BytesIO(FILES["parquet"](table)[""]))
    assert str(table_read.schema.field("path").type) == "string"
    assert table_read["path"].to_pylist() == [None, None]


def test_parquet_without_pyarrow(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SettingError, match=r"pip install 'headclust\[parquet\]', or use --to csv"):
        FILES["parquet"](make_table(photos, *NAMES)[0])


def fiftyone_reads(folder: Path) -> list[tuple]:
    """(path, label, confidence, attributes) of each image, as FiftyOne's importer reads them by its documentation."""
    paths, labels = (json.loads((folder / name).read_bytes()) for name in ("data.json", "labels.json"))
    by_stem = {os.path.splitext(os.path.normpath(name))[0]: os.path.join(folder, path) for name, path in paths.items()}  # noqa: PTH118, PTH122
    return [
        (by_stem[name], labels["classes"][entry["label"]], entry["confidence"], entry["attributes"])
        for name, entry in sorted(labels["labels"].items())
    ]


def test_fiftyone(photos, tmp_path):
    table, _ = make_table(photos, *NAMES, novelty=[0.5] * 5, labels=["cat", None, "cat", "dog", "dog"])
    assert not (photos / "data").exists()
    entries = fiftyone_reads(write_files(tmp_path / "out", FILES["fiftyone"](table)))
    assert entries == [
        (
            str(photos / name),
            ("one", "two")[row % 2],
            row / 5,
            {"sample_id": name, "cluster": row % 2, "novelty": 0.5}
            | ({} if row == 1 else {"ground_truth": ("cat", "", "cat", "dog", "dog")[row]}),
        )
        for row, name in enumerate(NAMES)
    ]


def test_fiftyone_takes_files_with_names_in_utf8(tmp_path, capsys):
    photos = draw(tmp_path / "photos", "a.b.png", "a.c.png", "\udce9.png")
    table, _ = make_table(photos, "a.b.png", "a.c.png", "\udce9.png", "gone.png")
    entries = fiftyone_reads(write_files(tmp_path / "out", FILES["fiftyone"](table)))
    assert [path for path, *_ in entries] == [str(photos / "a.b.png"), str(photos / "a.c.png")]
    assert (
        "images left out (missing, not a separate file, or with a path that is not UTF-8): 2."
        in capsys.readouterr().err
    )
    with pytest.raises(DataError, match="FiftyOne needs image files, and none of the 1 images is a file"):
        FILES["fiftyone"](make_table(photos, "gone.png")[0])


def test_coco(photos, tmp_path):
    table, _ = make_table(photos, *NAMES, "gone.png", novelty=[0.5] * 6, labels=["cat"] * 5 + [None])
    content = json.loads(FILES["coco"](table)[""])
    assert content["categories"] == [
        {"id": 1, "name": "one", "supercategory": "cluster"},
        {"id": 2, "name": "two", "supercategory": "cluster"},
    ]
    assert content["images"][3] == {"id": 4, "file_name": "deep/a.png", "width": 3, "height": 2}
    assert content["images"][5] == {"id": 6, "file_name": "gone.png"}
    assert content["annotations"][3] == {
        "id": 4,
        "image_id": 4,
        "category_id": 2,
        "bbox": [0, 0, 3, 2],
        "area": 6,
        "iscrowd": 0,
        "score": 0.5,
        "cluster": 1,
        "novelty": 0.5,
        "ground_truth": "cat",
    }
    assert set(content["annotations"][5]) == {"id", "image_id", "category_id", "score", "cluster", "novelty"}


def test_coco_as_its_tools_read_it(photos, tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    table, _ = make_table(photos, *NAMES)
    file = write_files(tmp_path / "out.json", FILES["coco"](table))
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = coco.COCO(str(file))
    (category,) = dataset.getCatIds(catNms=["one"])
    assert {image["file_name"] for image in dataset.loadImgs(dataset.getImgIds(catIds=[category]))} == set(NAMES[::2])
    assert len(dataset.getAnnIds(catIds=[category], areaRng=[5, 7], iscrowd=False)) == 3


def test_an_image_that_is_damaged_has_a_row(photos):
    (photos / "a.png").write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save(photos / "b.png", format="PPM")
    images = json.loads(FILES["coco"](make_table(photos, *NAMES)[0])[""])["images"]
    assert images[:2] == [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png", "width": 9, "height": 9}]


@pytest.mark.parametrize("to", FILES)
def test_clusters_of_one_name_are_one_group(photos, to):
    table, _ = make_table(photos, *NAMES, groups=("pets", "pets", "other"))
    assert table.classes == ["pets", "other"]
    assert FILES[to](table)


@pytest.mark.parametrize("to", FILES)
def test_the_same_bytes_every_time(photos, to):
    table, _ = make_table(photos, *NAMES, novelty=[0.5] * 5)
    assert FILES[to](table) == FILES[to](table)


ONE_FILE, TWO_FILES = {"": b"content"}, {"data.json": b"{}", "labels.json": b"[]"}


@pytest.mark.parametrize("outputs", [ONE_FILE, TWO_FILES])
def test_files_are_replaced_only_with_overwrite(tmp_path, outputs):
    path = tmp_path / "deeper" / "out"
    assert write_files(path, outputs) == path
    before, times = tree(tmp_path), [file.stat().st_mtime_ns for file in tmp_path.rglob("*")]
    write_files(path, outputs)
    assert (tree(tmp_path), [file.stat().st_mtime_ns for file in tmp_path.rglob("*")]) == (before, times)
    other = dict.fromkeys(outputs, b"other")
    with pytest.raises(ConflictError, match="exists: choose another place with -o, or replace it with --overwrite"):
        write_files(path, other)
    assert tree(tmp_path) == before
    write_files(path, other, overwrite=True)
    assert set(tree(tmp_path).values()) == {b"other"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("existing", "outputs", "message"),
    [
        ("out/mine.txt", ONE_FILE, "is a folder, but this format is a file"),
        ("out", TWO_FILES, "is a file, but this format is a folder"),
        ("out/mine.txt", TWO_FILES, r"holds other files \(mine\.txt\)"),
        ("out/data.json.tmp", TWO_FILES, r"holds other files \(data\.json\.tmp\)"),
    ],
)
def test_other_files_are_never_replaced(tmp_path, existing, outputs, message, overwrite):
    (tmp_path / existing).parent.mkdir(exist_ok=True)
    (tmp_path / existing).write_text("precious")
    before = tree(tmp_path)
    with pytest.raises(ConflictError, match=message):
        write_files(tmp_path / "out", outputs, overwrite=overwrite)
    assert tree(tmp_path) == before


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "out.csv").symlink_to(tmp_path / "mine.csv")
    with pytest.raises(ConflictError, match="exists"):
        write_files(tmp_path / "out.csv", ONE_FILE)
    assert not (tmp_path / "mine.csv").exists()


def test_files_beside_it_are_left_alone(tmp_path):
    # A user's file was once lost this way, and a link of that name followed.
    (tmp_path / "one.csv.tmp").write_text("precious")
    (tmp_path / "two.csv.tmp").symlink_to("one.csv.tmp")
    before = tree(tmp_path)
    for name in ("one.csv", "two.csv"):
        write_files(tmp_path / name, ONE_FILE)
    assert tree(tmp_path) == before | {"one.csv": ONE_FILE[""], "two.csv": ONE_FILE[""]}


def test_files_left_by_a_killed_process_are_ignored(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.headclust-0011223344556677.tmp").write_text("{")
    write_files(tmp_path / "out", TWO_FILES)
    assert {name: content for name, content in tree(tmp_path / "out").items() if name in TWO_FILES} == TWO_FILES


@pytest.mark.parametrize("outputs", [ONE_FILE, TWO_FILES])
def test_a_full_disk(tmp_path, monkeypatch, outputs):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("headclust.disk.os.fsync", full)
    with pytest.raises(HeadclustError, match="No space left on device: free some space"):
        write_files(tmp_path / "out", outputs)
    assert tree(tmp_path) == {}


def test_a_name_too_long_for_the_disk(tmp_path):
    with pytest.raises(HeadclustError, match="File name too long: choose another place"):
        write_files(tmp_path / ("x" * 256), ONE_FILE)
    assert write_files(tmp_path / ("x" * 255), ONE_FILE).read_bytes() == ONE_FILE[""]


def test_a_pipe_called_like_an_image_is_not_waited_for(tmp_path):
    photos = draw(tmp_path / "photos", "a.png")
    os.mkfifo(photos / "b.png")
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]);"
        "from export.conftest import make_table; from headclust.export import FILES;"
        "print(FILES['coco'](make_table(sys.argv[1], 'a.png', 'b.png')[0])[''].decode())"
    )
    command = [sys.executable, "-c", code, str(photos), str(Path(__file__).parent.parent)]
    document = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert document["images"] == [
        {"id": 1, "file_name": "a.png", "width": 3, "height": 2},
        {"id": 2, "file_name": "b.png"},
    ]


def test_a_table_without_paths_or_labels():
    table = Table(("a",), (None,), [0], {0: "one"}, [1.0])
    assert read_csv(FILES["csv"](table)[""]) == [
        {"sample_id": "a", "path": "", "cluster": "0", "group": "one", "confidence": "1.000000"}
    ]
