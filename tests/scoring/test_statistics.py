import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headclust.scoring.statistics import Gain, Spread, gain, paired, spread

VALUES = st.lists(st.floats(-1, 1).map(lambda x: round(x, 6)), min_size=2, max_size=12)


@given(VALUES)
def test_spread_is_numpys(values):
    result = spread(values)
    assert result.n == len(values)
    assert result.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert result.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)


@given(VALUES.filter(lambda values: len(set(values)) > 1))
def test_the_interval_is_scipys_and_its_paired_test_agrees(values):
    result = gain(values)
    expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (result.low, result.high) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    p = stats.ttest_1samp(values, 0).pvalue
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (result.low > 0 or result.high < 0)


def test_a_paired_gain_is_the_paired_test_of_scipy():
    ours, base = {0: 0.52, 1: 0.47, 2: 0.55}, {2: 0.43, 1: 0.42, 0: 0.425, 7: 0.9}
    result = gain(paired(ours, base))
    expected = stats.ttest_rel([0.52, 0.47, 0.55], [0.425, 0.42, 0.43]).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))
    assert result.mean == pytest.approx((0.095 + 0.05 + 0.12) / 3)


def test_one_value_has_no_spread_and_none_has_no_mean():
    assert spread([0.5]) == Spread(0.5, None, 1)
    assert gain([0.1]) == Gain(0.1, None, None, 1)
    assert spread([]) is gain([]) is None
    assert paired({0: 1.0}, {1: 1.0}) == []


def test_equal_values_have_an_interval_of_no_width():
    assert gain([0.25, 0.25]) == Gain(0.25, 0.25, 0.25, 2)


def test_two_seeds_give_a_wide_interval():
    result = gain([0.0, 0.1])
    assert result.high - result.low == pytest.approx(2 * 12.7062 * 0.05, rel=1e-4)
    assert math.isfinite(result.low)
