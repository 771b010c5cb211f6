import pytest

from headclust.errors import FileFormatError, HeadclustError, SettingError
from headclust.images.datasets.subset import read_class_ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("n01601694 Dipper\nn01669191 Box Turtle\n", ("n01601694", "n01669191")),  # as SCAN's lists are
        ("b\na\n", ("b", "a")),
        ("b\r\na", ("b", "a")),
        ("\n# comment\n  b\t x y\n\n   # another\na # remark\n", ("b", "a")),
        ('"Ankle boot"\n"T-shirt/top" a remark\nBag\n', ("Ankle boot", "T-shirt/top", "Bag")),
        ('"5"" disk"\n"#1"\n"""\nit"s\n', ('5"" disk', "#1", '"', 'it"s')),
        ("é\x85\u2028x\n", ("é",)),  # what else Unicode calls a new line or space
    ],
)
def test_a_class_a_line(tmp_path, text, ids):
    (tmp_path / "classes.txt").write_bytes(text.encode())
    assert read_class_ids(tmp_path / "classes.txt") == ids


def test_utf_16_as_windows_writes_it(tmp_path):
    (tmp_path / "classes.txt").write_bytes("a remark\r\nж\r\n".encode("utf-16"))
    assert read_class_ids(tmp_path / "classes.txt") == ("a", "ж")


def test_byte_order_mark_and_names_that_are_not_utf8(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfa\ncaf\xe9\n")
    assert read_class_ids(tmp_path / "classes.txt") == ("a", "caf\udce9")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", SettingError, "names no class: expected one per line"),
        (b"# nothing\n\n", SettingError, "names no class"),
        (b"a\n\nb\na c\n", SettingError, "line 4: class 'a' is named on line 1 already"),
        (b'a\n"Ankle boot\n', SettingError, "line 2: expected a class in double quotes, found '\"Ankle boot'"),
        (b'""\n', SettingError, "line 1: expected a class in double quotes"),
        ("a\nb\n".encode("utf-16-le"), FileFormatError, "line 1: a null character.* save it as UTF-8"),
    ],
)
def test_files_that_are_refused(tmp_path, data, error, message):
    (tmp_path / "classes.txt").write_bytes(data)
    with pytest.raises(error, match=message) as caught:
        read_class_ids(tmp_path / "classes.txt")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path, tmp_path / "a\0b", tmp_path / ("x" * 5000)):
        with pytest.raises(HeadclustError, match=r"cannot be read: |no such file") as caught:
            read_class_ids(path)
        assert "\n" not in str(caught.value)
