"""The script benchmarks/subsets.py, on blobs and on made-up labels."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from study import contest

from headclust.features import load_features

from .conftest import TINY, write_place


@pytest.fixture
def subsets(monkeypatch):
    monkeypatch.setattr(contest, "find_study", lambda name: replace(TINY, name=name))
    import subsets

    yield subsets
    sys.modules.pop("subsets", None)


LABELS = np.repeat(np.arange(10), 2000)


def test_six_are_all_of_six_classes_up_to_a_bound(subsets):
    rows = subsets.drawn(LABELS, "six", np.random.default_rng(0))
    assert len(rows) == subsets.AT_MOST
    assert len(np.unique(LABELS[rows])) == 6
    few = subsets.drawn(LABELS[::100], "six", np.random.default_rng(0))
    assert np.bincount(LABELS[::100][few], minlength=10).tolist().count(20) == 6


@pytest.mark.parametrize(("kind", "ratio"), [("tail", 20), ("steep", 100)])
def test_a_long_tail_falls_geometrically(subsets, kind, ratio):
    rows = subsets.drawn(LABELS, kind, np.random.default_rng(0))
    sizes = np.sort(np.bincount(LABELS[rows]))[::-1]
    assert 3_900 < len(rows) <= subsets.AT_MOST
    np.testing.assert_allclose(sizes[:-1] / sizes[1:], ratio ** (1 / 9), rtol=0.1)
    assert sizes[0] / sizes[-1] == pytest.approx(ratio, rel=0.1)


def test_a_long_one_has_all_of_its_largest_class(subsets):
    sizes = np.bincount(LABELS[subsets.drawn(LABELS, "long", np.random.default_rng(0))])
    assert sizes.max() == 2_000
    assert sizes.max() / sizes.min() == pytest.approx(20, rel=0.05)


def test_small_is_small(subsets):
    assert len(subsets.drawn(LABELS, "small", np.random.default_rng(0))) == 200
    assert len(subsets.drawn(LABELS[:50], "small", np.random.default_rng(0))) == 50


@pytest.mark.parametrize("kind", ["six", "tail", "small", "long", "steep"])
def test_draws_are_rows_in_order_without_repeats_and_differ(subsets, kind):
    first, again, other = (subsets.drawn(LABELS, kind, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (np.diff(first) > 0).all()


def test_rows_are_taken_with_all_that_is_theirs(subsets, tmp_path):
    write_place(tmp_path)
    features = load_features(tmp_path / "features" / "digits-train" / "efficientnet_lite0.h5")
    part = subsets.take(features, "tail", 0)
    where = [features.sample_ids.index(name) for name in part.sample_ids]
    assert 3 < part.n_samples < features.n_samples
    assert np.array_equal(part.all(), features.rows(where))
    assert np.array_equal(part.labels, features.labels[where])
    assert part.sha256 not in (features.sha256, subsets.take(features, "tail", 1).sha256)


def test_one_command_makes_shows_and_goes_on(subsets, tmp_path, monkeypatch, capsys):
    write_place(tmp_path)
    monkeypatch.setattr(subsets, "KINDS", ("small",))
    told = ["subsets.py", "--root", str(tmp_path), "--only", "kmeans,own-kmeans"]
    monkeypatch.setattr(sys, "argv", told)
    assert subsets.main() == 0
    first = capsys.readouterr()
    assert first.err.count("\n") == 4  # two draws of each
    assert "| small    | own-kmeans |" in first.out
    kept = tmp_path / "subsets.jsonl"
    kept.write_text(kept.read_text()[:-20])  # as if killed while it wrote
    assert subsets.main() == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert again.err.count("\n") == 1
    assert subsets.main() == 0
    assert capsys.readouterr() == (first.out, "")


def test_bad_input_gets_one_line(subsets, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["subsets.py", "--root", str(tmp_path), "--only", "nobody"])
    assert subsets.main() == 2
    assert capsys.readouterr().err.startswith("subsets.py: error: ")
