"""Words in paths: those of people, not those of cameras and calendars."""

import numpy as np
import pytest

from headclust.naming.choice import Chooser
from headclust.naming.typical import Members
from headclust.naming.words import words_evidence, words_of


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("n01494475_hammerhead.JPEG", ["hammerhead"]),
        ("2021/Week 3/IMG_0412.HEIC", []),
        ("Summer in Italy/PXL_20210801_1200.jpg", ["Summer in Italy", "Summer", "Italy"]),
        ("golden_retriever/golden_retriever_01.jpg", ["golden retriever", "golden", "retriever"]),
        ("train/airplane/0001.jpg", ["airplane"]),
        ("Screenshot_2021-03-04-12-33.png", ["Screenshot"]),
        ("WhatsApp Image 2021-01-01 at 12.00.00.jpeg", ["WhatsApp"]),
        ("IMG-20210304-WA0012.jpg", []),
        ("2020/March/DSC00012.JPG", []),
        ("猫/1.jpg", ["猫"]),
        ("a1b2c3d4e5f6.jpg", []),
        ("cats\\tabby.png", ["cats", "tabby"]),
        ("17", []),
        ("caf\udce9\n/x.jpg", ["caf"]),
        ("a very long name of a folder with many words/x.jpg", ["very", "long", "name", "folder", "many", "words"]),
    ],
)
def test_words_of(path, words):
    assert words_of(path) == words


def members(*folders):
    """Groups of images, one per list of folders."""
    ids = [f"{folder}/IMG_{number:04d}.jpg" for group in folders for number, folder in enumerate(group)]
    groups = np.repeat(np.arange(len(folders)), [len(group) for group in folders])
    return Members(ids, groups, np.ones(len(ids)), range(len(folders)))


def named(made):
    return [name.name for name in Chooser(words_evidence(made), made.sizes).name_groups()]


def test_the_folder_of_most_images_of_a_group_names_it():
    assert named(members(["Italy trip"] * 8 + ["Home"], ["Home"] * 9)) == ["Italy trip", "Home"]


def test_a_folder_of_all_groups_names_none():
    assert named(members(["Camera"] * 8, ["Camera"] * 9)) == [None, None]


def test_case_does_not_count_and_the_first_spelling_is_taken():
    assert named(members(["Cats", "cats", "CATS"], ["dogs"] * 3)) == ["Cats", "dogs"]


def test_a_word_of_a_single_image_is_no_name():
    assert named(members(["alone"], ["dogs"] * 3)) == [None, "dogs"]
