import csv
import errno
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headclust.errors import ConflictError, DataError, FileFormatError, HeadclustError
from headclust.filenames import storable_name
from headclust.runs.assignments import read_assignments, write_assignments


def names(path):
    return sorted(file.name for file in path.iterdir())


def write(path, ids, *, novelty=False):
    shares = np.linspace(0.5, 1, len(ids), dtype=np.float32)
    return write_assignments(path, ids, np.arange(len(ids)), shares, 1 - shares if novelty else None)


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*_, **__):
    raise KeyboardInterrupt


FAILURES = [
    (full_disk, HeadclustError, "No space left on device: free some space"),
    (interrupted, KeyboardInterrupt, None),
]


@pytest.mark.parametrize("novelty", [False, True])
def test_what_is_written_is_read(tmp_path, novelty):
    path = write(tmp_path / "deeper" / "x.csv", ["a", "b", "c"], novelty=novelty)
    expected = "sample_id,cluster,confidence\na,0,0.500000\nb,1,0.750000\nc,2,1.000000\n"
    if novelty:
        expected = "sample_id,cluster,confidence,novelty\na,0,0.500000,0.500000\nb,1,0.750000,0.250000\n"
        expected += "c,2,1.000000,0.000000\n"
    assert path.read_text() == expected
    found = read_assignments(path)
    assert found.sample_ids == ("a", "b", "c")
    assert (found.clusters.tolist(), found.confidence.tolist()) == ([0, 1, 2], [0.5, 0.75, 1.0])
    assert found.novelty is None if not novelty else found.novelty.tolist() == [0.5, 0.25, 0]


def test_one_kind_replaces_the_other(tmp_path):
    for novelty in (False, True, False):
        found = read_assignments(write(tmp_path / "x.csv", ["a"], novelty=novelty))
        assert (found.novelty is not None) == novelty


HEADER = "sample_id,cluster,confidence\n"


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        (None, DataError, "no such file"),
        ("", FileFormatError, "starts with ''"),
        ("id,cluster\n", FileFormatError, "starts with 'id,cluster'"),
        (HEADER + "a,0\n", FileFormatError, "line 2: "),
        (HEADER + "a,0,0.5,0.5\n", FileFormatError, "line 2: 4 columns, expected 3"),
        (HEADER + "a,0,0.5\nb,-1,0.5\n", FileFormatError, "line 3: cluster '-1', expected a whole number"),
        (HEADER + "a,1e9,0.5\n", FileFormatError, "cluster '1e9'"),
        (HEADER + "a," + "9" * 30 + ",0.5\n", FileFormatError, "expected a whole number"),
        (HEADER + "a,0,nan\n", FileFormatError, "'nan', expected 0 to 1"),
        (HEADER + "a,0,1.5\n", FileFormatError, "'1.5', expected 0 to 1"),
        (HEADER + "a,0,x\n", FileFormatError, "line 2: "),
        (HEADER + '"a,0,0.5\n', FileFormatError, "line "),
        (HEADER + "b,0,0.5\na,0,0.5\na,1,0.5\n", FileFormatError, "sample 'a' comes twice"),
        (HEADER + "\x1b[2J,0,0.5\n" * 2, FileFormatError, "comes twice, expected one row a sample"),
    ],
)
def test_files_that_are_none(tmp_path, text, error, told):
    path = tmp_path / "\x1b[2J.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error) as caught:
        read_assignments(path)
    assert told in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_file_without_rows(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(HEADER)
    assert read_assignments(path).clusters.shape == (0,)


def read_rows(path):
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.reader(file))


HOSTILE = [
    "new\nline",
    "carriage\rreturn",
    "both\r\n",
    'quo"te',
    "com,ma",
    "",
    " ",
    "'=1+1",
    "\udce9t\udcff.png",
    "字🙂",
    "a\tb",
]


