"""Deliberate defects in a package of one function."""

from pathlib import Path

import mutants
import pytest
from mutant_list import MUTANTS, Mutant

from headclust.errors import DataError

CHECKOUT = Path(mutants.__file__).parent.parent
SIGN = Mutant("sign", "sums.py", "a + b", "a - b", ("tests/test_sums.py",))


@pytest.fixture
def copy(tmp_path):
    """A checkout with a package of one function, and a test of it that does not see the sign of b = 0."""
    for name, text in (
        ("pyproject.toml", ""),
        ("headclust/__init__.py", ""),
        ("headclust/sums.py", "def total(a, b):\n    return a + b\n"),
        (
            "tests/test_sums.py",
            "from headclust.sums import total\n\n\ndef test_total():\n    assert total(1, 0) == 1\n",
        ),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_every_defect_fits_the_code():
    assert mutants.misfits(CHECKOUT, MUTANTS) == []
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.before != mutant.after for mutant in MUTANTS)


def test_text_that_is_not_there_once_is_a_misfit(copy):
    twice, elsewhere = SIGN._replace(before="a"), SIGN._replace(tests=("tests/test_other.py",))
    assert mutants.misfits(copy, [SIGN]) == []
    assert mutants.misfits(copy, [twice]) == ["sign: its text is 3 times in headclust/sums.py: expected once."]
    assert mutants.misfits(copy, [elsewhere]) == ["sign: no tests/test_other.py"]


def test_a_defect_lives_until_a_test_notices_it(copy):
    test, source = copy / "tests/test_sums.py", (copy / "headclust/sums.py").read_text()
    mutants.check_tests(copy, SIGN.tests)
    assert mutants.verdict(copy, SIGN, 60) == "lived"
    test.write_text(test.read_text().replace("total(1, 0) == 1", "total(1, 1) == 2"))
    assert mutants.verdict(copy, SIGN, 60) == "killed"
    assert (copy / "headclust/sums.py").read_text() == source


def test_a_defect_without_end_is_timed_out(copy):
    endless = SIGN._replace(before="return a + b", after="__import__('time').sleep(60)")
    assert mutants.verdict(copy, endless, 2) == "timed out"


def test_what_cannot_be_run_is_an_error_and_not_a_defect_that_was_noticed(copy):
    with pytest.raises(DataError, match="sign: its tests do not run"):
        mutants.verdict(copy, SIGN._replace(after="a + ("), 60)
    (copy / "tests/test_sums.py").write_text("def test_total():\n    assert False\n")
    with pytest.raises(DataError, match="fail without a defect"):
        mutants.check_tests(copy, SIGN.tests)
