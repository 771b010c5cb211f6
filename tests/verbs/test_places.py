import os

from headclust.verbs.places import features_path


def test_names_that_are_not_utf8_stay_apart():
    # Once both went to features/all.
    assert features_path(os.fsdecode(b"\xff\xfe"), "all", "m") != features_path(os.fsdecode(b"\xff\xfd"), "all", "m")
