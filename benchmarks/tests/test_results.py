import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from study.results import append, merge, read_lines, read_results
from study.schema import FORMAT, VERSION

from headclust.errors import DataError, FileFormatError, HeadclustError


def line(name="a", key="1" * 64, status="done", **more):
    return {"format": FORMAT, "version": VERSION, "kind": "fit", "status": status, "id": name, "key": key, **more}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "below" / "results.jsonl"


def test_the_last_line_of_an_id_counts_the_newest_of_all_last(path):
    for name, value in (("b", 1), ("a", 2), ("b", 3)):
        append(path, line(name, value=value))
    assert [(one["id"], one["value"]) for one in read_results(path)] == [("a", 2), ("b", 3)]
    assert len(read_lines(path)) == 3


def test_no_file(path):
    assert read_lines(path) == []
    with pytest.raises(DataError, match="no such file"):
        read_results(path)


@given(cut=st.data())
def test_a_torn_last_line_costs_itself_alone(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("torn") / "results.jsonl"
    for name in "abc":
        append(path, line(name, text="naïve\n"))
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    kept = len(lines[0]) + len(lines[1])
    length = cut.draw(st.integers(kept + 1, len(whole) - 2))
    path.write_bytes(whole[:length])
    assert [one["id"] for one in read_lines(path)] == ["a", "b"]
    append(path, line("d"))
    assert [one["id"] for one in read_lines(path)] == ["a", "b", "d"]
    assert path.read_bytes().startswith(whole[:length])


def test_a_torn_line_is_told(path, capsys):
    append(path, line("a"))
    with path.open("ab") as file:
        file.write(b'{"format": "headcl')
    read_results(path)
    assert "1 unfinished line left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1]\n", "is no result"),
        (json.dumps({**line(), "format": "other"}) + "\n", "is no result"),
        (json.dumps({**line(), "version": 2}) + "\n", "has version 2"),
        (json.dumps({**line(), "id": None}) + "\n", "records no id"),
        ("name,accuracy\n", "none of its lines"),
        ("name,accuracy", "none of its lines"),
        (json.dumps({**line(), "scores": {"nmi": float("nan")}}) + "\n", "line 1 holds NaN"),
        (json.dumps({**line(), "key": None}) + "\n", "records no key"),
    ],
)
def test_another_file_is_refused(tmp_path, content, words):
    path = tmp_path / "other"
    path.write_text(content)
    with pytest.raises(FileFormatError, match=words):
        read_lines(path)


def test_what_is_no_line_is_not_written(path):
    with pytest.raises(FileFormatError):
        append(path, {"id": "a"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        append(path, line(score=float("nan")))
    assert not path.exists()


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HeadclustError, match="cannot write") as error:
        append(tmp_path / "file" / "results.jsonl", line())
    assert "\n" not in str(error.value)


def written(folder, *lines):
    for one in lines:
        append(folder / "results.jsonl", one)
        if one.get("assignments"):
            (folder / "cells").mkdir(exist_ok=True)
            np.savez(folder / one["assignments"], fit=np.arange(3))
    return folder / "results.jsonl"


def test_merging_takes_what_is_new_with_its_assignments(tmp_path):
    a = written(tmp_path / "a", line("x"), line("y", "2" * 64, "failed"))
    b = written(tmp_path / "b", line("x"), line("y", "2" * 64, assignments="cells/2.npz"), line("z", "3" * 64))
    assert merge(a, [b]) == 2
    assert {one["id"]: one["status"] for one in read_results(a)} == {"x": "done", "y": "done", "z": "done"}
    assert (tmp_path / "a" / "cells" / "2.npz").is_file()
    assert merge(a, [b]) == 0


def test_merging_does_not_replace_what_is_done_by_a_failure(tmp_path):
    a = written(tmp_path / "a", line("x"))
    b = written(tmp_path / "b", line("x", status="failed"))
    assert merge(a, [b]) == 0


def test_of_two_versions_of_a_cell_the_later_file_counts(tmp_path):
    a = written(tmp_path / "a", line("x", "1" * 64))
    b = written(tmp_path / "b", line("x", "2" * 64))
    merge(tmp_path / "all.jsonl", [a, b])
    assert [one["key"] for one in read_results(tmp_path / "all.jsonl")] == ["2" * 64]


@pytest.mark.parametrize("name", ["../secret.npz", "/etc/passwd", "cells/../../secret.npz", "cells"])
def test_a_line_from_elsewhere_copies_no_other_file(tmp_path, name):
    (tmp_path / "secret.npz").write_text("secret")
    b = written(tmp_path / "b", line("x"))
    b.write_text(json.dumps(line("x", assignments=name)) + "\n")
    merge(tmp_path / "a" / "results.jsonl", [b])
    assert [path.name for path in (tmp_path / "a").rglob("*")] == ["results.jsonl"]


def test_missing_assignments_are_told(tmp_path, capsys):
    b = written(tmp_path / "b", line("x"))
    b.write_text(json.dumps(line("x", assignments="cells/1.npz")) + "\n")
    assert merge(tmp_path / "a" / "results.jsonl", [b]) == 1
    assert "merged without its assignments" in capsys.readouterr().err


def test_a_file_that_is_one_unfinished_line_goes_on(path, capsys):
    append(path, line("a"))
    whole = path.read_bytes()
    for length in (1, 20, len(whole) - 2):
        path.write_bytes(whole[:length])
        assert read_lines(path) == []
        assert "1 unfinished line left out" in capsys.readouterr().err
        append(path, line("b"))
        assert [one["id"] for one in read_lines(path)] == ["b"]


def unusable(name):
    """The failed line of a cell whose features could not be used."""
    return {**line(name, status="failed"), "key": None, "error": "there is no data"}


def test_features_that_another_part_lacked_hide_no_fit(tmp_path):
    a, b = written(tmp_path / "a", line("x")), written(tmp_path / "b", unusable("x"))
    assert merge(a, [b]) == 0
    for number, order in enumerate(([a, b], [b, a])):
        target = tmp_path / f"{number}.jsonl"
        merge(target, order)
        assert [one["status"] for one in read_results(target)] == ["done"]
    append(a, unusable("x"))  # as it was written before
    assert [one["status"] for one in read_results(a)] == ["done"]


@pytest.mark.parametrize("what", ["missing", "foreign", "pickled", "damaged"])
def test_nothing_is_merged_unless_all_can_be(tmp_path, what):
    good = written(tmp_path / "good", line("x", assignments="cells/1.npz"))
    bad = tmp_path / "bad" / "results.jsonl"
    if what == "foreign":
        bad.parent.mkdir()
        bad.write_text("name,accuracy\n")
    elif what != "missing":
        written(tmp_path / "bad", line("y", assignments="cells/2.npz"))
        if what == "pickled":
            np.savez(tmp_path / "bad" / "cells" / "2.npz", fit=np.array([{}], dtype=object))
        else:
            (tmp_path / "bad" / "cells" / "2.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(HeadclustError) as error:
        merge(tmp_path / "all" / "results.jsonl", [good, bad])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "all").exists()
