from dataclasses import replace

import pytest
from study.plan import plan, shard
from study.presets import DATASETS, STUDIES, Row, Study, find_study

from headclust.errors import SettingError
from headclust.methods import METHODS

from .conftest import TINY

OFFLINE = find_study("offline")


def test_ids_say_who_a_cell_is(cells):
    assert [cell.id for cell in cells[:3]] == [
        "efficientnet_lite0/digits/probes",
        "efficientnet_lite0/digits/kmeans/ours/s0/n_heads=2",
        "efficientnet_lite0/digits/kmeans/ours/s1/n_heads=2",
    ]


def test_the_offline_plan_has_the_cells_it_says():
    cells = plan(OFFLINE)
    # Ten methods, of which one has no authors' code.
    assert len(cells) == 5 * (1 + 3 * 11 + 9) + 2 * 5 * (1 + 11)
    assert len({cell.id for cell in cells}) == len(cells)
    trained = [cell for cell in cells if cell.method == "temi" and cell.preset == "authors"]
    assert [cell.settings for cell in trained] == [{"max_seconds": 45.0}] * 5
    assert {(cell.fit.limit, cell.fit.views, cell.evaluation.limit, cell.evaluation.views) for cell in cells} == {
        (20_000, 2, 0, 0),
        (0, 2, 0, 0),
    }
    assert {cell.fit.image_size for cell in cells} == {128}


def test_the_paper_s_plan_is_its_protocol():
    cells = plan(find_study("paper"))
    assert len(cells) == 22 * 8 * 4
    temi = next(cell for cell in cells if cell.method == "temi")
    assert temi.settings == {"n_heads": 50, "neighbor_list": "temi-paper", "checkpoint_every": 20}
    assert {(cell.method, cell.preset) for cell in cells if cell.kind == "fit"} == {
        ("temi", "authors"),
        ("kmeans", "authors"),
        ("kmeans", "ours"),
    }
    assert {cell.fit.preprocessing for cell in cells} == {"temi-paper"}
    splits = {cell.fit.dataset.name: cell.evaluation.split for cell in cells}
    assert splits["imagenet-100"] == splits["imagenet"] == "val"
    assert splits["cifar20"] == splits["stl10"] == "test"


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_names_what_there_is(name):
    study = find_study(name)
    assert set(study.datasets) <= set(DATASETS)
    assert all(row.method in METHODS for row in study.rows)
    cells = plan(study, ablations=True)
    curves = [cell for cell in cells if cell.curve]
    assert len(curves) == sum(len(values) for values in study.curves.values())
    assert all(cell.settings[cell.curve] in study.curves[cell.curve] for cell in curves)


def test_choosing():
    cells = plan(OFFLINE, backbones=["efficientnet_lite1"], datasets=["digits"], methods=["temi"], seeds=2)
    # Of other backbones than the first the authors' recipes are left out; of the first there, of all that are named.
    assert [cell.id.split("/", 2)[2] for cell in cells] == [
        "probes",
        *("temi/ours/s0", "temi/ours/s1"),
        *("temi/authors/s0/max_seconds=45.0", "temi/authors/s1/max_seconds=45.0"),
    ]
    assert [cell.preset for cell in plan(OFFLINE, methods=["kmeans"], presets=["authors"]) if cell.preset] == [
        "authors"
    ] * 5


def test_a_method_that_a_study_does_not_have_takes_its_presets():
    assert {cell.preset for cell in plan(find_study("paper"), methods=["wmi"]) if cell.method} == {"ours", "authors"}
    assert {cell.preset for cell in plan(find_study("modern"), methods=["wmi"]) if cell.method} == {"ours"}


def test_a_limit_of_time_is_for_rows_that_have_one():
    cells = plan(OFFLINE, methods=["temi"], datasets=["digits"], max_seconds=7.0)
    assert {cell.preset: cell.settings for cell in cells if cell.kind == "fit"} == {
        "ours": {},
        "authors": {"max_seconds": 7.0},
    }
    assert not any(cell.settings for cell in plan(OFFLINE, methods=["temi"], max_seconds=0.0))


def test_every_stage_of_a_recipe_has_the_limit():
    cells = plan(OFFLINE, methods=["scan"], presets=["authors"], datasets=["digits"])
    assert [set(cell.settings) for cell in cells if cell.method] == [{"max_seconds", "self_label.max_seconds"}]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backbones": ["resnet"]}, "unknown model 'resnet'"),
        ({"datasets": ["cifar"]}, "unknown data set 'cifar'"),
        ({"methods": ["k-means"]}, "unknown method 'k-means'"),
        ({"presets": ["mine"]}, "unknown preset of a method 'mine'"),
        ({"methods": ["temi", "temi"]}, "temi is named twice"),
        ({"seeds": 0}, "0 seeds"),
        ({"methods": ["clc"], "presets": ["authors"]}, "nothing is left to fit"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(SettingError, match=words):
        plan(OFFLINE, **options)


def test_unknown_study():
    with pytest.raises(SettingError, match="unknown preset 'papers': did you mean paper"):
        find_study("papers")


@pytest.mark.parametrize("of", [1, 2, 5, 9, 40, 500])
def test_shards_are_disjoint_and_all_of_it(of):
    cells = plan(OFFLINE)
    parts = [shard(cells, number, of) for number in range(1, of + 1)]
    assert sorted(cell.id for part in parts for cell in part) == sorted(cell.id for cell in cells)
    if of <= 9:  # places there are: each is one job's
        owners = [{cell.place for cell in part} for part in parts]
        assert sum(map(len, owners)) == 15


@pytest.mark.parametrize(("number", "of"), [(0, 3), (4, 3), (1, 0)])
def test_shards_there_are_not(number, of):
    with pytest.raises(SettingError, match="shard"):
        shard(plan(TINY), number, of)


def test_ablations_of_the_first_backbone_that_is_chosen():
    two = replace(TINY, backbones=("efficientnet_lite0", "efficientnet_lite1"))
    cells = plan(two, backbones=["efficientnet_lite1"], ablations=True)
    assert [(cell.curve, cell.settings["n_heads"]) for cell in cells if cell.curve] == [("n_heads", 1), ("n_heads", 2)]


def test_settings_that_a_recipe_does_not_have_are_left_out():
    study = Study("s", ("efficientnet_lite0",), ("digits",), (Row("kmeans", "ours", settings={"beta": 0.7}),))
    assert [cell.settings for cell in plan(study)] == [{}, {}]
