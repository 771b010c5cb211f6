import json

import numpy as np
import pytest

from headclust.embedding import EmbedSettings
from headclust.embedding.settings import describe_unreadable
from headclust.errors import DataError, SettingError

IDS = ["a.png", "b.png", "c\x1b.png"]
UNREADABLE = {0: "torn.", 2: "gone"}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (EmbedSettings(), r"^a\.png: torn: fix or remove it, or leave out unreadable images with --on-error skip\.$"),
        (
            EmbedSettings(on_error="skip", max_bad=1),
            r"^2 of the images cannot be read, --max-bad allows 1 \(the last: c\\x1b\.png: gone\): ",
        ),
    ],
)
def test_more_unreadable_images_than_allowed_are_an_error(settings, line):
    with pytest.raises(DataError, match=line):
        settings.check_unreadable(IDS, UNREADABLE)


@pytest.mark.parametrize("max_bad", [None, 2])
def test_as_many_unreadable_images_as_allowed_pass(max_bad):
    EmbedSettings(on_error="skip", max_bad=max_bad).check_unreadable(IDS, UNREADABLE)


@pytest.mark.parametrize("settings", [EmbedSettings(), EmbedSettings(on_error="skip", max_bad=0)])
def test_no_unreadable_image_passes(settings):
    settings.check_unreadable(IDS, {})


@pytest.mark.parametrize(
    "options",
    [
        {"on_error": "ignore"},
        {"on_error": "fail", "max_bad": 3},
        {"on_error": "skip", "max_bad": -1},
        {"batch_size": 0},
        {"batch_size": 1.5},
        {"n_views": -1},
        {"seed": -1},
        {"seed": 2**63},
        {"timeout": 0.0},
        {"timeout": float("nan")},
        {"timeout": 86_401},
        {"dtype": "float64"},
        {"precision": "half"},
        {"augmentation": "wild"},
    ],
)
def test_settings_out_of_range_are_one_line_when_built(options):
    with pytest.raises(SettingError, match=r"expected|unknown") as raised:
        EmbedSettings(**options)
    assert len(str(raised.value).splitlines()) == 1


def test_numpy_integers_become_plain_ones():
    settings = EmbedSettings(batch_size=np.int64(8), n_views=np.int32(2), seed=np.uint8(3))
    assert json.dumps([settings.batch_size, settings.n_views, settings.seed]) == "[8, 2, 3]"


def test_an_image_in_a_sentence():
    assert describe_unreadable("a\n", "it is torn.") == "a\\n: it is torn"
