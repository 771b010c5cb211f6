import os
from itertools import islice
from pathlib import Path

import pytest

from headclust.filenames import file_name, folder_name, numbered, shorten


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
    ("text", "name"),
    [
        ("कुत्ता", "कुत्ता"),
        ("แมวน้ำ", "แมวน้ำ"),
        ("Mu\u0308nchen", "München"),
        ("שָלוֹם עולם", "שָלוֹם עולם"),
        ("میخ\u200cش", "میخ\u200cش"),  # Persian, where the joiner is part of a word
        ("👨\u200d👩\u200d👧 🇩🇪", "👨\u200d👩\u200d👧 🇩🇪"),
        ("C#/.NET & co", "C#-.NET & co"),
        ('a\\b:c*d?"e<f>g|h', "a-b-c-d-e-f-g-h"),
        ("\u202egpj.exe", "-gpj.exe"),
        ("\u200b\u200d\ufeff", "unnamed"),
        ("???", "unnamed"),
        ("..", "unnamed"),
        (".hidden", "_.hidden"),
        ("-5 °C", "-5 °C"),
        ("wait ...", "wait"),
        ("nul", "_nul"),
        ("Com1.txt", "_Com1.txt"),
        ("console", "console"),
        ("\ud800", "-xed-xa0-x80"),
    ],
)
def test_folders_are_named_in_every_script(text, name):
    assert folder_name(text) == name


@pytest.mark.parametrize(
    "mark", ["e\u0301\u0323", "क्षि", "น้ำ", "👨\u200d👩\u200d👧\u200d👦", "👍🏽", "🇩🇪", "🏴\U000e0067\U000e007f", "é"]
)
def test_a_long_name_is_cut_between_characters(mark):
    size = len(mark.encode())
    for limit in range(1, 4 * size):
        cut = shorten("ab" + 3 * mark, limit)
        assert len(cut.encode()) <= limit
        assert cut in ("a", "ab", "ab" + mark, "ab" + 2 * mark, "ab" + 3 * mark)
        assert limit < 2 + size or len(cut) >= 2 + len(mark)
    assert len(folder_name(200 * mark).encode()) <= 255


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
