import os

import pytest

from headclust.errors import ConflictError, HeadclustError
from headclust.report.writing import check_place, write_page

PAGE = '<!DOCTYPE html>\n<meta name="generator" content="headclust report">\n\u00e9'


def test_a_page_is_written_whole_and_replaced(tmp_path):
    path = tmp_path / "new" / "page.html"
    assert write_page(path, PAGE) == path
    assert write_page(path, PAGE + "more").read_bytes() == (PAGE + "more").encode()
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(),
        lambda path: path.write_text("<html>mine</html>"),
        lambda path: path.write_text("\n" * 500 + "mine"),
        os.mkfifo,
    ],
)
def test_other_files_are_not_replaced(tmp_path, make):
    path = tmp_path / "page.html"
    make(path)
    with pytest.raises(ConflictError, match=r"page\.html"):
        check_place(path)
    with pytest.raises(ConflictError, match=r"page\.html"):
        write_page(path, PAGE)
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


def test_an_empty_file_may_be_written(tmp_path):
    path = tmp_path / "page.html"
    path.touch()
    assert write_page(path, PAGE).read_text(encoding="utf-8") == PAGE


def test_other_files_in_the_folder_are_not_changed(tmp_path):
    mine = tmp_path / f".page.html.{os.getpid()}.tmp"
    mine.write_text("precious")
    write_page(tmp_path / "page.html", PAGE)
    assert mine.read_text(encoding="utf-8") == "precious"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([mine.name, "page.html"])


def test_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HeadclustError, match="cannot write"):
        write_page(tmp_path / "file" / "page.html", PAGE)
    with pytest.raises(HeadclustError, match="File name too long"):
        write_page(tmp_path / ("a" * 254 + ".html"), PAGE)


def test_a_full_disk_leaves_the_old_page(tmp_path, monkeypatch):
    path = write_page(tmp_path / "page.html", PAGE)

    def full(_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(HeadclustError, match="No space left"):
        write_page(path, PAGE + "new")
    monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == PAGE
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
