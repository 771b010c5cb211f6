"""Text files of users, as editors and spreadsheets of every system save them."""

import pytest

from headclust.errors import DataError, FileFormatError
from headclust.textfiles import read_lines, read_names, table_rows, whole_number

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


@pytest.fixture
def file(tmp_path):
    def write(content: bytes):
        path = tmp_path / "a.txt"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_line_ends_are_no_part_of_a_line(file, encoding, end):
    path = file(end.join(["a.jpg", "é\u2028.jpg", "", "ж\x0c.jpg", "", " ", ""]).encode(encoding))
    assert read_lines(path) == ["a.jpg", "é\u2028.jpg", "", "ж\x0c.jpg"]


def test_utf_16_of_either_byte_order(file):
    assert read_lines(file(b"\xfe\xff" + "a\nж\n".encode("utf-16-be"))) == ["a", "ж"]
    assert read_lines(file(b"\xff\xfe" + "a\nж\n".encode("utf-16-le"))) == ["a", "ж"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_table_in_every_encoding(file, encoding):
    path = file('path,label\r\n"a,1.jpg",é\r\n\r\n"two\nlines",b\r\n'.encode(encoding))
    assert list(table_rows(path)) == [(1, ["path", "label"]), (2, ["a,1.jpg", "é"]), (5, ["two\nlines", "b"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb\n".encode("utf-16-le"), "line 1: a null character.*UTF-16 without a byte order mark: save it as UTF-8"),
        (b"a\nb\0\n", "line 2: a null character"),
        (b"a\nb\ncaf\xe9\n", r"a\.txt, line 3 is not UTF-8 text .*save it as UTF-8"),
        (b"a\n\xed\xa0\x80\n", "line 2 is not UTF-8 text"),  # half a pair of UTF-16, written as UTF-8
        (b"\xff\xfea\0\x00\xd8b\0", "is not UTF-16 text"),  # half a pair
        (b"\xff\xfea\0b", "is not UTF-16 text"),
        (b"\xff\xfe\0\0a\0\0\0b", "is not UTF-32 text"),
    ],
)
@pytest.mark.parametrize("read", [read_lines, lambda path: list(table_rows(path))], ids=["lines", "table"])
def test_what_is_no_text_is_refused_with_its_line(file, read, content, message):
    with pytest.raises(FileFormatError, match=message) as caught:
        read(file(content))
    assert len(str(caught.value).splitlines()) == 1


def test_bytes_of_file_names_are_allowed_on_request(file):
    assert read_lines(file(b"caf\xe9\n\xed\xa0\x80"), any_bytes=True) == ["caf\udce9", "\udced\udca0\udc80"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\n\nb\n", "line 2 is blank: expected one name per line"),
        (b"\xef\xbb\xbf \na\n", "line 1 is blank"),
        (b"a\r\nb\r\na\r\n", "line 3: 'a' is in line 1 already: expected every name once"),
    ],
)
def test_blank_and_repeated_names_are_refused_with_their_lines(file, content, message):
    with pytest.raises(DataError, match=message):
        read_names(file(content))


def test_names(file):
    assert read_names(file(b"\xef\xbb\xbfa.jpg\r\n b \r\ncaf\xe9\r\n\r\n")) == ["a.jpg", " b ", "caf\udce9"]
    assert read_names(file(b"")) == []


@pytest.mark.parametrize("read", [read_lines, read_names, lambda path: list(table_rows(path))])
def test_files_that_are_none(tmp_path, read):
    for name in ("none", ".", "a\0b"):
        with pytest.raises(DataError, match=r"no such file|cannot be read"):
            read(tmp_path / name)


def test_an_unclosed_quote(file):
    with pytest.raises(FileFormatError, match="line 2: unexpected end of data: expected CSV text"):
        list(table_rows(file(b'a\n"b\n')))


@pytest.mark.parametrize(("text", "number"), [("7", 7), (" -1 ", -1), ("7.0", 7), ("+3", 3)])
def test_whole_numbers(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["", "7.5", "1_000", "٣", "1e3", "cat", "nan", "9" * 19])
def test_what_is_no_whole_number(text):
    assert whole_number(text) is None
