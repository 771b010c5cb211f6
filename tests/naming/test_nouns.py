"""The table of nouns in the package: what it holds, what it leaves out, and the license beside it."""

import lzma

import pytest

from headclust.naming.nouns import TABLE, load_nouns
from headclust.naming.text import _phrases, default_words

NOUNS = load_nouns()


def one(word):
    return NOUNS.by_id[NOUNS.by_word[word][0]]


def test_it_is_small_and_its_license_lies_beside_it():
    assert TABLE.stat().st_size < 400_000
    notice = TABLE.with_name("WORDNET-LICENSE").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in notice
    assert "Permission to use, copy, modify and distribute" in notice


def test_every_class_of_imagenet_but_persons_is_a_noun():
    assert len(NOUNS.classes) == 997
    assert NOUNS.by_id[NOUNS.classes[207]].name == "golden retriever"
    assert not {981, 982, 983} & set(NOUNS.classes)  # ballplayer, groom, scuba diver


def test_persons_are_left_out():
    assert "n00007846" not in NOUNS.by_id
    assert not {"person", "nurse", "bridegroom", "ballplayer"} & set(NOUNS.by_word)


def test_hypernyms_lead_to_the_root():
    names = [NOUNS.by_id[noun].name for noun in NOUNS.ancestors(one("golden retriever").id)]
    assert names[0] == "golden retriever"
    assert {"dog", "animal", "entity"} <= set(names)
    assert len(names) == len(set(names))


def test_the_order_of_ancestors_is_by_steps():
    names = [NOUNS.by_id[noun].name for noun in NOUNS.ancestors(one("golden retriever").id)]
    assert names[:5] == ["golden retriever", "retriever", "sporting dog", "hunting dog", "dog"]


@pytest.mark.parametrize(("word", "name"), [("automobile", "car"), ("dwelling", "home"), ("anuran", "frog")])
def test_the_everyday_word_stands_for_its_synonyms(word, name):
    assert one(word).name == name


@pytest.mark.parametrize(("word", "everyday"), [("dog", True), ("canine", False), ("car", True)])
def test_everyday_words(word, everyday):
    noun = next(NOUNS.by_id[noun] for noun in NOUNS.by_word[word] if NOUNS.by_id[noun].name == word)
    assert noun.is_everyday is everyday


@pytest.mark.parametrize("word", ["entity", "artifact", "device", "placental", "container"])
def test_words_that_say_nothing_of_a_photo_are_vague(word):
    assert one(word).is_vague


@pytest.mark.parametrize("word", ["animal", "plant", "food", "vehicle", "bird", "furniture"])
def test_words_for_coarse_groups_are_not_vague(word):
    assert not one(word).is_vague


def test_every_line_of_the_table_has_its_fields():
    rows = [line.split("\t") for line in lzma.decompress(TABLE.read_bytes()).decode().splitlines()]
    assert {len(row) for row in rows} == {4, 5}
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_the_words_of_a_text_tower_are_told_apart():
    ids = default_words(NOUNS)
    assert set(NOUNS.classes.values()) < set(ids)
    phrases = _phrases(NOUNS, ids)
    assert len(phrases) == len(ids)
    assert len(set(phrases)) > 0.99 * len(phrases)
    cranes = [phrase for phrase in phrases if phrase.startswith("crane")]
    assert cranes == ["crane, a kind of wading bird", "crane, a kind of lifting device"]
