import pytest
from study import time_to_quality
from study.results import read_results
from study.sections import percent_text
from study.time_to_quality import CURVES, curve_plan, curve_section, curves_of, draw_curves, measure

from headclust.errors import HeadclustError
from headclust.methods import Recipe

from .conftest import QUICK

POINTS = (("kmeans", "ours", "n_heads", (1, 3)), ("kmeans", "ours", "max_iter", (2, 300)))


@pytest.fixture
def points(monkeypatch, cells):
    """Two curves of k-means."""
    monkeypatch.setattr(time_to_quality, "CURVES", POINTS)
    return curve_plan(cells[0])


def test_every_point_can_be_configured():
    for method, preset, name, values in CURVES:
        recipe = Recipe.of(method, preset)
        for value in values:
            assert recipe.changed({name: value})
        assert list(values) == sorted(values)


def test_points_are_measured_once_and_searches_are_in_their_time(places, points, tmp_path, monkeypatch):
    target = tmp_path / "curve.jsonl"
    lines = measure(points, places, target)
    assert [(line["curve"], line["value"]) for line in lines] == [
        ("n_heads", 1),
        ("n_heads", 3),
        ("max_iter", 2),
        ("max_iter", 300),
    ]
    assert len(read_results(target)) == 4
    monkeypatch.setattr(time_to_quality, "fit_and_score", None)
    assert measure(points, places, target) == lines
    assert not list(places.root.rglob(".headclust"))


def test_one_fit_can_be_a_point_of_two_curves(places, cells, tmp_path, monkeypatch):
    monkeypatch.setattr(
        time_to_quality, "CURVES", (("kmeans", "ours", "n_heads", (10,)), ("kmeans", "ours", "max_iter", (300,)))
    )
    lines = measure(curve_plan(cells[0]), places, tmp_path / "curve.jsonl")
    assert [line["curve"] for line in lines] == ["n_heads", "max_iter"]
    assert lines[0]["key"] == lines[1]["key"]
    assert len(read_results(tmp_path / "curve.jsonl")) == 1


def test_a_point_that_fails_is_told_and_tried_again(places, points, tmp_path, monkeypatch, capsys):
    real, broken = time_to_quality.fit_and_score, [True]

    def fit(spaces, recipe, seed, **more):
        if recipe.values["n_heads"] == 3 and broken:
            broken.clear()
            raise HeadclustError("no such luck.")
        return real(spaces, recipe, seed, **more)

    monkeypatch.setattr(time_to_quality, "fit_and_score", fit)
    lines = measure(points, places, tmp_path / "curve.jsonl")
    assert [line["status"] for line in lines] == ["done", "failed", "done", "done"]
    assert "n_heads=3: failed: no such luck." in capsys.readouterr().err
    assert len(curve_section(lines).rows) == 3
    assert [line["status"] for line in measure(points, places, tmp_path / "curve.jsonl")] == ["done"] * 4


def test_neighbors_are_searched_in_every_fit(places, cells, tmp_path, monkeypatch):
    temi = cells[-1]
    monkeypatch.setattr(time_to_quality, "CURVES", (("temi", "ours", "length", (3, 6)),))
    searches = []
    from headclust.graph import cached

    real = cached._search
    monkeypatch.setattr(cached, "_search", lambda *a, **b: searches.append(1) or real(*a, **b))
    measure(curve_plan(temi), places, tmp_path / "curve.jsonl")
    assert len(searches) == 2
    assert QUICK["length"] == 10  # the place's own settings are left behind


def test_it_is_told_and_drawn(places, points, tmp_path):
    pytest.importorskip("matplotlib")
    lines = measure(points, places, tmp_path / "curve.jsonl")
    curves = curves_of(lines)
    assert list(curves) == ["kmeans, n_heads", "kmeans, max_iter"]
    for these in curves.values():
        seconds = [line["seconds"]["fit"] for line in these]
        assert seconds == sorted(seconds)
    section = curve_section(lines)
    assert {len(row) for row in section.rows} == {len(section.columns)}
    assert {row[3] for row in section.rows} == {percent_text(line["scores"]["accuracy"]) for line in lines}
    one, two = (draw_curves(lines, "digits", tmp_path / f"{name}.svg").read_bytes() for name in "xy")
    assert one == two
    assert b"kmeans, n_heads" in one
