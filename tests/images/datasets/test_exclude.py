"""Patterns of files and folders that are left out of any kind of source."""

import pytest
from archive_files import tar
from folder_files import tree
from hypothesis import given, settings
from hypothesis import strategies as st

from headclust.errors import DataError, SettingError
from headclust.images.datasets import open_source
from headclust.images.datasets.exclude import Exclusion

FILES = ("a.gif", "cat/1.png", "cat/raw/1.png", "dog/1.png", "dog/2.gif", "raw/x/1.png")


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("raw", ("a.gif", "cat/1.png", "dog/1.png", "dog/2.gif")),
        ("raw/", ("a.gif", "cat/1.png", "dog/1.png", "dog/2.gif")),
        ("./raw", ("a.gif", "cat/1.png", "cat/raw/1.png", "dog/1.png", "dog/2.gif")),
        ("cat/raw", ("a.gif", "cat/1.png", "dog/1.png", "dog/2.gif", "raw/x/1.png")),
        ("*.gif", ("cat/1.png", "cat/raw/1.png", "dog/1.png", "raw/x/1.png")),
        ("*.gif/", FILES),  # folders only
        ("*/1.png", ("a.gif", "cat/raw/1.png", "dog/2.gif", "raw/x/1.png")),
        ("**/raw/**", ("a.gif", "cat/1.png", "dog/1.png", "dog/2.gif")),
        ("cat/**", ("a.gif", "dog/1.png", "dog/2.gif", "raw/x/1.png")),
        ("[cd]?[tg]", ("a.gif", "raw/x/1.png")),
        ("RAW", FILES),
        ("aw", FILES),
        ("dog/1", FILES),
    ],
)
@pytest.mark.parametrize("archive", [False, True])
def test_what_a_pattern_leaves_out(tmp_path, pattern, left, archive, capsys):
    source = tar(tmp_path / "x.tar", *FILES) if archive else tree(tmp_path / "x", *FILES)
    images = open_source(str(source), exclude=[pattern])
    assert images.sample_ids == left
    assert images.record == {"exclude": [pattern]}
    line = f"--exclude '{pattern}' matches nothing in {source}\n"
    assert (line in capsys.readouterr().err) == (left == FILES)


def test_several_patterns_are_counted_and_recorded_in_one_order(tmp_path, capsys):
    source = str(tree(tmp_path / "x", *FILES))
    images = open_source(source, exclude=["raw", "*.gif", "raw"])
    assert images.sample_ids == ("cat/1.png", "dog/1.png")
    assert images.record == {"exclude": ["*.gif", "raw"]}
    assert capsys.readouterr().err == f"{source}: ignored 4 files or folders by --exclude\n"


def test_a_folder_below_a_class_that_is_left_out_does_not_take_the_labels_away(tmp_path):
    source = str(tree(tmp_path / "x", "cat/1.png", "cat/raw/1.png", "dog/1.png"))
    assert open_source(source).labels is None
    assert open_source(source, exclude=["raw"]).class_names == ("cat", "dog")


@pytest.mark.parametrize("archive", [False, True])
def test_what_is_left_out_does_not_merge_the_splits(tmp_path, archive):
    names = ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png", "masks/1.png")
    source = str(tar(tmp_path / "x.tar", *names) if archive else tree(tmp_path / "x", *names))
    assert open_source(source).split == "all"
    images = open_source(source, "train", exclude=["masks", "test/c"])
    assert images.sample_ids == ("train/a/1.png", "train/b/1.png")
    assert images.class_names == ("a", "b")  # c is left out of the other split too


def test_lists_and_named_data_sets_by_their_sample_ids(tmp_path, capsys):
    tree(tmp_path, "cat/a.png", "dog/b.png")
    (tmp_path / "x.csv").write_text("path,label\ncat/a.png,cat\ndog/b.png,dog\n")
    images = open_source(str(tmp_path / "x.csv"), exclude=["cat"])
    assert (images.sample_ids, images.labels.tolist(), images.class_names) == (("dog/b.png",), [1], ("cat", "dog"))
    assert images.read(0).size == (1, 1)
    assert capsys.readouterr().err == f"{tmp_path}/x.csv: left out 1 image by --exclude\n"
    assert open_source("digits", exclude=["1*"]).sample_ids[:3] == ("0", "2", "3")


@pytest.mark.parametrize("source", ["folder", "list"])
def test_everything_left_out(tmp_path, source):
    tree(tmp_path / "x", "a.png")
    (tmp_path / "x.csv").write_text("path\nx/a.png\n")
    with pytest.raises(DataError, match="--exclude"):
        open_source(str(tmp_path / ("x" if source == "folder" else "x.csv")), exclude=["*.png"])


@pytest.mark.parametrize("pattern", ["", "/", ".", "/home/me/x", "~/x", "../x", "a/../b", "a\0b"])
def test_patterns_that_are_not_possible(pattern):
    with pytest.raises(SettingError, match="expected a name or a path below the source") as caught:
        Exclusion([pattern])
    assert "\n" not in str(caught.value)


def test_a_name_with_special_characters_matches_itself(tmp_path):
    source = str(tree(tmp_path / "x", "[raw]/1.png", "zoo/1.png"))
    assert open_source(source, exclude=["[raw]"]).sample_ids == ("zoo/1.png",)


def test_composed_and_decomposed_letters_are_the_same(tmp_path):
    source = str(tree(tmp_path / "x", "Bu\u0308cher/1.png", "a/1.png"))
    assert open_source(source, exclude=["B\u00fccher"]).sample_ids == ("a/1.png",)


@given(st.text("ab/*?[].", max_size=8), st.text("ab/.", min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_pattern_is_possible_or_refused_and_matches_itself(pattern, path):
    try:
        exclusion = Exclusion([pattern])
    except SettingError:
        return
    exclusion.matches(path)
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if "**" not in parts:
        assert Exclusion([pattern]).matches("/".join(parts), folder=True)
