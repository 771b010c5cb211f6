from dataclasses import replace

import pytest
from study import costs
from study.contest import contest_plan
from study.costs import Cost, cell_cost, embedding_cost
from study.plan import Wanted, plan
from study.presets import DATASETS, find_study

from headclust.methods import METHODS, PRESETS

WANTED = Wanted("efficientnet_lite0", DATASETS["cifar10"], "train", limit=20_000, image_size=128, views=2)


def test_costs_add_up():
    assert Cost(1, 2, 3, 4) + Cost(5, 6, 7, 8) == Cost(6, 8, 10, 12)


def test_embedding_is_counted_from_the_model():
    pytest.importorskip("timm")
    cost = embedding_cost(WANTED)
    assert cost.size == 4 * 20_000 * 3 * 1280
    # 407 M multiply-adds at 224 px, as its authors have it, shrink with the area.
    operations, dim = costs._model("efficientnet_lite0", 128)
    assert dim == 1280
    assert operations == pytest.approx(2 * 407e6 * (128 / 224) ** 2, rel=0.1)
    assert cost.cpu == pytest.approx(20_000 * (3 * operations / costs.CPU_SPEED + 32**2 / 25e6 / 2))
    assert embedding_cost(replace(WANTED, views=0)).cpu < cost.cpu / 2


def temi(**settings):
    cell = next(c for c in plan(find_study("offline"), datasets=["cifar10"], methods=["temi"]) if c.preset == "authors")
    return replace(cell, settings=settings)


def test_training_is_counted_on_a_step():
    # As benchmarks/fit_throughput.py counts it: forward, two backward where needed, teacher.
    first, later = 1280 * 512, 512 * 256 + 256 * 10
    step = 2 * 2 * 1024 * 16 * (3 * (first + later) + later)
    steps = 100 * (20_000 // 1024)
    search = 2 * 20_000**2 * 1280 / costs.CPU_SPEED
    wanted = steps * step / costs.CPU_SPEED + search
    assert cell_cost(temi()).cpu == pytest.approx(wanted, rel=0.1)
    assert cell_cost(temi(n_heads=32)).cpu == pytest.approx(2 * wanted, rel=0.1)


def test_a_limit_of_time_is_the_most_it_can_take():
    assert cell_cost(temi(max_seconds=5.0)).cpu < 5 + 10


@pytest.mark.parametrize("method", METHODS)
def test_every_method_s_cost_is_counted(method):
    cells = [c for c in plan(find_study("offline"), methods=[method], datasets=["digits"], seeds=1) if c.method]
    assert {cell.preset for cell in cells} == set(PRESETS[method]) & {"ours", "authors"}
    if method in ("ward", "hdbscan", "gmm", "leiden"):  # no formula for these
        assert {cell_cost(cell) for cell in cells} == {Cost(source="unknown")}
    else:
        assert all(0 < cell_cost(cell).cpu < 10_000 for cell in cells)


def test_the_default_without_its_refinement_takes_less():
    cells = contest_plan(entrants=("default",), backbones=("efficientnet_lite0",), datasets=("cifar10",), seeds=1)
    changes = ({"temi.length": 0}, {"temi.length": 300}, {}, {"n_heads": 32})
    seconds = [cell_cost(replace(cells[0], settings=settings)).cpu for settings in changes]
    assert seconds[0] > 0
    assert seconds == sorted(set(seconds))
