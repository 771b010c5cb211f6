import os

import numpy as np
import pytest

from headclust.errors import DataError, FileFormatError
from headclust.runs.assignments import Assignments
from headclust.runs.fixes import (
    Fix,
    append_fixes,
    apply_fixes,
    check_fixes,
    read_fixes,
    resolve_fixes,
    undo_fixes,
    write_fixes,
)

HEADER = "fix,group,image,other,name\n"
HOSTILE = [
    os.fsdecode(b"caf\xe9.jpg"),
    "a,b.jpg",
    'a"b.jpg',
    "a\nb.jpg",
    "a\rb.jpg",
    "=cmd|' /C calc'!A0",
    "<img src=x>",
    os.fsdecode(b"caf\xe9.jpg"),
    " a ",
]
ALL = (
    Fix("rename", group=0, name='Cats, "big"'),
    Fix("merge", group=3, other=1),
    Fix("split", group=2),
    Fix("split", group=1, other=3),
    Fix("move", group=4, image="a"),
    Fix("together", image="a", other="b"),
    Fix("apart", image="a", other="c"),
    Fix("right", group=0),
)


def run(groups="001122", confidence=None):
    """Images a, b, c ... in the groups of these digits."""
    ids = tuple("abcdefghijkl"[: len(groups)])
    shares = np.linspace(0.9, 0.4, len(ids)) if confidence is None else np.array(confidence)
    return Assignments(ids, np.array([int(group) for group in groups]), shares, None)


def move(image, group):
    return Fix("move", image=image, group=group)


def together(image, other):
    return Fix("together", image=image, other=other)


def apart(image, other):
    return Fix("apart", image=image, other=other)


def groups(fixes, assigned=None):
    return "".join(map(str, apply_fixes(assigned or run(), fixes)))


def test_fixes_are_read_as_they_were_appended(tmp_path):
    path = tmp_path / "fixes.csv"
    for fix in ALL:
        append_fixes(path, [fix])
    assert read_fixes(path) == ALL
    assert path.read_text().splitlines()[:3] == [HEADER.strip(), 'rename,0,,,"Cats, ""big"""', "merge,3,,1,"]
    assert [fix.line for fix in read_fixes(path)] == list(range(2, 10))


def test_hostile_names_are_kept(tmp_path):
    path = tmp_path / "fixes.csv"
    fixes = tuple(Fix("together", image=image, other="x" + image) for image in HOSTILE)
    append_fixes(path, fixes[:3])
    append_fixes(path, fixes[3:])
    assert read_fixes(path) == fixes


def test_undo_removes_the_last(tmp_path):
    path = tmp_path / "fixes.csv"
    write_fixes(path, ALL)
    assert undo_fixes(path, 3) == ALL[-3:]
    assert read_fixes(path) == ALL[:-3]
    with pytest.raises(DataError, match="holds 5 fixes: 6 cannot be undone"):
        undo_fixes(path, 6)
    undo_fixes(path, 5)
    assert path.read_text() == HEADER


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_a_file_that_a_spreadsheet_has_saved(tmp_path, encoding, delimiter, end):
    path = tmp_path / "fixes.csv"
    rows = ["Fix,Group,Image,Other,Name", "move,3.0,é.jpg,,", ",,,,", "split,1,,,"]
    path.write_bytes(end.join([*rows, ""]).replace(",", delimiter).encode(encoding))
    expected = (Fix("move", group=3, image="é.jpg"), Fix("split", group=1))
    assert read_fixes(path) == expected
    append_fixes(path, [Fix("right", group=0)])
    assert read_fixes(path) == (*expected, Fix("right", group=0))
    assert path.read_text().startswith(HEADER)


@pytest.mark.parametrize("kept", range(1, len(b'rename,0,,,"Beach, north"\n')))
def test_a_row_that_was_cut_short_is_left_out(tmp_path, capsys, kept):
    path = tmp_path / "fixes.csv"
    write_fixes(path, [Fix("right", group=1), Fix("rename", group=0, name="Beach, north")])
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"rename") + kept])
    before = (Fix("right", group=1),)
    whole = content[: content.index(b"rename") + kept].endswith(b'h"')
    assert read_fixes(path) == (before if not whole else (*before, Fix("rename", group=0, name="Beach, north")))
    assert ("fixes.csv, line 3 was cut short" in capsys.readouterr().err) is not whole
    append_fixes(path, [Fix("right", group=2)])
    assert read_fixes(path)[-1] == Fix("right", group=2)


def test_a_move_that_was_cut_short_does_not_name_another_image(tmp_path):
    path = tmp_path / "fixes.csv"
    path.write_text(HEADER + "right,1,,,\nmove,3,IMG_00")
    assert read_fixes(path) == (Fix("right", group=1),)
    path.write_bytes((HEADER + "right,1,,,\n").encode() + bytes(40))
    assert read_fixes(path) == (Fix("right", group=1),)


