"""Data sets made by the Hugging Face library itself, on this machine; nothing is downloaded."""

import io
import os
import socket
import sys

import numpy as np
import pytest
from PIL import Image

from headclust.errors import ConflictError, DataError, HeadclustError, SettingError
from headclust.images.datasets.huggingface import open_huggingface


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        SettingError, match=r"needs the library datasets, .* is not installed: pip install 'headclust\["
    ):
        open_huggingface("owner/name", None, offline=True)


datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was used"))
    with_bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    yield
    if with_bars:
        datasets.enable_progress_bars()


def pictures(n: int) -> list[Image.Image]:
    return [Image.new("RGB", (2, 1), (number, 0, 0)) for number in range(n)]


def table(n: int = 4, **columns):
    """Images of the colors 0 to n - 1, of two classes in turn; more columns as (feature, values)."""
    columns = {
        "image": (datasets.Image(), pictures(n)),
        "label": (datasets.ClassLabel(names=["cat", "dog"]), [number % 2 for number in range(n)]),
        **columns,
    }
    columns = {name: column for name, column in columns.items() if column is not None}
    features = datasets.Features({name: feature for name, (feature, _) in columns.items()})
    return datasets.Dataset.from_dict({name: values for name, (_, values) in columns.items()}, features=features)


def numbers(images) -> list[int]:
    return [images.read(i).getpixel((0, 0))[0] for i in range(len(images))]


def opened(folder, name: str = "set", split=None, **columns):
    table(**columns).save_to_disk(str(folder / name))
    return open_huggingface(str(folder / name), split)


def refusal(name, split=None, **options) -> str:
    with pytest.raises(HeadclustError) as caught:
        open_huggingface(str(name), split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_saved_to_disk(tmp_path, capsys):
    images = opened(tmp_path)
    assert images.sample_ids == ("0", "1", "2", "3")
    assert numbers(images) == [0, 1, 2, 3]
    assert images.labels.tolist() == [0, 1, 0, 1]
    assert images.labels.dtype == np.int64
    assert images.class_names == ("cat", "dog")
    assert (images.dataset, images.split, images.source) == ("set", "all", f"hf:{tmp_path / 'set'}")
    assert capsys.readouterr().err == ""


def test_splits(tmp_path):
    datasets.DatasetDict({"train": table(3), "test": table(2)}).save_to_disk(str(tmp_path / "set"))
    images = open_huggingface(str(tmp_path / "set"), None)
    assert (len(images), images.split) == (3, "train")
    images = open_huggingface(str(tmp_path / "set"), "test")
    assert (len(images), images.split) == (2, "test")
    assert "has no split 'val': expected train, test" in refusal(tmp_path / "set", "val")


def test_a_single_split_has_its_own_name_only(tmp_path):
    opened(tmp_path)
    assert "has no split 'train': it holds 'all' only" in refusal(tmp_path / "set", "train")


def test_a_selection_keeps_its_rows(tmp_path):
    table(6).select([4, 1, 5]).save_to_disk(str(tmp_path / "set"))
    images = open_huggingface(str(tmp_path / "set"), None)
    assert numbers(images) == [4, 1, 5]
    assert images.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("as_file", [True, False])
def test_parquet(tmp_path, as_file):
    (tmp_path / "set").mkdir()
    table().to_parquet(str(tmp_path / "set" / "train.parquet"))
    name = str(tmp_path / "set" / "train.parquet") if as_file else str(tmp_path / "set")
    images = open_huggingface(name, None)
    assert (numbers(images), images.labels.tolist(), images.split) == ([0, 1, 2, 3], [0, 1, 0, 1], "train")
    again = open_huggingface(images.source.removeprefix("hf:"), images.split)
    assert (again.sample_ids, again.stamps, again.dataset) == (images.sample_ids, images.stamps, images.dataset)


def test_a_folder_of_images(tmp_path):
    for number, name in enumerate(("train/cat/a.png", "train/dog/b.png", "test/dog/c.png")):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1), (number, 0, 0)).save(tmp_path / "set" / name)
    images = open_huggingface(str(tmp_path / "set"), "test")
    assert (numbers(images), images.labels.tolist(), images.class_names) == ([2], [1], ("cat", "dog"))


def test_stamps_change_with_the_data(tmp_path):
    assert opened(tmp_path, "a").stamps != opened(tmp_path, "b", n=4, label=None).stamps


