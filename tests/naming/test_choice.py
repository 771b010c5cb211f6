"""The choice of names on made-up shares: kinds of things, one name each, none where none fits, names of unions."""

import numpy as np
import pytest

from headclust.naming.choice import Chooser, contrast
from headclust.naming.classifier import LEAST_SCORE
from headclust.naming.evidence import gathered, noun_evidence, probabilities
from headclust.naming.nouns import parse_nouns

# entity > animal > (dog > five breeds, cat > two breeds, horse > sorrel), entity > vehicle > (car, truck)
TABLE = """\
n1\t\tentity\t\t-
n2\t\tanimal:5\tn1
n3\t\tdog:9\tn2
n10\t0\tbeagle\tn3
n11\t1\tpug\tn3
n12\t2\tcollie\tn3
n13\t3\tboxer\tn3
n14\t4\tcorgi\tn3
n4\t\tcat:9\tn2
n15\t5\ttabby\tn4
n16\t6\tmanx\tn4
n6\t\thorse:3\tn2
n17\t7\tsorrel\tn6
n5\t\tvehicle:4\tn1
n18\t8\tcar:4\tn5
n19\t9\ttruck:4\tn5
"""
NOUNS = parse_nouns(TABLE)
CLASSES = [NOUNS.classes[number] for number in range(10)]
DOG, CAT, HORSE, CAR, TRUCK = [0, 1, 2, 3, 4], [5, 6], [7], [8], [9]


def evidence(*groups, shares=None):
    """Shares of nouns for groups of which each, or a share of it, shows some classes equally often."""
    given = np.zeros((len(groups), 10))
    for row, members in enumerate(groups):
        given[row, members] = (1 if shares is None else shares[row]) / len(members)
    return noun_evidence("test", NOUNS, CLASSES, given, LEAST_SCORE)


def chooser(*groups, sizes=None, taken=(), **more):
    return Chooser(evidence(*groups, **more), np.array(sizes or [10] * len(groups)), taken)


def texts(names):
    return [name and name.name for name in names]


def test_a_group_of_five_breeds_is_dog():
    assert texts(chooser(DOG, CAT, CAR, TRUCK).name_groups()) == ["dog", "cat", "car", "truck"]


def test_a_group_of_one_breed_among_dogs_is_the_breed():
    assert texts(chooser([0], [1], [2], CAR).name_groups()) == ["beagle", "pug", "collie", "car"]


def test_a_broad_noun_of_which_the_classifier_has_one_kind_is_that_noun():
    assert texts(chooser(HORSE, DOG, CAR).name_groups()) == ["horse", "dog", "car"]


def test_a_kind_that_is_no_everyday_word_is_preferred_to_broader_nouns_with_further_kinds():
    assert texts(chooser([0], CAR, TRUCK).name_groups()) == ["beagle", "car", "truck"]


def test_a_name_that_covers_little_more_than_half_of_a_group_is_not_sure():
    # 0.55 log(0.55 / 0.02) + 0.45 log(0.45 / 0.98) = 1.47 nats, less than 1.75; of 0.65 it is 1.90
    assert texts(chooser(CAR, HORSE, shares=(0.55, 0.65)).name_groups()) == [None, "horse"]


def test_a_name_that_many_other_groups_have_too_is_not_sure():
    # "animal" covers all of the last group, and two of the other four: log(1 / 0.5) = 0.69 nats
    assert texts(chooser(DOG, CAT, CAR, TRUCK, [0, 5, 7]).name_groups())[-1] is None


def test_no_name_is_given_twice():
    names = texts(chooser(DOG, DOG, CAR).name_groups())
    assert sorted(name for name in names if name) == sorted({name for name in names if name})
    assert "car" in names


def test_a_group_of_everything_has_no_name():
    assert texts(chooser(list(range(10)), DOG, CAR).name_groups())[0] is None


def test_what_all_groups_show_names_none():
    assert texts(chooser(DOG, DOG, DOG).name_groups()) == [None, None, None]


def test_a_name_that_a_person_gave_is_not_given_again():
    names = chooser(DOG, CAT, CAR, taken=["Dog"]).name_groups()
    assert names[0].name != "dog"
    assert texts(names)[1:] == ["cat", "car"]


def test_a_vague_noun_is_never_a_name():
    assert "entity" not in evidence(DOG, CAT).texts


def test_alternatives_are_other_words_that_fit():
    name = chooser([0, 1, 2, 5], CAR).name_groups()[0]
    assert (name.name, name.alternatives) == ("animal", ("dog",))
    assert name.score == pytest.approx(1)


