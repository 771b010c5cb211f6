import os
from itertools import islice
from pathlib import Path

import pytest

from headclust.filenames import file_name, numbered


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


@pytest.mark.parametrize(
    ("path", "suffix", "paths"),
    [
        ("a/run", "", ["a/run", "a/run-2", "a/run-3"]),
        ("a/run.v1", "", ["a/run.v1", "a/run.v1-2", "a/run.v1-3"]),
        ("a.b/train.h5", ".h5", ["a.b/train.h5", "a.b/train-2.h5", "a.b/train-3.h5"]),
        ("train-space2.h5", "-space2.h5", ["train-space2.h5", "train-2-space2.h5", "train-3-space2.h5"]),
    ],
)
def test_numbered_paths_have_the_number_before_the_suffix(path, suffix, paths):
    assert list(islice(numbered(Path(path), suffix=suffix), 3)) == [Path(expected) for expected in paths]
