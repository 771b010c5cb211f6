import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headclust.errors import DataError, HeadclustError
from headclust.features.arrays import read_array, read_labels, read_npz, read_torch


def saved(array, **options) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_an_array_comes_back_mapped(tmp_path, dtype):
    array = np.arange(12).reshape(4, 3).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    found = read_array(tmp_path / "x.npy")
    assert isinstance(found, np.memmap)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not an array of numbers"):
        read_array(tmp_path / "x.npy")


def test_an_archive_is_no_single_array(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    with pytest.raises(DataError, match=r"it starts with b'PK.*expected one array"):
        read_array(tmp_path / "x.npz")


GOOD = saved(np.arange(12.0).reshape(4, 3))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"PK\x03\x04 but no archive",  # once zipfile's own error
        b"\x93NUMPY",
        GOOD[:100],
        GOOD[:-1],
        GOOD.replace(b"(4, 3)", b"(4, 9)"),
        GOOD.replace(b"(4, 3), }", b"((((((((("),
        GOOD.replace(b"(4, 3)", b"(-4,3)"),
        GOOD.replace(b"(4, 3), }           ", b"(4, 9999999999999)}}"),
        GOOD.replace(b"<f8", b"|O8"),
        b"\x80\x04\x95 a pickle",
    ],
)
def test_what_is_no_array(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_array(tmp_path / "x.npy")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.filterwarnings("ignore:Reading `.npy`")  # numpy, of a header that could be from Python 2
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=4))
def test_any_damage_is_an_array_or_one_line(tmp_path, position, content):
    path = tmp_path / "x.npy"
    path.write_bytes(GOOD[:position] + content + GOOD[position + len(content) :])
    line = ""
    try:
        assert isinstance(read_array(path), np.ndarray)
    except DataError as error:
        line = str(error)
    assert len(line.splitlines()) <= 1


@pytest.mark.parametrize("read", [read_array, read_labels, read_npz, read_torch])
def test_missing_files_and_folders(tmp_path, read):
    for path in (tmp_path / "none.npy", tmp_path, tmp_path / "none.txt"):
        with pytest.raises(DataError, match=r"no such file|cannot be read: Is a directory"):
            read(path)


def test_labels_as_text_and_as_an_array(tmp_path):
    (tmp_path / "labels.txt").write_text("3\n-1\n 0 \n")
    (tmp_path / "windows.txt").write_bytes("3\r\n-1\r\n0.0\r\n\r\n".encode("utf-16"))
    np.save(tmp_path / "labels.npy", np.array([3, -1, 0], dtype=np.int32))
    for name in ("labels.txt", "windows.txt", "labels.npy"):
        assert read_labels(tmp_path / name).tolist() == [3, -1, 0]


@pytest.mark.parametrize("content", ["1\n2.5\n", "cat\n", "1\n\n2\n", f"{10**30}\n", "1,2\n", "1_0\n", "٣\n"])
def test_labels_that_are_no_whole_numbers(tmp_path, content):
    (tmp_path / "labels.txt").write_text(content)
    with pytest.raises(HeadclustError, match="expected one whole number per line"):
        read_labels(tmp_path / "labels.txt")
