import os
import tarfile

import pytest

from export.conftest import NAMES, draw, number
from headclust.errors import DataError
from headclust.export import find_images


def test_a_folder(photos):
    images = find_images(str(photos), "all", NAMES)
    assert images.paths == tuple(str(photos / name) for name in NAMES)
    assert (images.folder, images.are_files) == (photos, True)
    assert images.read(3).getpixel((0, 0))[0] == 3


def test_a_split(tmp_path):
    photos = draw(tmp_path / "photos", "train/x/a.png", "train/y/b.png", "test/x/a.png", "test/y/c.png")
    ids = ("test/y/c.png", "train/x/a.png")
    images = find_images(str(photos), "test", ids)
    assert images.paths == (str(photos / "test/y/c.png"), None)


def test_a_named_source(tmp_path):
    names = [f"{split}/{label}/1.png" for split in ("train", "test") for label in "abcdefghij"]
    photos = draw(tmp_path / "cifar", *names)
    images = find_images(f"cifar10:{photos}", "test", names)
    assert images.paths == (None,) * 10 + tuple(str(photos / name) for name in names[10:])
    assert images.folder == photos


def test_a_list_leads_wherever_it_says(tmp_path):
    photos = draw(tmp_path / "photos", "a.png", "b")
    (tmp_path / "lists").mkdir()
    ids = ("../photos/a.png", f"{photos}/b", "none.png")
    (tmp_path / "lists/some.csv").write_text("\n".join(["path", *ids]))
    images = find_images(str(tmp_path / "lists/some.csv"), "all", (*ids, "../some.csv"))
    assert [path and number(path) for path in images.paths] == [0, 1, None, None]
    assert images.folder is None
    assert images.are_files


def test_an_archive(photos, tmp_path):
    with tarfile.open(tmp_path / "photos.tar", "w") as file:
        for name in NAMES:
            file.add(photos / name, name)
    # A folder with the name of the archive beside it is not the source.
    images = find_images(str(tmp_path / "photos.tar"), "all", NAMES)
    assert images.paths == (None,) * 5
    assert not images.are_files
    assert images.read(4).getpixel((0, 0))[0] == 4


def test_bundled_images():
    images = find_images("digits", "train", ("0", "1436", "1437"))
    assert images.paths == (None, None, None)
    assert images.read(1).size
    with pytest.raises(DataError, match="not found at its source"):
        images.read(2)


def test_rows_called_by_number_are_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(draw(tmp_path, "digits/0", "0"))
    assert find_images("digits", "train", ("0",)).paths == (None,)


@pytest.mark.parametrize("source", ["/nowhere", "hf:some/where", "nothing", "", "x" * 5000, "photos.tar"])
def test_sources_that_are_gone(tmp_path, monkeypatch, source, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.tar").write_bytes(b"no archive")
    images = find_images(source, "all", ("a", "b"))
    assert (images.paths, images.rows) == ((None, None), (None, None))
    assert capsys.readouterr().err.startswith("the images cannot be found: ")


def test_ids_lead_nowhere_else(photos, tmp_path):
    draw(tmp_path, "a.png")
    ids = ("../a.png", str(tmp_path / "a.png"), str(photos / "a.png"), "./a.png", "deep/../a.png", "\0", "x" * 5000)
    assert find_images(str(photos), "all", ids).paths == (None,) * len(ids)


def test_names_that_are_not_utf8(tmp_path):
    photos = draw(tmp_path / "photos", "\udce9.png")
    (path,) = find_images(str(photos), "all", ("\udce9.png",)).paths
    assert os.fsencode(path).endswith(b"/\xe9.png")


def test_links_in_a_circle(tmp_path):
    photos = draw(tmp_path / "photos", "a.png")
    (photos / "again").symlink_to(photos)
    (photos / "b.png").symlink_to("b.png")
    assert find_images(str(photos), "all", ("a.png", "again/a.png", "b.png")).paths == (
        str(photos / "a.png"),
        None,
        None,
    )
