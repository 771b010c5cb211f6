"""From scores to a range and its levels."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headclust.granularity import choice


def test_the_grid_ends_at_an_eighth_of_the_samples_or_at_300():
    assert choice.grid(10) == [2, 3]
    assert choice.grid(64)[-1] == 8
    assert choice.grid(800)[-1] == 100
    assert choice.grid(1_000_000)[-1] == 300
    counts = choice.grid(5_000)
    assert counts == sorted(set(counts))
    assert all(high <= max(low + 1, 1.25 * low) for low, high in itertools.pairwise(counts))


def test_the_score_is_a_weighted_geometric_mean():
    curves = choice.curves({2: (0.4, 0.9, 0.1), 2_000: (0.5, 0.5, 0.2)})  # so far apart that smoothing does nothing
    assert curves.score == pytest.approx([(0.4 * 0.9**2 * 0.1) ** 0.25, (0.5 * 0.5**2 * 0.2) ** 0.25])
    assert choice.curves({2: (0.4, 0.9, -0.1), 2_000: (0.5, 0.5, 0.2)}).score[0] == pytest.approx(0)


def test_smoothing_keeps_a_constant():
    assert choice.smoothed(np.full(9, 3.0), range(2, 11)) == pytest.approx([3] * 9)


def peak(at, counts=None):
    """Scores with one peak."""
    counts = counts or choice.grid(2_400)
    return choice.curves({count: (0.5, np.exp(-(np.log(count / at) ** 2)), 0.5) for count in counts})


@pytest.mark.parametrize("at", [2, 7, 30, 60])
@pytest.mark.parametrize("at_least", [8, 60])
def test_numbers_beyond_four_times_the_best_change_no_range(at, at_least):
    scores = {count: (0.5, np.exp(-(np.log(count / at) ** 2)), 0.5) for count in choice.grid(2_400)}
    first = next(
        n for n in scores if choice.is_enough({count: scores[count] for count in scores if count <= n}, at_least)
    )
    assert max(at_least, 4 * at / 1.2) <= first <= max(at_least * 1.2, 4 * at * 1.5)
    some = choice.curves({count: scores[count] for count in scores if count <= first})
    assert choice.best_range(some) == choice.best_range(choice.curves(scores))


@pytest.mark.parametrize("at", [2, 7, 30, 100, 300])
def test_the_range_holds_the_peak_and_is_at_most_threefold(at):
    low, best, high = choice.best_range(peak(at))
    assert low <= best <= high <= 3 * low
    assert low <= at * 1.2
    assert high >= at / 1.2


def test_the_best_is_that_of_the_score_before_smoothing():
    scores = dict.fromkeys(range(4, 11), (0.5, 0.8, 0.5)) | {6: (0.5, 1.0, 0.5)}
    assert choice.best_range(choice.curves(scores))[1] == 6


def test_scores_of_zero_are_never_enough():
    assert not choice.is_enough(dict.fromkeys(choice.grid(2_400), (0.5, 0.5, -0.1)), 8)


def test_equal_scores_give_the_widest_range():
    low, _, high = choice.best_range(choice.curves(dict.fromkeys(range(2, 40), (0.5, 0.5, 0.5))))
    assert high == 3 * low


@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 3), min_size=1, max_size=20))
def test_any_scores_give_a_range_of_the_grid(scores):
    counts = choice.grid(100_000)[: len(scores)]
    curves = choice.curves(dict(zip(counts, scores, strict=True)))
    low, best, high = choice.best_range(curves)
    assert {low, best, high} <= set(counts)
    assert low <= best <= high <= 3 * low
    levels = choice.levels(low, best, high)
    assert levels[0] == low
    assert levels[-1] == high
    assert levels == sorted(set(levels))
    assert len(levels) <= 3


def test_levels_are_the_ends_and_the_best_between():
    assert choice.levels(8, 14, 24) == [8, 14, 24]
    assert choice.levels(8, 24, 24) == [8, 24]
    assert choice.levels(8, 8, 8) == [8]


def test_a_null_that_is_as_good_means_no_structure():
    better = choice.curves({2: (0.5, 0.9, 0.5), 3: (0.5, 0.9, 0.5)})
    equal = choice.curves({2: (0.5, 0.8, 0.5), 3: (0.5, 0.8, 0.5)})
    worse = choice.curves({2: (0.5, 0.2, 0.5), 3: (0.5, 0.2, 0.5)})
    nothing = choice.curves({2: (0, 0, 0), 3: (0, 0, 0)})
    assert choice.exceeds(better, [worse])
    assert not choice.exceeds(better, [worse, equal])
    assert not choice.exceeds(nothing, [nothing])