@pytest.mark.parametrize("novelty", [False, True])
def test_hostile_sample_ids_survive(tmp_path, novelty):
    # A bare carriage return once cut a row in two.
    path = write(tmp_path / "x.csv", HOSTILE, novelty=novelty)
    assert [row[0] for row in read_rows(path)] == ["sample_id", *HOSTILE]
    assert {len(row) for row in read_rows(path)} == {4 if novelty else 3}
    assert read_assignments(path).sample_ids == tuple(HOSTILE)
    assert os.fsencode("\udce9t\udcff.png") in path.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=5, unique=True))
def test_any_sample_id_survives(tmp_path, ids):
    path = tmp_path / "x.csv"
    write_assignments(path, ids, np.zeros(len(ids), np.int64), np.ones(len(ids), np.float32))
    assert read_assignments(path).sample_ids == tuple(ids)
    assert read_rows(path) == [["sample_id", "cluster", "confidence"], *([name, "0", "1.000000"] for name in ids)]


def test_surrogates_that_stand_for_no_byte(tmp_path):
    # Once a UnicodeEncodeError, after the whole fit.
    ids = ["\ud800", "x\udfff\udce9", "plain"]
    path = write(tmp_path / "x.csv", ids)
    rows = read_rows(path)
    assert len({row[0] for row in rows}) == 4
    assert [row[1] for row in rows[1:]] == ["0", "1", "2"]
    assert b"\xed\xa0\x80,0," in path.read_bytes()
    assert read_assignments(path).sample_ids == tuple(map(storable_name, ids))


@pytest.mark.parametrize(("failure", "error", "message"), FAILURES, ids=lambda value: getattr(value, "__name__", ""))
def test_assignments_are_written_whole_or_not_at_all(tmp_path, monkeypatch, failure, error, message):
    path, before = tmp_path / "x.csv", "sample_id,cluster,confidence\n"
    path.write_text(before)
    monkeypatch.setattr("headclust.disk.os.fsync", failure)
    with pytest.raises(error, match=message):
        write_assignments(path, ["a"], np.zeros(1, np.int64), np.ones(1, np.float32))
    assert names(tmp_path) == ["x.csv"]
    assert path.read_text() == before


@pytest.mark.parametrize(
    "content",
    [b"precious", b"\x89HDF\r\n", b"sample_id,cluster,confidence,more\n", b"novelty\n", b"\nmy notes\n", b" \n"],
)
def test_assignments_replace_nothing_else(tmp_path, content):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(ConflictError, match="holds no assignments"):
        write_assignments(path, ["a"], np.zeros(1, np.int64), np.ones(1, np.float32))
    assert path.read_bytes() == content


def test_an_empty_file_may_be_written(tmp_path):
    (tmp_path / "x.csv").touch()
    assert read_assignments(write(tmp_path / "x.csv", ["a"])).sample_ids == ("a",)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere")], ids=["pipe", "broken link"])
def test_assignments_replace_no_other_kind_of_file(tmp_path, make):
    make(tmp_path / "x.csv")
    with pytest.raises(ConflictError, match="holds no assignments"):
        write(tmp_path / "x.csv", ["a"])
    assert not (tmp_path / "x.csv").is_file()


def test_no_file_beside_it_is_written_through(tmp_path):
    # Once the temporary name told where to put something.
    mine = tmp_path / f".x.csv.{os.getpid()}.tmp"
    mine.write_text("precious")
    write(tmp_path / "x.csv", ["a"])
    assert mine.read_text() == "precious"
    assert names(tmp_path) == sorted([mine.name, "x.csv"])


def test_assignments_below_a_file(tmp_path):
    # Once a traceback: cleaning up failed too, and hid the line.
    (tmp_path / "file").write_text("precious")
    with pytest.raises(HeadclustError, match=r"cannot write .*x\.csv: "):
        write_assignments(tmp_path / "file" / "x.csv", ["a"], np.zeros(1, np.int64), np.ones(1, np.float32))
