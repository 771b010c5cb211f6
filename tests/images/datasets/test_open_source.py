import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from archive_files import tar
from cifar_files import cifar10_files, write
from PIL import Image

from headclust.errors import DataError, HeadclustError, SettingError
from headclust.images.datasets import SOURCES, archives, huggingface, lists, open_source, webdataset


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1)).save(root / name)
    return root


def test_without_a_source_the_bundled_digits():
    assert open_source(None).sample_ids == open_source("digits", "train").sample_ids


@pytest.mark.parametrize("name", ["digit", "cifar", "fashon-mnist:/data", "imagnet:x", "web-dataset:x"])
def test_unknown_names_offer_the_nearest(name):
    with pytest.raises(SettingError, match=r"unknown source .*(did you mean|known:) ") as caught:
        open_source(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*SOURCES, *(f"{name}:" for name in SOURCES)])
def test_a_named_source_needs_its_folder(name):
    with pytest.raises(SettingError, match=r"needs its folder: use .*:PATH"):
        open_source(name)


@pytest.mark.parametrize(
    "source", ["/no/such/folder", "./digits", "cifar10:/no/such", "fashion-mnist:/no/such", "/no:x"]
)
def test_missing_folders(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        open_source(source)
    assert "\n" not in str(caught.value)


def test_a_folder_called_like_nothing_we_know(tmp_path, monkeypatch):
    monkeypatch.chdir(tree(tmp_path, "digits/a.png", "a:b/a.png", "plain/a.png"))
    for source in ("./digits", "a:b", "plain", str(tmp_path / "plain")):
        assert open_source(source).sample_ids == ("a.png",)
    assert open_source("digits").source == "digits"


@pytest.mark.parametrize(
    "source", ["", "\0", "a\0b/c", "x" * 5000, "/x" * 5000, "~nobody-by-this-name/x", "~nobody-by-this-name"]
)
def test_impossible_paths(source):
    with pytest.raises(HeadclustError):
        open_source(source)


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "hf"])
def test_a_named_source_of_an_empty_folder(tmp_path, name):
    with pytest.raises(DataError) as caught:
        open_source(f"{name}:{tmp_path}")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_are_opened_by_their_names(tmp_path):
    tree(tmp_path, "cat/a.png", "dog/b.png")
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        archive.add(tmp_path / "cat", "cat")
        archive.add(tmp_path / "dog", "dog")
    (tmp_path / "pets.CSV").write_text("path,label\ncat/a.png,cat\ndog/b.png,dog\n")
    for name in ("pets.tar", "pets.CSV"):
        images = open_source(str(tmp_path / name))
        assert (images.sample_ids, images.class_names) == (("cat/a.png", "dog/b.png"), ("cat", "dog"))
        assert images.read(1).size == (1, 1)


def test_what_opens_what(tmp_path, monkeypatch):
    for name in ("a.ZIP", "a.tar.gz", "a.tsv", "a.tar"):
        (tmp_path / name).touch()
    monkeypatch.setattr(archives, "open_archive", lambda path, split, _: ("archive", path, split))
    monkeypatch.setattr(lists, "open_list", lambda *given: ("list", *given))
    monkeypatch.setattr(webdataset, "open_webdataset", lambda *given: ("shards", *given))
    monkeypatch.setattr(huggingface, "open_huggingface", lambda *given, offline: ("hub", *given, offline))
    assert open_source(f"{tmp_path}/a.ZIP", "test") == ("archive", f"{tmp_path}/a.ZIP", "test")
    assert open_source(f"{tmp_path}/a.tar.gz") == ("archive", f"{tmp_path}/a.tar.gz", None)
    assert open_source(f"{tmp_path}/a.tsv", "val") == ("list", f"{tmp_path}/a.tsv", "val")
    assert open_source(f"webdataset:{tmp_path}/a.tar", None) == ("shards", f"{tmp_path}/a.tar", None)
    assert open_source("hf:uoft-cs/cifar10@plain", "test") == ("hub", "uoft-cs/cifar10@plain", "test", False)
    assert open_source("hf:x", offline=True) == ("hub", "x", None, True)


def test_one_image(tmp_path):
    path = tree(tmp_path, "photos/a.PNG", "photos/b.PNG") / "photos" / "a.PNG"
    images = open_source(str(path))
    assert (images.dataset, images.split, images.source) == ("a.PNG", "all", str(path))
    assert (images.sample_ids, images.labels, images.stamps[0][0]) == (("a.PNG",), None, path.stat().st_size)
    assert images.read(0).size == open_source(str(path.parent)).read(0).size
    with pytest.raises(SettingError, match=r"a.PNG: one image has no splits; leave --split out"):
        open_source(str(path), "train")


@pytest.mark.parametrize("name", ["a.pdf", "a", "a.npy", "a.csv.bak"])
def test_files_of_another_kind(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(
        DataError, match=r"another kind: expected a folder .* one image, an archive \(.tar .* a list .*\.csv"
    ) as caught:
        open_source(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_an_empty_name():
    with pytest.raises(SettingError, match="the source is empty: expected a folder of images, or a named source"):
        open_source("")


def test_classes_of_any_source(tmp_path):
    (tmp_path / "classes.txt").write_text("truck\nautomobile\n")
    write(tmp_path / "cifar", cifar10_files())
    images = open_source(f"cifar10:{tmp_path / 'cifar'}", "train", classes=tmp_path / "classes.txt")
    assert (images.dataset, images.sample_ids, images.labels.tolist()) == ("cifar10-2", ("0", "1"), [1, 1])
    with pytest.raises(DataError, match=r"none.txt: no such file"):
        open_source("digits", classes=tmp_path / "none.txt")
    with pytest.raises(SettingError, match="unknown class of digits 'truck'"):
        open_source("digits", classes=tmp_path / "classes.txt")
    with pytest.raises(DataError, match="has no classes to choose from"):
        open_source(str(tree(tmp_path / "flat", "a.png")), classes=tmp_path / "classes.txt")


def test_the_list_of_classes_is_read_before_the_images_are_listed(tmp_path):
    with pytest.raises(DataError, match=r"none.txt: no such file"):
        open_source(str(tmp_path / "gone"), classes=tmp_path / "none.txt")


def test_names_are_known_without_heavy_libraries():
    heavy = "{'torch', 'torchvision', 'timm', 'open_clip', 'sklearn', 'scipy', 'pyarrow', 'datasets', 'h5py'}"
    code = f"import sys, headclust.images.datasets as d; d.SOURCES; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_labels_of_subfolders_are_only_those_that_are_asked_for(tmp_path, kind):
    tree(tmp_path / "x", "2021/a.png", "2022/b.png")
    source = str(tmp_path / "x") if kind == "folder" else str(tar(tmp_path / "x.tar", "2021/a.png", "2022/b.png"))
    assert open_source(source).class_names == open_source(source, labels="folders").class_names == ("2021", "2022")
    for labels in ("dataset", "none"):
        images = open_source(source, labels=labels)
        assert (images.labels, images.class_names, images.record) == (None, (), {"labels": "none"})
        assert images.class_folders == ("2021", "2022")


def test_labels_of_named_data_sets_and_lists_are_their_own(tmp_path):
    tree(tmp_path, "cat/a.png", "dog/b.png")
    (tmp_path / "x.csv").write_text("path,label\ncat/a.png,cat\ndog/b.png,dog\n")
    for source in ("digits", str(tmp_path / "x.csv")):
        images = open_source(source, labels="dataset")
        assert images.labels is not None
        assert (images.record, images.class_folders) == ({}, ())
        assert open_source(source, labels="none").labels is None
