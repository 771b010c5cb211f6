from dataclasses import replace

import pytest
from study.costs import cell_cost
from study.making import make
from study.outlook import expect, total
from study.plan import plan
from study.presets import Row

from headclust.errors import SettingError

from .conftest import QUICK, TINY


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_plan_before_and_after(cells, places, tmp_path):
    before = tree(tmp_path)
    features, fits = expect(cells, places)
    assert tree(tmp_path) == before  # nothing is written
    assert [one.state for one in features] == ["done", "done"]
    assert [one.state for one in fits] == ["to do"] * 4
    assert {one.cost.source for one in fits} == {"counted"}
    make(cells, places)
    features, fits = expect(cells, places)
    assert [one.state for one in fits] == ["done"] * 4
    assert total(fits).cpu == 0


def test_what_was_measured_before_is_believed(cells, places):
    make(cells[:2], places)
    _, fits = expect(cells, places)
    other_seed = fits[2]
    assert (other_seed.state, other_seed.cost.source) == ("to do", "counted")  # of other sizes than these features
    study = replace(TINY, limit=80)
    _, fits = expect(plan(study), places)
    assert [one.cost.source for one in fits] == ["done", "done", "measured", "counted"]


def test_what_changed_and_what_failed(cells, places):
    bad = replace(cells[-1], settings={"length": 3, "batch_size": 32, "n_neighbors": 80})
    make([bad, cells[1]], places)
    lines = places.results.read_text()
    places.results.write_text(lines.replace('"key": "', '"key": "0'))
    _, fits = expect([bad, cells[1]], places)
    assert "n_neighbors is 80" in fits[0].state
    assert fits[1].state == "to do again"


def test_needs_are_told(places):
    cells = plan(replace(TINY, backbones=("efficientnet_lite0", "dino_vits16"), datasets=("cifar10",)))
    features, fits = expect(cells, places)
    assert "data: NOT at hand" in features[0].needs
    assert str(places.data_root / "cifar10") in features[0].needs
    assert features[0].needs.endswith("weights: at hand")
    assert "weights: NOT at hand (Hugging Face hub" in features[2].needs
    assert features[0].cost.size == 4 * 50_000 * 1280
    assert fits[0].needs.startswith("features to be made (data: NOT")


def test_a_file_made_otherwise_is_told(cells, places):
    features, _ = expect(plan(replace(TINY, views=2)), places)
    assert "its number of views is 0, this table wants 2" in features[0].state
    features, _ = expect(plan(replace(TINY, image_size=128)), places)
    assert features[0].state == "done"  # written by another program, it does not say
    wanted = replace(cells[0], fit=replace(cells[0].fit, backbone="efficientnet_lite1"))
    path = places.features(wanted.fit)
    path.write_bytes(places.features(cells[0].fit).read_bytes())
    features, fits = expect([wanted], places)
    assert "its backbone is efficientnet_lite0" in features[0].state
    assert fits[0].state == features[0].state  # the cells of a file that cannot be used say why
    assert fits[0].cost.source == "done"


def test_a_device_that_is_not_there_is_told_first(cells, places):
    with pytest.raises(SettingError, match="unknown device 'tpu'"):
        expect(plan(replace(TINY, datasets=("cifar10",))), places, device="tpu")


def test_what_was_measured_keeps_the_accelerator_s_part_as_counted(places):
    cells = plan(replace(TINY, limit=80, rows=(Row("temi", "ours", settings=QUICK, seeds=2), Row("kmeans", "ours"))))
    make([cells[1]], places)
    _, (probes, _, other, kmeans) = expect(cells, places)
    counted = cell_cost(cells[2])
    assert other.cost.source == "measured"
    assert other.cost.gpu == counted.gpu > 0
    assert other.cost.beside == 0
    assert (kmeans.cost.gpu, kmeans.cost.beside) == (0, kmeans.cost.cpu)  # k-means and the probes stay on the CPU
    assert (probes.cost.gpu, probes.cost.beside) == (0, probes.cost.cpu)
    assert total([other, kmeans, probes]).beside == kmeans.cost.cpu + probes.cost.cpu


def test_a_fit_whose_assignments_are_gone_is_to_do_again(cells, places):
    make(cells[:2], places)
    next((places.root / "cells").glob("*.npz")).unlink()
    _, fits = expect(cells[:2], places)
    assert [one.state for one in fits] == ["done", "to do again"]
