"""What is left out by its name, and the line that counts it."""

import pytest

from headclust.errors import DataError
from headclust.images import heif
from headclust.images.datasets import ignored
from headclust.images.datasets.ignored import Ignored, is_image_name, is_system, left_out_at


@pytest.fixture
def no_heif(monkeypatch):
    """As without the extra `heif`."""
    monkeypatch.setattr(ignored, "heif_is_installed", lambda: False)


@pytest.mark.parametrize("name", ["a.jpg", "A.JPEG", "b.tiff", "c.avif", ".png"])
def test_names_of_images(name):
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["jpg", "a.jpg.txt", "a.mp4", "a.CR2", ""])
def test_names_of_other_files(name):
    assert not is_image_name(name)


@pytest.mark.parametrize("installed", [True, False])
def test_heif_files_are_images_where_the_extra_is_installed(monkeypatch, installed):
    monkeypatch.setattr(ignored, "heif_is_installed", lambda: installed)
    assert [is_image_name(name) for name in ("a.heic", "B.HEIF", "c.hif")] == [installed] * 3


@pytest.mark.parametrize(
    "name",
    [
        *("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", ".@__thumb"),
        *("$RECYCLE.BIN", "$Recycle.Bin", "RECYCLER", "System Volume Information", "lost+found"),
        *("__MACOSX", ".AppleDouble", ".Trash", ".Trashes", ".Trash-1000", ".Trash 0", ".trashed", ".thumbnails"),
        *("Photos Library.photoslibrary", "Aperture.aplibrary", "Lightroom Catalog Previews.lrdata", "x.LRDATA"),
        *(".stversions", ".dtrash", ".zfs", "~snapshot", ".Recycle.Bin"),
    ],
)
def test_system_folders(name):
    assert is_system(name)


@pytest.mark.parametrize(
    "name", ["recycled", "trash", "recycler", "thumbnails", "2021", "eaDir", "lrdata", "@friends", ".x"]
)
def test_folders_of_a_person(name):
    assert not is_system(name)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("a.png", ""),
        ("x/a.b.png", ""),
        ("x./a.png", ""),
        ("x__MACOSX/a.png", ""),
        ("@eaDir", ""),  # a file of that name
        (".a.png", ".a.png"),
        ("x/.a.png", "x/.a.png"),
        ("x/.y/z/a.png", "x/.y"),
        ("__MACOSX/x/a.png", "__MACOSX"),
        ("cat/@eaDir/c0.jpg/THUMB.jpg", "cat/@eaDir"),
    ],
)
def test_where_a_path_is_left_out(path, place):
    assert left_out_at(path) == place


def test_nothing_left_out_is_no_line(capsys):
    Ignored().check_images("x", 1)
    assert capsys.readouterr().err == ""


def test_everything_is_counted_in_one_line(no_heif, capsys):
    files = ["a.HEIC", "b.heic", "c.NEF", "d.cr2", "e.dng", "f.mp4", "g.MOV", "notes.txt", "README"]
    folders = {"@eaDir", "cat/@eaDir", "#recycle"}
    Ignored(files=files, folders=folders, special=1).check_images("x", 1, excluded=3)
    assert capsys.readouterr().err == (
        "x: ignored 2 images that need the extra `heif` (pip install 'headclust[heif]'): 2 .heic; "
        "3 raw photos, which are not read: 1 .cr2, 1 .dng, 1 .nef; 2 videos: 1 .mov, 1 .mp4; "
        "2 files that are not images by name: 1 without a suffix, 1 .txt; 3 system folders: 2 @eaDir, #recycle; "
        "1 pipe or device named like images; 3 files or folders by --exclude\n"
    )


def test_without_images_nothing_is_noted_and_the_rest_is_named(no_heif, capsys):
    with pytest.raises(DataError, match=r"^x holds no images, no files at all: expected files named \.jpg .*\.avif\.$"):
        Ignored().check_images("x", 0)
    with pytest.raises(
        DataError, match=r"only 1 image that needs the extra `heif` \(pip install 'headclust\[heif\]'\)"
    ):
        Ignored(files=["a.heic"]).check_images("x", 0)
    assert capsys.readouterr().err == ""


def test_a_photo_library_is_read_when_it_is_named(tmp_path):
    with pytest.raises(DataError, match=r"1 system folder: X.photoslibrary: name X.photoslibrary itself to use"):
        Ignored(folders={"X.photoslibrary"}).check_images(tmp_path, 0)


def test_folders_that_cannot_be_listed_are_noted(capsys):
    Ignored(unlisted=[("private/", "Permission denied"), ("b/", "Input/output error")]).check_images("x", 1)
    assert capsys.readouterr().err == (
        "x: left out 2 folders that cannot be listed (private/: Permission denied): "
        "make them readable, or use --exclude.\n"
    )


def test_the_kinds_are_cut(capsys):
    names = ["a.doc", "b.doc", "c", *(f"x.{i}" for i in range(10)), f"y.{'z' * 40}"]
    Ignored(files=names).check_images("x", 1)
    line = capsys.readouterr().err
    assert line.startswith("x: ignored 14 files that are not images by name: 2 .doc, 1 without a suffix, 1 .0,")
    assert line.endswith(", 7 others\n")


@pytest.mark.parametrize("start", [b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypmif1"])
def test_heif_is_recognized_by_its_first_bytes(start):
    assert heif.is_heif(start + bytes(20))
    assert not heif.is_heif(b"\0\0\0\x18ftypavif")
