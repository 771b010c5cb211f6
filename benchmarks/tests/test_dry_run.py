from dataclasses import replace

import pytest
from study import costs
from study.costs import Cost
from study.dry_run import expect, expectation
from study.plan import plan
from study.presets import Row
from study.results import append, read_lines
from study.runner import make

from headclust.errors import SettingError

from .conftest import QUICK, TINY


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_plan_before_and_after(cells, places, tmp_path, no_costs):
    before = tree(tmp_path)
    features, fits = expect(cells, places)
    assert tree(tmp_path) == before  # nothing is written
    assert [row.state for row in features] == ["done", "done"]
    assert [row.state for row in fits] == ["to do"] * 4
    assert {(row.amount, row.source) for row in fits} == {(None, "-")}
    make(cells, places)
    _, fits = expect(cells, places)
    assert [row.state for row in fits] == ["done"] * 4
    assert "TOTAL: 0 of 4 cells to do, 0 of them lack data or weights." in expectation(cells, places, None)


def measured(places, cell, **seconds):
    """A line of a cell that took so long, whatever determines it."""
    kind = {"kind": cell.kind, "dataset": cell.fit.dataset.name, "fit_samples": 80, "status": "done"}
    kind |= {"method": cell.method, "preset": cell.preset, "settings": dict(cell.settings)} if cell.method else {}
    n = len(read_lines(places.results))
    append(
        places.results,
        {"format": "headclust-results", "version": 1, "id": str(n), "key": str(n), **kind, "seconds": seconds},
    )


@pytest.fixture
def no_costs(monkeypatch, tmp_path):
    """No unit costs were measured on this machine."""
    monkeypatch.setattr(costs, "FILE", tmp_path / "none.json")
    costs.read_costs.cache_clear()
    yield
    costs.read_costs.cache_clear()


def test_seconds_are_the_median_of_the_same_cells(cells, places, no_costs):
    probes, first, *_ = cells
    for seconds in (1.0, 2.0, 30.0):
        measured(places, first, neighbors=None, fit=seconds)
    measured(places, replace(first, settings={}), neighbors=70.0, fit=30.0)  # another recipe
    measured(places, probes, probes=7.0)
    _, fits = expect(cells, places)
    assert [(row.amount, row.source) for row in fits] == [(7.0, "same"), (2.0, "same"), (2.0, "same"), (None, "-")]
    elsewhere = plan(replace(TINY, datasets=("cifar10",)))
    assert {row.source for row in expect(elsewhere, places)[1]} == {"-"}
    shown = expectation(cells, places, None)
    assert "TOTAL: 4 of 4 cells to do, 0 of them lack data or weights.\nTime: 0 minutes for 3 of them" in shown
    assert "unknown for 1, and for embedding 0 feature files" in shown


def test_other_cells_have_the_seconds_of_the_model(cells, places, monkeypatch):
    sizes = []

    def model(kind, recipe, of):
        sizes.append((kind, recipe and recipe.n_clusters, *of))
        return Cost({"read": 2.0, "restart": 3.0}, is_extrapolated=kind == "probes")

    monkeypatch.setattr("study.dry_run.expected", model)
    measured(places, cells[1], fit=1.0)
    _, fits = expect(cells, places)
    same, model_ = (1.0, "same"), (5.0, "model")
    assert [(row.amount, row.source) for row in fits] == [(5.0, "extrapolated"), same, same, model_]
    # Of the files, with as many clusters as the data set has classes.
    assert sizes == [("probes", None, 80, 12, 0, 40, 10), ("fit", 10, 80, 12, 0, 40, 10)]
    sizes.clear()
    expect(plan(replace(TINY, datasets=("imagenet",), views=2)), places)
    assert sizes[-1] == ("fit", 1000, 1_281_167, 1280, 2, 50_000, 1000)


def test_times_of_real_fits_are_taken(cells, places, no_costs):
    make(cells[:2], places)
    _, fits = expect(cells, places)
    assert [row.source for row in fits] == ["same", "same", "same", "-"]
    (line,) = [line for line in read_lines(places.results) if line["kind"] == "fit"]
    assert fits[2].amount == line["seconds"]["fit"]


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
    assert features[0].amount == 4 * 50_000 * 1280
    assert fits[0].needs.startswith("features to be made (data: NOT")
    shown = expectation(cells, places, None)
    assert "TOTAL: 7 of 7 cells to do, 7 of them lack data or weights." in shown
    assert "Disk: 0.4 GB of features; unknown for 0 files." in shown


def test_views_take_space_and_a_width_that_no_catalog_has_is_unknown(places):
    study = replace(
        TINY, backbones=("efficientnet_lite0", "timm:resnet18"), datasets=("cifar10",), views=2, limit=20_000
    )
    features, _ = expect(plan(study), places)
    assert [row.amount for row in features] == [4 * 20_000 * 3 * 1280, 4 * 10_000 * 1280, None, None]
    shown = expectation(plan(study), places, None)
    assert "0.307" in shown
    assert "; unknown for 2 files." in shown


def test_a_file_made_otherwise_is_told(cells, places):
    features, _ = expect(plan(replace(TINY, views=2)), places)
    assert "its number of views is 0, this table needs 2" in features[0].state
    features, _ = expect(plan(replace(TINY, image_size=128)), places)
    assert features[0].state == "done"  # written by another program, it does not say
    other = replace(cells[0], fit=replace(cells[0].fit, backbone="efficientnet_lite1"))
    path = places.features(other.fit)
    path.write_bytes(places.features(cells[0].fit).read_bytes())
    features, fits = expect([other], places)
    assert "its backbone is efficientnet_lite0" in features[0].state
    assert fits[0].state == features[0].state  # the cells of a file that cannot be used say why
    assert not fits[0].is_left


def test_a_device_that_is_not_there_is_told_first(places):
    with pytest.raises(SettingError, match="unknown device 'tpu'"):
        expect(plan(replace(TINY, datasets=("cifar10",))), places, device="tpu")


def test_a_fit_whose_assignments_are_gone_is_to_do_again(cells, places):
    make(cells[:2], places)
    next((places.root / "cells").glob("*.npz")).unlink()
    _, fits = expect(cells[:2], places)
    assert [row.state for row in fits] == ["done", "to do again"]


def test_a_failed_cell_says_why(places):
    rows = (Row("temi", "ours", settings={**QUICK, "lr": 1e30}),)
    cells = plan(replace(TINY, rows=rows))[1:]
    make(cells, places)
    _, (fit,) = expect(cells, places)
    assert fit.state.startswith("failed: ")
    assert not fit.is_left
