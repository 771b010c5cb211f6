import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from study import cells as cells_module
from study.cells import Pair, code_of, identity, key_of, make_fit, make_probes, recipe_of
from study.plan import plan

from headclust import load_features
from headclust.errors import SettingError
from headclust.scoring import metrics

from .conftest import TINY, write_place


@pytest.fixture
def pair(places, cells):
    fit, evaluation = (load_features(places.features(one)) for one in (cells[0].fit, cells[0].evaluation))
    return Pair(fit, evaluation, torch.device("cpu"))


@pytest.fixture
def key(pair):
    return lambda cell, pair=pair: key_of(cell, pair, recipe_of(cell, pair.fit) if cell.kind == "fit" else None)


def test_every_cell_has_a_key_of_its_own(cells, key):
    keys = [key(cell) for cell in cells]
    assert len(set(keys)) == len(keys)
    assert keys == [key(cell) for cell in cells]


def test_what_a_cell_is_called_is_no_part_of_its_key(cells, key):
    fit = cells[1]
    assert key(replace(fit, study="other", curve="n_heads")) == key(fit)
    # A change to what the recipe says already.
    assert key(replace(cells[-1], settings={**cells[-1].settings, "beta": 0.6})) == key(cells[-1])


CHANGES = {"beta": 0.7, "lr": 1e-3, "n_neighbors": 7, "transform": "l2", "max_seconds": 9.0, "batch_size": 31}


@pytest.fixture(scope="module")
def temi_key(tmp_path_factory):
    """temi_key(settings, seed) of the tiny study's fit of TEMI."""
    root = tmp_path_factory.mktemp("keys")
    write_place(root)
    temi = plan(TINY)[-1]
    pair = Pair(*(load_features(root / one.file) for one in (temi.fit, temi.evaluation)), torch.device("cpu"))

    def key(settings, seed):
        cell = replace(temi, settings={**temi.settings, **settings}, seed=seed)
        return key_of(cell, pair, recipe_of(cell, pair.fit))

    return key


@settings(max_examples=12)
@given(chosen=st.sets(st.sampled_from(sorted(CHANGES)), min_size=1), seed=st.integers(0, 3))
def test_every_setting_and_the_seed_change_the_key(temi_key, chosen, seed):
    changes = {name: CHANGES[name] for name in chosen}
    keys = [temi_key({}, 0), temi_key(changes, seed), temi_key(changes, seed + 1)]
    keys += [temi_key({name: changes[name] for name in chosen - {left_out}}, seed) for left_out in chosen]
    # Without its only change, and with the seed of the first, a cell is the first again.
    same = len(chosen) == 1 and seed == 0
    assert len(set(keys)) == len(keys) - same
    assert temi_key(changes, seed) == keys[1]


@pytest.mark.parametrize("which", ["fit", "evaluation"])
def test_features_change_the_key(tmp_path, pair, cells, key, which):
    write_place(tmp_path / "other", seed=1)
    other = load_features(tmp_path / "other" / getattr(cells[1], which).file)
    for cell in (cells[0], cells[1]):
        assert key(cell, replace(pair, **{which: other})) != key(cell)