def test_the_lowest_kind_that_covers_is_the_name():
    assert texts(chooser(DOG, CAR).name_groups()) == ["dog", "car"]  # not "animal", though it tells them apart as well


def test_unions_are_named_after_all_their_parts():
    made = chooser(DOG, CAT, HORSE, CAR, TRUCK)
    groups = made.name_groups()
    joins = made.name_joins(groups, [0, 1, 2, 3, 4], [(3, 4), (0, 1), (0, 2), (0, 3)])
    # Both are vehicles; dogs and cats are animals, but so are the horses until they join; all together are nothing.
    assert texts(joins) == ["vehicle", None, "animal", None]


def test_a_union_of_unlike_things_has_no_name():
    made = chooser(DOG, CAR, CAT, TRUCK, sizes=[100, 1, 10, 10])
    assert texts(made.name_joins(made.name_groups(), [0, 1, 2, 3], [(0, 1)])) == [None]


def test_no_two_groups_of_a_level_have_one_name():
    made = chooser(DOG, CAT, HORSE, [0, 5], CAR)
    names = made.name_groups()
    ids = [7, 3, 9, 4, 1]
    current = dict(zip(ids, texts(names), strict=True))
    joins = [(7, 3), (9, 4), (7, 9), (7, 1)]
    for (kept, joined), name in zip(joins, made.name_joins(names, ids, joins), strict=True):
        del current[joined]
        current[kept] = name.name
        given = [text for text in current.values() if text]
        assert len(given) == len(set(given))


def test_a_join_with_a_group_without_images_changes_no_name():
    made = chooser(DOG, CAT, CAR)
    names = made.name_groups()
    joins = made.name_joins(names, [0, 2, 5], [(4, 0), (2, 6), (7, 8)])
    assert texts(joins) == ["dog", "cat", None]


def test_contrast_is_zero_where_the_others_have_more():
    assert contrast(np.array([0.2]), np.array([0.5]))[0] == 0
    # p log(p / q) + (1 - p) log((1 - p) / (1 - q)) for p = 0.8, q = 0.1
    assert contrast(np.array([0.8]), np.array([0.1]))[0] == pytest.approx(0.8 * np.log(8) + 0.2 * np.log(2 / 9))


def test_probabilities_are_relative_to_the_other_groups():
    rows = [np.eye(3, dtype=np.float32)[[place] * 4] * 4 for place in range(3)]
    bias = np.array([0, 0, 9], np.float32)  # the classifier gives the last class to every image
    given = probabilities(rows, np.eye(3, dtype=np.float32), bias)
    assert given.argmax(axis=1).tolist() == [0, 1, 2]
    assert given.sum(axis=1) == pytest.approx([1, 1, 1])


def test_probabilities_are_relative_to_the_other_groups_and_not_to_all():
    rows = [np.full((2, 2), [1, 0], np.float32), np.full((2, 2), [0, 1], np.float32)]
    given = probabilities(rows, np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    # The first group's logits less those of the second are 1 and -1.
    expected = (1 / (1 + np.exp(-2)) + 1 / (1 + np.exp(-4))) / 2
    assert given[0] == pytest.approx([expected, 1 - expected])


def test_a_single_group_has_the_plain_probabilities():
    given = probabilities([np.ones((5, 2), np.float32)], np.eye(2, dtype=np.float32), np.array([0, 3], np.float32))
    assert given.argmax() == 1


def test_a_group_without_images_has_none():
    rows = [np.ones((2, 2), np.float32), np.zeros((0, 2), np.float32), np.zeros((2, 2), np.float32)]
    assert probabilities(rows, np.eye(2, dtype=np.float32), np.zeros(2, np.float32))[1].tolist() == [0, 0]


def test_of_nouns_with_one_name_a_group_has_the_share_of_the_larger():
    made = gathered("test", ["crane", "Crane", "heron", "thing"], [0.9, 1, 1, 0], np.array([[0.2, 0.5, 0.1, 1]]), 0.3)
    assert made.texts == ["crane", "heron"]
    assert made.shares.tolist() == [[0.5, 0.1]]
    assert made.factors.tolist() == [1, 1]


def test_evidence_without_words_names_nothing():
    made = Chooser(gathered("test", [], [], np.zeros((2, 0)), 0.3), np.array([3, 3]))
    names = made.name_groups()
    assert texts(names) == [None, None]
    assert texts(made.name_joins(names, [0, 1], [(0, 1)])) == [None]