def test_images_are_decoded_by_us(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = io.BytesIO()
    Image.new("RGB", (16, 16)).save(data, format="ICO")
    stored = [{"bytes": data.getvalue(), "path": None}, {"bytes": b"", "path": None}, None]
    stored += [{"bytes": None, "path": path} for path in ("https://example.org/a.png", str(tmp_path / "gone.png"))]
    schema = datasets.Features({"image": datasets.Image()}).arrow_schema
    pq.write_table(pa.table({"image": stored}, schema=schema), tmp_path / "x.parquet")
    images = open_huggingface(str(tmp_path / "x.parquet"), None)
    reasons = []
    for row in range(5):
        with pytest.raises(DataError) as caught:
            images.read(row)
        reasons.append(str(caught.value))
    assert reasons[0].startswith("not an image in a supported format")
    assert reasons[1:3] == ["empty file (0 bytes)", "no image in this row"]
    assert reasons[3] == "a remote file, which is not read: https://example.org/a.png"
    assert reasons[4] == "no such file"


def test_which_column_holds_the_images(tmp_path):
    images = opened(tmp_path, n=2, image=None, picture=(datasets.Image(), pictures(2)))
    assert numbers(images) == [0, 1]
    images = opened(tmp_path, "b", n=2, depth=(datasets.Image(), pictures(2)[::-1]))
    assert numbers(images) == [0, 1]
    table(2, image=None, a=(datasets.Image(), pictures(2)), b=(datasets.Image(), pictures(2))).save_to_disk(
        str(tmp_path / "c")
    )
    found = refusal(tmp_path / "c")
    assert "expected one of type Image, or one named image" in found
    assert "b (" in found
    table(2, image=None).save_to_disk(str(tmp_path / "d"))
    assert "has the columns label (int64): expected one of type Image" in refusal(tmp_path / "d")


def test_which_column_holds_the_labels(tmp_path, capsys):
    whole = datasets.Value("int32")
    images = opened(tmp_path, "a", n=3, label=(whole, [2, None, 0]))
    assert (images.labels.tolist(), images.class_names) == ([2, -1, 0], ())
    images = opened(tmp_path, "b", n=2, label=(datasets.Value("float32"), [0.5, 1]))
    assert images.labels is None
    many = {f"{name}_label": (datasets.ClassLabel(names=["x", "y"]), [1, 1]) for name in ("fine", "coarse")}
    images = opened(tmp_path, "c", n=2, label=None, **many)
    assert images.labels.tolist() == [1, 1]
    images = opened(tmp_path, "d", n=2, label=None, a=many["fine_label"], b=many["fine_label"])
    assert images.labels is None
    assert "no labels, because it has several label columns: a, b" in capsys.readouterr().err
    images = opened(tmp_path, "e", n=2, label=(datasets.ClassLabel(names=["x", "y"]), [-1, 1]))
    assert images.labels.tolist() == [-1, 1]


def test_labels_that_are_texts_are_names(tmp_path):
    text = datasets.Value("string")
    splits = {
        "train": table(3, label=(text, ["dog", None, " ant "])),
        "test": table(2, label=(datasets.Value("large_string"), ["cat", ""])),
    }
    for name, part in splits.items():
        part.save_to_disk(str(tmp_path / "set" / name))
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for split, labels in (("train", [2, -1, 0]), ("test", [1, -1])):
        images = open_huggingface(str(tmp_path / "set"), split)
        assert (images.labels.tolist(), images.class_names) == (labels, ("ant", "cat", "dog"))
    assert opened(tmp_path, "none", n=2, label=(text, ["", None])).labels is None


def test_a_folder_that_goes_while_it_is_read_stops_the_run(tmp_path):
    for name in ("train/cat/a.png", "train/dog/b.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        Image.new("RGB", (1, 1)).save(tmp_path / "set" / name)
    images = open_huggingface(str(tmp_path / "set"), "train")
    (tmp_path / "set").rename(tmp_path / "moved")
    with pytest.raises(ConflictError, match=f"{tmp_path}/set, the folder of the images, no longer exists"):
        images.read(0)


def test_names_that_are_not_here_do_not_reach_for_the_network(monkeypatch):
    found = refusal("owner/nothing-by-this-name", offline=True)
    assert "'owner/nothing-by-this-name' is not on this machine, and downloads are forbidden (--offline" in found
    assert "failed" not in found
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "downloads are forbidden" in refusal("owner/nothing-by-this-name@config")


def test_what_was_fetched_once_is_found_without_the_network(tmp_path):
    # As the library lays out its cache for a name on the hub.
    (tmp_path / "name").mkdir()
    table().to_parquet(str(tmp_path / "name" / "train.parquet"))
    open_huggingface(str(tmp_path / "name"), None)
    (tmp_path / "cache" / "name").rename(tmp_path / "cache" / "owner___name")
    for name in ("owner/name", "owner/name@default"):
        images = open_huggingface(name, None, offline=True)
        assert (numbers(images), images.labels.tolist(), images.split) == ([0, 1, 2, 3], [0, 1, 0, 1], "train")
        assert (images.source, images.dataset) == (f"hf:{name}", name[6:].replace("@", "-"))


def test_an_unreachable_hub_is_one_line(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.undo()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    found = refusal("owner/nothing-by-this-name")
    assert "fetching it from the hub failed: http://127.0.0.1:9 cannot be reached" in found
    assert "use hf:FOLDER" in found


@pytest.mark.parametrize("name", ["", "a/b/c", "../x", "https://example.org/x", "a\0b", "x" * 5000, "~nobody-here/x"])
def test_names_that_cannot_be(name):
    refusal(name, offline=True)


def test_a_folder_the_library_cannot_load(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "cannot be loaded" in refusal(tmp_path / "empty")
    (tmp_path / "x.png").touch()
    assert "expected a folder, a .parquet or an .arrow file" in refusal(tmp_path / "x.png")
    (tmp_path / "y.parquet").write_bytes(b"no")
    assert "cannot be loaded" in refusal(tmp_path / "y.parquet")
    table(2).select([]).save_to_disk(str(tmp_path / "z"))
    assert "cannot be loaded: it, or a split of it, has no rows" in refusal(tmp_path / "z")


@pytest.mark.parametrize("length", [0, 100])
def test_the_library_says_nothing_of_its_own(tmp_path, capfd, length):
    table().to_parquet(str(tmp_path / "x.parquet"))
    (tmp_path / "x.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:length])
    refusal(tmp_path / "x.parquet")
    assert capfd.readouterr().err == ""


def test_scripts_are_never_run(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "set.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "scripts are no longer supported" in refusal(tmp_path / "set")
    assert not (tmp_path / "ran").exists()


def test_damaged_tables(tmp_path):
    opened(tmp_path)
    (arrow,) = (tmp_path / "set").glob("*.arrow")
    whole = arrow.read_bytes()
    arrow.write_bytes(whole[:100])
    assert "cannot be loaded" in refusal(tmp_path / "set")
    (tmp_path / "set" / "state.json").write_text("{}")
    refusal(tmp_path / "set")


def test_labels_without_names(tmp_path):
    opened(tmp_path)
    info = tmp_path / "set" / "dataset_info.json"
    info.write_text(info.read_text().replace('"cat"', '"x"').replace('"dog"', '"x2"'))
    assert open_huggingface(str(tmp_path / "set"), None).class_names == ("x", "x2")
    content = info.read_text()
    start = content.index('"x2"')
    info.write_text(content[: content.rindex(",", 0, start)] + content[start + 4 :])
    assert "labels from 0 to 1, but 1 classes" in refusal(tmp_path / "set")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_without_the_parents_files_reads_the_same(tmp_path):
    images = opened(tmp_path)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.closerange(3, 10_000)
            status = 0 if numbers(images) == [0, 1, 2, 3] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("binary", ["binary", "large_binary", "binary_view"])
@pytest.mark.parametrize("text", ["string", "large_string", "string_view"])
def test_images_of_other_writers(tmp_path, binary, text):
    # Without the record of the type that the library writes, a table with images was refused.
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = []
    for picture in pictures(3):
        files.append(io.BytesIO())
        picture.save(files[-1], "PNG")
    content = pa.array([file.getvalue() for file in files], getattr(pa, binary)())
    names = pa.array(["x.png", "y.png", None], getattr(pa, text)())
    labels = pa.array(["dog", "cat", "dog"], getattr(pa, text)())
    columns = {
        "both": pa.StructArray.from_arrays([content, names], ["bytes", "path"]),
        "bytes": pa.StructArray.from_arrays([content], ["bytes"]),
        "plain": content,
    }
    for name, column in columns.items():
        pq.write_table(pa.table({"image": column, "label": labels}), tmp_path / f"{name}.parquet")
        images = open_huggingface(str(tmp_path / f"{name}.parquet"), None)
        assert numbers(images) == [0, 1, 2]
        assert (images.labels.tolist(), images.class_names) == ([1, 0, 1], ("cat", "dog"))
