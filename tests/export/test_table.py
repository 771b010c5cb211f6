import pytest

from headclust.errors import DataError, FileFormatError, HeadclustError
from headclust.export import Table, read_names


def test_groups_of_a_table():
    table = Table(("a", "b", "c"), (None,) * 3, [2, 0, 1], {0: "pets", 1: "other", 2: "pets"}, [1.0] * 3)
    assert table.group_of == ["pets", "pets", "other"]
    assert table.classes == ["pets", "other"]
    assert len(table) == 3


@pytest.mark.parametrize(
    "text",
    [
        "cluster,name\n0,cats\n2,=1+1\n",
        "\ufeffCluster, Name\r\n0, cats \r\n\r\n2,=1+1\r\n",
        'cluster,name\n0,"cats"\n2,=1+1',
    ],
)
def test_a_file_of_names(tmp_path, text):
    path = tmp_path / "names.csv"
    path.write_bytes(text.encode())
    assert read_names(path, 3) == {0: "cats", 2: "=1+1"}


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, DataError, "no such file"),
        (b"", FileFormatError, "starts with ''"),
        (b"0,cats\n", FileFormatError, "starts with '0,cats': expected the header cluster,name"),
        (b"cluster,name\n0\n", DataError, "line 2: 1 columns, expected 2"),
        (b"cluster,name\n0,a,b\n", DataError, "3 columns"),
        (b"cluster,name\n3,a\n", DataError, "cluster '3', expected 0 to 2"),
        (b"cluster,name\n-1,a\n", DataError, "cluster '-1'"),
        (b"cluster,name\n\xd9\xa1,a\n", DataError, "expected 0 to 2"),  # an Arabic 1
        (b"cluster,name\n0,a\n0,b\n", DataError, "line 3: cluster 0 occurs twice"),
        (b"cluster,name\n0,\n", DataError, "name ''"),
        (b'cluster,name\n0,"a\nb"\n', DataError, "expected 1 to 200 printable characters"),
        (b"cluster,name\n0,\x1b[2J\n", DataError, "expected 1 to 200 printable characters"),
        (b"cluster,name\n0," + b"x" * 201 + b"\n", DataError, "expected 1 to 200 printable characters"),
        (b"cluster,name\n0,\xe9\n", FileFormatError, "not UTF-8"),
        (b'cluster,name\n0,"a\n', FileFormatError, "line 2"),
    ],
)
def test_invalid_files_of_names(tmp_path, content, error, message):
    path = tmp_path / "\x1b[2J.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error) as caught:
        read_names(path, 3)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_folder_for_a_file(tmp_path):
    with pytest.raises(HeadclustError, match="cannot be read: Is a directory"):
        read_names(tmp_path, 3)
