import copy
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headclust import errors

KINDS = [errors.SettingError, errors.DataError, errors.FileFormatError, errors.ConflictError]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_a_headclust_error_with_exit_code_2(kind):
    assert issubclass(kind, errors.HeadclustError)
    assert kind("text").exit_code == 2
    assert str(kind("text")) == "text"


def test_unknown_offers_the_nearest_names_first():
    found = errors.unknown("setting", "n_neigbors", ["beta", "n_heads", "n_neighbors"])
    assert isinstance(found, errors.SettingError)
    assert str(found).startswith("unknown setting 'n_neigbors': did you mean n_neighbors")
    assert "beta" not in str(found)


def test_unknown_lists_what_there_is_where_nothing_is_near():
    assert str(errors.unknown("method", "zzz", ["temi", "kmeans"])) == "unknown method 'zzz': known: kmeans, temi."


def test_unknown_lists_a_dozen_names_at_most():
    text = str(errors.unknown("model", "zzz", [f"m{i:02}" for i in range(40)]))
    assert "m11 ..." in text
    assert "m12" not in text


def test_unknown_ends_with_the_next_step():
    assert str(errors.unknown("model", "zzz", ["a"], how="Run x.")).endswith(" Run x.")


@given(st.text(), st.lists(st.from_regex(r"\A[a-z_]{1,12}\Z"), min_size=1, max_size=20))
def test_unknown_is_one_line_whatever_was_asked_for(name, known):
    assert len(str(errors.unknown("setting", name, known)).splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (FileNotFoundError(2, "No such file or directory", "/a/b"), "No such file or directory"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 300), "x" * 200),
    ],
)
def test_an_error_in_one_line(error, text):
    assert errors.one_line(error) == text


@pytest.mark.parametrize(("value", "largest"), [(1, 10), (10, 10), (1e300, errors.FINITE), (math.inf, math.inf)])
def test_a_value_in_its_range_passes(value, largest):
    errors.check_ranges(SimpleNamespace(n_heads=value), {"n_heads": (1, largest)})


@pytest.mark.parametrize(
    ("value", "largest", "text"),
    [
        (0, math.inf, "n_heads is 0: expected 1 or more."),
        (math.inf, errors.FINITE, "n_heads is inf: expected 1 or more."),
        (math.nan, math.inf, "n_heads is nan: expected 1 or more."),
        (math.nan, 10, "n_heads is nan: expected 1 to 10."),
        (10.5, 10, "n_heads is 10.5: expected 1 to 10."),
        (-1, 1e6, "n_heads is -1: expected 1 to 1e+06."),
    ],
)
def test_a_value_outside_its_range_is_an_error_with_the_range(value, largest, text):
    with pytest.raises(errors.SettingError) as error:
        errors.check_ranges(SimpleNamespace(n_heads=value), {"n_heads": (1, largest)})
    assert str(error.value) == text


def test_a_value_that_is_no_choice_is_an_error_with_the_choices():
    errors.check_choices(SimpleNamespace(decay="steps"), {"decay": ("cosine", "steps")})
    with pytest.raises(errors.SettingError) as error:
        errors.check_choices(SimpleNamespace(decay="x"), {"decay": ("cosine", "steps")})
    assert str(error.value) == "decay is 'x': expected one of cosine, steps."


@pytest.mark.parametrize(("value", "allowed"), [(0, False), (1e-300, True), (1 - 1e-12, True), (1, False)])
def test_open_ends_of_a_range(value, allowed):
    owner = SimpleNamespace(momentum=value)
    ranges = {"momentum": (errors.ABOVE_ZERO, errors.BELOW_ONE)}
    if allowed:
        errors.check_ranges(owner, ranges)
    else:
        with pytest.raises(errors.SettingError) as error:
            errors.check_ranges(owner, ranges)
        assert str(error.value) == f"momentum is {value}: expected more than 0, and less than 1."
    if value <= 0:
        with pytest.raises(errors.SettingError, match=r"expected more than 0\.$"):
            errors.check_ranges(owner, {"momentum": (errors.ABOVE_ZERO, math.inf)})


def test_a_reason_can_be_copied_with_its_kind():
    copied = copy.deepcopy(errors.Reason("no such file", passing=True))
    assert (copied, copied.passing) == ("no such file", True)
