"""names.json: what is written is read, joins rename their unions, and damage is one line."""

import json

import pytest

from headclust.errors import FileFormatError, HeadclustError
from headclust.runs.names import NAMES, Name, Names, is_name, read_names, write_names

NAMED = Names(
    "classifier of efficientnet_lite0",
    {0: Name("cat", 0.9, ("feline",)), 1: Name("dog", 0.8), 2: Name(None, 0.1, ("thing",)), 3: Name("ship", 0.7)},
    (Name("animal", 0.5), None),
)


def test_what_is_written_is_read(tmp_path):
    assert write_names(tmp_path, NAMED) == tmp_path / NAMES
    assert read_names(tmp_path) == NAMED


def test_without_a_file_there_are_no_names(tmp_path):
    assert read_names(tmp_path) is None


def test_the_file_has_the_form_of_the_documentation(tmp_path):
    contents = json.loads(write_names(tmp_path, NAMED).read_text())
    assert contents["groups"]["1"] == {"name": "dog", "score": 0.8, "alternatives": []}
    assert contents["groups"]["2"]["name"] is None
    assert contents["joins"] == [{"name": "animal", "score": 0.5, "alternatives": []}, None]


def texts(joins):
    return {group: name.name for group, name in NAMED.after(joins).items()}


def test_names_of_the_groups_before_any_join():
    assert texts([]) == {0: "cat", 1: "dog", 2: None, 3: "ship"}


def test_a_join_takes_the_name_of_its_part_and_gives_its_own():
    assert texts([(0, 1)]) == {0: "animal", 2: None, 3: "ship"}


def test_a_union_without_a_name_does_not_keep_that_of_a_part():
    assert texts([(0, 1), (3, 2)]) == {0: "animal", 3: None}


def test_joins_beyond_the_names_have_none():
    assert texts([(0, 1), (3, 2), (0, 3)]) == {0: None}


def test_a_text_that_is_taken_names_no_group_and_no_union():
    free = NAMED.without(["DOG", "Animal"])
    assert [name.name for name in free.groups.values()] == ["cat", None, None, "ship"]
    assert free.joins[0].name is None
    assert free.groups[0] == NAMED.groups[0]


@pytest.mark.parametrize("text", ["dog", "Straße", "猫", "a b", "x" * 200])
def test_is_a_name(text):
    assert is_name(text)


@pytest.mark.parametrize("text", ["", " dog", "dog\n", "a\nb", "a\u2028b", "\ud800", "x" * 201, "a\0"])
def test_is_no_name(text):
    assert not is_name(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("[]", "format"),
        ("{", "cannot be read"),
        ('{"format": "other"}', "format"),
        ({"format_version": 2}, "format version is 2"),
        ({"groups": {"-1": {"name": "x"}}}, "not the id"),
        ({"groups": {"1": {"name": "a\nb"}}}, "not a name"),
        ({"groups": {"1": {"name": 3}}}, "not a name"),
        ({"groups": {"1": {"name": "x", "score": 7}}}, "score 7"),
        ({"groups": {"1": None}}, "cannot be read"),
        ({"groups": []}, "cannot be read"),
        ({"joins": 3}, "cannot be read"),
        ({"source": None}, "not a name"),
    ],
)
def test_a_damaged_file_is_one_line_with_the_next_step(tmp_path, change, message):
    path = write_names(tmp_path, NAMED)
    text = change if isinstance(change, str) else json.dumps({**json.loads(path.read_text()), **change})
    path.write_text(text)
    with pytest.raises(FileFormatError, match=message) as error:
        read_names(tmp_path)
    assert "headclust name" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(HeadclustError, match="cannot write"):
        write_names(tmp_path / "missing", NAMED)
