import os

import pytest

from headclust.filenames import file_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cifar10-train", "cifar10-train"),
        ("clip_ViT-B/32", "clip_ViT-B-32"),
        ("../../etc/pass wd", "etc-pass-wd"),
        ("日本", "日本"),
        (os.fsdecode(b"caf\xe9"), "caf-xe9"),
        ("\n", "unnamed"),
    ],
)
def test_names_are_safe_for_files(text, name):
    assert file_name(text) == name
