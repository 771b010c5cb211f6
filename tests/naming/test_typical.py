"""Typical images: the surer half, spread evenly, and read from the run's source."""

import numpy as np
import pytest

from headclust.errors import DataError
from headclust.naming.typical import Members, stored_features


def members(n_images, confidence=None):
    sure = np.linspace(1, 0, n_images) if confidence is None else confidence
    return Members([f"{row}.png" for row in range(n_images)], np.zeros(n_images, np.int64), sure, [0])


def test_the_surer_half_is_typical():
    assert members(40).typical(256)[0].tolist() == list(range(20))


def test_of_few_images_at_least_eight_are():
    assert members(10).typical(256)[0].tolist() == list(range(8))
    assert members(3).typical(256)[0].tolist() == [0, 1, 2]


def test_many_are_taken_at_even_distances():
    assert members(400).typical(5)[0].tolist() == [0, 49, 99, 149, 199]


def test_equally_sure_images_keep_their_order():
    assert members(20, np.ones(20)).typical(256)[0].tolist() == list(range(10))


def test_sizes_are_those_of_the_groups():
    made = Members(list("abc"), np.array([4, 2, 4]), np.ones(3), [2, 4])
    assert made.sizes.tolist() == [1, 2]
    assert [rows.tolist() for rows in made.typical(9)] == [[1], [0, 2]]


def test_features_are_those_of_the_images_whatever_else_a_file_holds(write):
    file = write("more.h5", np.eye(5), sample_ids=["b", "x", "a", "y", "c"])
    made = Members(["a", "b", "c"], np.array([1, 1, 3]), np.ones(3), [1, 3])
    first, second = stored_features(file, made)
    assert first.argmax(axis=1).tolist() == [2, 0]
    assert second.argmax(axis=1).tolist() == [4]
    with pytest.raises(DataError, match="lacks the image 'd'"):
        stored_features(file, Members(["d"], np.zeros(1, np.int64), np.ones(1), [0]))