def test_versions_code_and_threads_change_the_key(cells, key, monkeypatch):
    before = key(cells[1])
    for name, value in (
        ("versions", lambda names: {"torch": "1.0"}),
        ("code_digest", lambda modules: "0" * 64),
        ("description", lambda device: {"device": "cpu", "threads": 99}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(cells_module, name, value)
            assert key(cells[1]) != before
    assert key(cells[1]) == before


def test_python_s_and_our_own_version_are_no_part_of_the_key(cells, key, monkeypatch):
    before, real = key(cells[1]), cells_module.versions
    monkeypatch.setattr(cells_module, "versions", lambda names: {**real(names), "python": "4", "headclust": "9"})
    assert key(cells[1]) == before


def test_code_is_the_method_s_own(cells):
    probes, kmeans, _, temi = cells
    assert len({code_of(cell) for cell in (probes, kmeans, temi)}) == 3


def test_a_line_holds_what_its_scores_are_made_of(cells, pair, key):
    fit = cells[1]
    line, content = make_fit(fit, pair, key(fit), recipe_of(fit, pair.fit))
    arrays = np.load(io.BytesIO(content), allow_pickle=False)
    assert {name: arrays[name].shape for name in arrays.files} == {
        "fit": (80,),
        "eval": (40,),
        "fit_labels": (80,),
        "eval_labels": (40,),
        "class_names": (0,),
    }
    for part, scores in (("eval", line["scores"]), ("fit", line["fit_scores"])):
        labels = arrays[f"{part}_labels"].astype(np.int64)
        for name, score in metrics.score(arrays[part].astype(np.int64), labels).items():
            assert scores[name] == score
    assert line["id"] == fit.id
    assert (line["status"], line["error"], line["key"], line["role"]) == ("done", None, key(fit), "main")
    assert (line["fit_samples"], line["eval_samples"], line["n_classes"], line["n_clusters"]) == (80, 40, 3, 3)
    assert line["assignments"] == f"cells/{key(fit)}.npz"
    assert line["features"]["fit"] == {"path": fit.fit.file, "sha256": pair.fit.sha256}
    assert (line["oracle"], line["steps"], line["seconds"]["neighbors"]) == (None, None, None)
    assert line["seconds"]["fit"] >= 0
    assert line["head_choice"] == "lowest inertia"
    assert line["load"] >= 0
    assert line["imagenet_labels"] is True


def test_the_neighbor_search_is_timed_once(cells, pair, key):
    temi = cells[-1]
    first, _ = make_fit(temi, pair, key(temi), recipe_of(temi, pair.fit))
    second, _ = make_fit(temi, pair, key(temi), recipe_of(temi, pair.fit))
    assert first["seconds"]["neighbors"] > 0
    assert second["seconds"]["neighbors"] is None  # kept beside the features
    assert first["steps"] == {"reached": 10, "planned": 10, "capped": False}
    assert first["head_choice"] == "lowest training loss"


def test_a_fit_that_is_stopped_says_so(cells, pair, key):
    temi = replace(cells[-1], settings={**cells[-1].settings, "length": 1000, "max_seconds": 0.01})
    line, _ = make_fit(temi, pair, key(temi), recipe_of(temi, pair.fit))
    assert line["steps"]["capped"]
    assert 1 <= line["steps"]["reached"] < line["steps"]["planned"] == 1000


def test_the_oracle_is_the_best_checkpoint_of_each_metric(cells, pair, key, monkeypatch):
    temi = replace(cells[-1], settings={**cells[-1].settings, "length": 20, "checkpoint_every": 1})
    seen = []
    real = metrics.score
    monkeypatch.setattr(metrics, "score", lambda a, labels: seen.append(real(a, labels)) or seen[-1])
    line, _ = make_fit(temi, pair, key(temi), recipe_of(temi, pair.fit))
    checkpoints, heads = seen[2:12], seen[12:]  # the first two are the outcome's own
    assert len(heads) == temi.settings["n_heads"] > 1
    assert set(line["oracle"]) == set(metrics.METRICS)
    for name, best in line["oracle"].items():
        values = [scores[name] for scores in checkpoints]
        assert best == {"score": max(values), "step": 2 * (1 + values.index(max(values)))}
    assert len(heads) == 2
    for name, best in line["oracle_head"].items():
        values = [scores[name] for scores in heads]
        assert best == {"score": max(values), "head": values.index(max(values))}
    for name, best in line["oracle_head"].items():
        values = [scores[name] for scores in heads]
        assert best == {"score": max(values), "head": values.index(max(values))}
    # Labels choose the oracle's checkpoint, and nothing else.
    without, _ = make_fit(cells[-1], pair, key(cells[-1]), recipe_of(cells[-1], pair.fit))
    assert without["oracle"] is None


def test_probes(cells, pair, key):
    line = make_probes(cells[0], pair, key(cells[0]))
    assert set(line["scores"]) == {"knn_accuracy", "linear_accuracy", "neighbor_purity"}
    assert line["kind"] == "probes"
    assert line["id"] == "efficientnet_lite0/digits/probes"


def test_ablations_are_marked(cells):
    point = plan(TINY, ablations=True)[-1]
    line = identity(point)
    assert (line["role"], line["curve"], line["value"]) == ("ablation", "n_heads", 2)


def test_too_many_neighbors_asked_for_are_refused(cells, pair):
    with pytest.raises(SettingError, match="n_neighbors is 80, of 80 samples"):
        recipe_of(replace(cells[-1], settings={"n_neighbors": 80}), pair.fit)


def test_of_several_lists_those_that_are_missing_are_timed(pair, monkeypatch):
    searched, kept = [], {2}
    values = {"n_neighbors": 2, "second.n_neighbors": 5, "third.n_neighbors": 9}
    monkeypatch.setattr(cells_module, "is_cached", lambda features, k: k in kept)
    monkeypatch.setattr(cells_module, "cached_neighbors", lambda features, k, device: searched.append(k))
    assert cells_module._search(pair, SimpleNamespace(values=values)) >= 0
    assert searched == [9, 5]
    kept |= {5, 9}
    assert cells_module._search(pair, SimpleNamespace(values=values)) is None
