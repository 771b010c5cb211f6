import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headclust.features import rows as rows_module
from headclust.features import source
from headclust.features.rows import distinct_rows, power_of_two, unit_length


def gaussian(n=30, dim=7):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(0))


def test_ordinary_rows_are_normalized_to_the_same_bits():
    rows = gaussian(200, 33) * torch.logspace(-9, 15, 200)[:, None]
    assert torch.equal(unit_length(rows), torch.nn.functional.normalize(rows, dim=-1))


@pytest.mark.parametrize("exponent", [-148, -130, -100, -60, 60, 100, 124])
def test_unit_length_at_any_finite_scale(exponent):
    rows = torch.ldexp(torch.tensor([[3.0, 4.0], [0.0, 0.0], [-1.0, 0.0]]), torch.tensor(exponent))
    assert unit_length(rows)[1:].tolist() == [[0, 0], [-1, 0]]
    # A subnormal number holds few digits.
    np.testing.assert_allclose(unit_length(rows)[0], [0.6, 0.8], atol=1e-6 if exponent > -140 else 0.1)


def test_a_row_of_one_huge_column_is_not_lost():
    assert unit_length(torch.tensor([[1e38, 1.0], [1.0, 1e-45]])).tolist() == [[1, pytest.approx(0)], [1, 0]]


def test_powers_of_two():
    largest = torch.tensor([0.0, 0.75, 1.0, 5.0, 3e38, 1e-45])
    scaled = largest * power_of_two(largest)
    assert scaled[:4].tolist() == [0, 0.75, 0.5, 0.625]
    assert torch.isfinite(scaled).all()


@given(st.lists(st.tuples(st.sampled_from([0.0, -0.0, 1.0, 2.0]), st.sampled_from([0.0, 3e38, 1e-45])), min_size=1))
def test_groups_of_equal_rows_by_hand(values):
    first, group = distinct_rows(torch.tensor(values))
    names = [(a + 0.0, b) for a, b in values]
    expected = list(dict.fromkeys(names))
    assert [names[row] for row in first] == expected
    assert [expected[number] for number in group] == names
    assert first.tolist() == sorted(first.tolist())


def test_equal_in_one_space_is_not_equal():
    same, other = torch.ones(4, 2), torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    first, group = distinct_rows(same, other)
    assert (first.tolist(), group.tolist()) == ([0, 1], [0, 1, 0, 1])


def test_rows_of_one_digest_are_compared(monkeypatch):
    monkeypatch.setattr(rows_module, "digests", lambda *spaces: np.zeros(len(spaces[0]), dtype=np.int64))
    rows = gaussian(5)[[0, 3, 0, 4, 3]]
    first, group = distinct_rows(rows)
    assert (first.tolist(), group.tolist()) == ([0, 1, 3], [0, 1, 0, 2, 1])


def test_blocks_change_nothing(monkeypatch):
    rows = gaussian(40).repeat(2, 1)
    monkeypatch.setattr(source, "_MOST_ROWS", 7)
    assert distinct_rows(rows)[1].tolist() == [*range(40)] * 2