def test_an_empty_file_has_no_fixes(tmp_path):
    path = tmp_path / "fixes.csv"
    path.touch()
    assert read_fixes(path) == ()
    append_fixes(path, [Fix("right", group=1)])
    assert path.read_text() == HEADER + "right,1,,,\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("paint,1,,,", "line 2: fix 'paint': expected one of rename, merge"),
        ("move,1,,,", "line 2: move without its image: expected image and group"),
        ("move,1,a,,red", "line 2: move uses image and group alone: found 'red' as its name"),
        ("move,x,a,,", "line 2: group 'x': expected a whole number"),
        ("move,-1,a,,", "line 2: move: number -1, expected a whole number from 0 on"),
        ("split,1,,1,", "line 2: split: number 1, expected a whole number from 2 on"),
        ("merge,1,,1,", "line 2: merge of 1 with itself"),
        ("together,,a,a,", "line 2: together of 'a' with itself"),
        ("rename,1,,," + 201 * "x", "expected 1 to 200 printable characters"),
        ("move,1,a,,,", "line 2: 6 cells, expected 5"),
        ('move,1,"a,,', "line 2: unexpected end of data"),
    ],
)
def test_rows_that_are_no_fix(tmp_path, row, message):
    path = tmp_path / "fixes.csv"
    path.write_text(HEADER + row + "\n")
    with pytest.raises((DataError, FileFormatError)) as error:
        read_fixes(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_another_table_is_no_file_of_fixes(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("cluster,name\n0,Cats\n")
    with pytest.raises(FileFormatError, match="starts with 'cluster,name': expected the header fix,group"):
        read_fixes(path)


def test_each_fix_changes_the_groups():
    assert groups([move("a", 2)]) == "201122"
    assert groups([Fix("merge", group=0, other=2)]) == "221122"
    assert groups([move("a", 3), Fix("merge", group=3, other=1)]) == "101122"
    assert (
        groups([Fix("split", group=0), apart("a", "b"), Fix("right", group=0), Fix("rename", group=0, name="x")])
        == "001122"
    )


def test_together_moves_the_less_sure_image_and_those_that_belong_to_it():
    assert groups([together("c", "a")]) == "000122"
    assert groups([together("c", "d"), together("d", "e"), together("e", "a")]) == "000002"
    # A fixed image is surer than any other.
    assert groups([move("f", 2), together("a", "f")]) == "201122"
    # Those that belong together move together later.
    assert groups([together("a", "c"), move("c", 2)]) == "202122"


def test_of_two_moves_of_an_image_the_later_counts():
    fixes = [move("a", 1), move("a", 2)]
    assert groups(fixes) == "201122"
    assert resolve_fixes(run(), fixes, 3).pinned.tolist() == [2, -1, -1, -1, -1, -1]


def test_what_a_fit_has_to_keep():
    fixes = [
        move("a", 1),
        Fix("right", group=1),
        move("c", 3),
        together("e", "a"),
        apart("b", "f"),
        Fix("rename", group=1, name="Cats"),
        Fix("merge", group=1, other=2),
        Fix("split", group=2, other=2),
        Fix("rename", group=3, name="Dogs"),
    ]
    resolved = resolve_fixes(run(), fixes, 3)
    assert "".join(map(str, resolved.clusters)) == "203222"
    assert resolved.pinned.tolist() == [2, -1, 3, 2, 2, -1]
    assert (resolved.together, resolved.apart) == (((4, 0),), ((1, 5),))
    assert (resolved.splits, resolved.ended, resolved.names) == ({2: 2}, {1: 2}, {3: "Dogs"})


@pytest.mark.parametrize(
    ("fixes", "message"),
    [
        ([together("a", "b"), apart("b", "a")], "fix 2 (apart: b and a) contradicts fix 1 (together: a and b)"),
        (
            [together("a", "b"), apart("a", "c"), together("b", "c")],
            "fix 3 (together: b and c) contradicts fix 2 (apart: a and c): other images connect them",
        ),
        (
            [apart("a", "b"), move("a", 1), move("b", 1)],
            "fix 3 (move b to group 1) contradicts fix 1 (apart: a and b): both images belong to group 1",
        ),
        ([apart("a", "b"), Fix("right", group=0)], "fix 2 (group 0 is right) contradicts fix 1 (apart: a and b)"),
        (
            [together("a", "c"), apart("c", "b"), move("a", 1), move("b", 1)],
            "fix 4 (move b to group 1) contradicts fix 2 (apart: c and b)",
        ),
        (
            [move("a", 1), move("b", 2), together("a", "b")],
            "fix 3 (together: a and b) contradicts fix 2 (move b to group 2): a belongs to group 1, b to group 2.",
        ),
        (
            [together("a", "b"), move("a", 1), move("b", 2)],
            "fix 3 (move b to group 2) contradicts fix 1 (together: a and b): a belongs to group 1, b to group 2.",
        ),
        ([Fix("merge", group=0, other=1), move("c", 0)], "fix 2 (move c to group 0) contradicts fix 1 (merge group 0"),
        ([Fix("merge", group=0, other=1), Fix("merge", group=1, other=0)], "contradicts fix 1 (merge group 0 into 1)"),
        ([Fix("right", group=0), Fix("split", group=0)], "contradicts fix 1 (group 0 is right)"),
        ([Fix("split", group=0, other=3)], "fix 1 (split group 0 into 3): group 0 has 2 images: expected at least 3"),
        ([move("z", 0)], "fix 1 (move z to group 0): no image 'z' in the run"),
        ([move("a", 4)], "no group 4 in the run: it has 0 to 2, and the next new one, for images to move to, is 3"),
        ([Fix("rename", group=3, name="x")], "no group 3 in the run"),
    ],
)
def test_contradictions_name_both_rows(fixes, message):
    with pytest.raises(DataError) as error:
        check_fixes(fixes, run(), 3)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_change_of_mind_ends_a_contradiction():
    check_fixes([apart("a", "b"), move("a", 1), move("b", 1), move("b", 2)], run(), 3)


def test_messages_name_the_lines_of_the_file(tmp_path):
    path = tmp_path / "fixes.csv"
    path.write_text(HEADER + "\ntogether,,a,b\napart,,b,a\n")
    with pytest.raises(
        DataError, match=r"^line 4 \(apart: b and a\) contradicts line 3 \(together: a and b\)\. Delete"
    ):
        check_fixes(read_fixes(path), run(), 3)
