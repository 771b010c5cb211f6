import pytest

from headclust.errors import DataError, SettingError
from headclust.images.decoding import Tolerance, describe_unreadable

IDS = ["a.png", "b.png", "c\x1b.png"]
BAD = {0: "torn.", 2: "gone"}


@pytest.mark.parametrize(
    ("tolerance", "line"),
    [
        (Tolerance(), r"^a\.png: torn: fix or remove it, or leave out what cannot be read with --on-error skip\.$"),
        (
            Tolerance("skip", 1),
            r"^2 of the images cannot be read, --max-bad allows 1 \(the last: c\\x1b\.png: gone\): ",
        ),
    ],
)
def test_more_than_is_put_up_with_is_refused(tolerance, line):
    with pytest.raises(DataError, match=line):
        tolerance.check_bad(IDS, BAD)


@pytest.mark.parametrize("tolerance", [Tolerance("skip"), Tolerance("skip", 2)])
def test_what_is_put_up_with_passes(tolerance):
    tolerance.check()
    tolerance.check_bad(IDS, BAD)


@pytest.mark.parametrize("tolerance", [Tolerance(), Tolerance("skip", 0)])
def test_nothing_bad_passes(tolerance):
    tolerance.check()
    tolerance.check_bad(IDS, {})


@pytest.mark.parametrize("tolerance", [Tolerance("ignore"), Tolerance("fail", 3), Tolerance("skip", -1)])
def test_what_is_not_possible(tolerance):
    with pytest.raises(SettingError, match="expected"):
        tolerance.check()


def test_an_image_in_a_sentence():
    assert describe_unreadable("a\n", "it is torn.") == "a\\n: it is torn"
