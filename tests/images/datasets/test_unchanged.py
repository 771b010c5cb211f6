"""A source that changes while it is read stops the run; a file that is missing alone is one that cannot be read."""

import os
import shutil
from pathlib import Path

import pytest
from folder_files import tree
from PIL import Image

from headclust.errors import DataError, SourceError
from headclust.images.datasets import open_source

CHANGED = "has changed since its images were listed: start again when nothing writes there any more"


def paint(path, color=9):
    with path.open("wb") as file:
        Image.new("RGB", (1, 1), (color, 0, 0)).save(file, format="PNG")


def as_folder(root):
    return str(root)


def as_list(root):
    names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.png"))]
    (root.parent / "list.csv").write_text("path\n" + "".join(f"{root.name}/{name}\n" for name in names))
    return str(root.parent / "list.csv")


@pytest.fixture(params=[as_folder, as_list])
def images(tmp_path, request):
    return open_source(request.param(tree(tmp_path / "x", "a/1.png", "a/2.png", "b/3.png")))


def test_an_edited_file_stops_the_run(images, tmp_path):
    os.utime(tmp_path / "x/a/2.png", ns=(0, 5))
    assert images.read(0).size == (1, 1)
    with pytest.raises(SourceError, match=f"^{tmp_path}/x/a/2.png {CHANGED}") as caught:
        images.read(1)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_being_written_stops_the_run(images, tmp_path):
    (tmp_path / "x/a/1.png").write_bytes(b"\x89PNG")  # not an image in a supported format, but that is not the reason
    with pytest.raises(SourceError, match=CHANGED):
        images.read(0)


def test_a_file_of_the_same_size_and_another_time_stops_the_run(images, tmp_path):
    stamp = (tmp_path / "x/a/1.png").stat()
    paint(tmp_path / "x/a/1.png")
    assert (tmp_path / "x/a/1.png").stat().st_size == stamp.st_size
    with pytest.raises(SourceError, match=CHANGED):
        images.read(0)


def test_a_swapped_folder_stops_the_run(images, tmp_path):
    (tmp_path / "x/a").rename(tmp_path / "old")
    tree(tmp_path / "x", "a/1.png", "a/2.png")
    with pytest.raises(SourceError, match=CHANGED):
        images.read(0)


def test_a_swapped_folder_without_the_file_stops_the_run(images, tmp_path):
    (tmp_path / "x/a").rename(tmp_path / "old")
    (tmp_path / "x/a").mkdir()  # as an unmounted disk leaves it
    with pytest.raises(SourceError, match=f"^{tmp_path}/x/a, the folder of the images, no longer exists: put it back"):
        images.read(0)


@pytest.mark.parametrize("gone", ["x/a", "x"])
def test_a_folder_that_is_gone_stops_the_run(images, tmp_path, gone):
    shutil.rmtree(tmp_path / gone)
    with pytest.raises(
        SourceError, match=f"^{tmp_path}/{gone}, the folder of the images, no longer exists: put it back"
    ):
        images.read(0)


def test_a_single_missing_file_is_an_image_that_cannot_be_read(images, tmp_path):
    (tmp_path / "x/a/1.png").unlink()
    with pytest.raises(DataError, match=r"^no such file$"):
        images.read(0)
    assert images.read(1).size == (1, 1)


def test_a_file_that_appears_has_another_stamp(tmp_path):
    (tree(tmp_path / "x", "a.png") / "b.png").symlink_to(tmp_path / "late.png")
    images = open_source(str(tmp_path / "x"))
    paint(tmp_path / "late.png")
    with pytest.raises(SourceError, match=CHANGED):
        images.read(1)


@pytest.fixture(params=["files", "folder"])
def links(tmp_path, request):
    """Images behind links to files, or to their folder, on another disk."""
    tree(tmp_path / "disk", "1.png", "2.png")
    root = tmp_path / "x"
    root.mkdir()
    if request.param == "folder":
        (root / "disk").symlink_to(tmp_path / "disk")
    for name in ("1.png", "2.png") if request.param == "files" else ():
        (root / name).symlink_to(tmp_path / "disk" / name)
    return open_source(str(root))


def test_a_disk_that_links_lead_to_and_that_is_gone_stops_the_run(links, tmp_path):
    (tmp_path / "disk").rename(tmp_path / "old")
    with pytest.raises(SourceError, match=f"^{tmp_path}/disk, the folder of the images, no longer exists"):
        links.read(0)
    (tmp_path / "disk").mkdir()
    with pytest.raises(SourceError, match=f"^{tmp_path}/disk, the folder of the images, no longer exists"):
        links.read(0)


def test_links_that_lead_elsewhere_stop_the_run(links, tmp_path):
    tree(tmp_path / "other", "1.png", "2.png")
    for link in (tmp_path / "x").iterdir():
        target = Path(str(link.readlink()).replace("disk", "other"))
        link.unlink()
        link.symlink_to(target)
    with pytest.raises(SourceError, match=CHANGED):
        links.read(0)


def test_a_missing_target_of_a_link_is_an_image_that_cannot_be_read(links, tmp_path):
    (tmp_path / "disk/1.png").unlink()
    with pytest.raises(DataError, match=r"^no such file$"):
        links.read(0)


def test_only_permissions_that_are_missing_are_no_change(images, tmp_path, monkeypatch):
    def denied(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "x/a/1.png").unlink()
    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(DataError, match=r"^no such file$"):
        images.read(0)


def test_a_disk_that_does_not_answer_stops_the_run(images, tmp_path, monkeypatch):
    def gone(path, **_):
        raise OSError(107, "Transport endpoint is not connected", str(path))

    (tmp_path / "x/a/1.png").unlink()
    monkeypatch.setattr(Path, "stat", gone)
    with pytest.raises(SourceError, match="no longer exists: put it back"):
        images.read(0)
