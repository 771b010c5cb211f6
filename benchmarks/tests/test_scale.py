"""The curves of benchmarks/scale.py: made-up features, points and their results file, exponents, goals, the page."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import scale
from scaling import page, points
from scaling.laws import laws, text_of
from scaling.mixture import Mixture
from scaling.parts import PARTS, purity
from scaling.plan import CURVES, GOAL_LIST, GOALS, chosen
from scaling.points import Point, measure_all, read

from headclust.errors import DataError
from headclust.features import load_features

SCRIPT = Path(scale.__file__)


def line_of(point, **figures):
    usual = {"seconds": 2.0, "cpu": 3.0, "private_mb": 500, "peak_mb": 900, "before_mb": 400}
    return {"point": dataclasses.asdict(point), **usual, **figures}


def test_features_are_written_block_by_block_and_are_always_the_same(tmp_path, monkeypatch):
    whole = Mixture(500, 24, 7).write(tmp_path / "whole")
    assert Mixture(500, 24, 7).write(tmp_path / "whole") == whole  # made once
    again = Mixture(500, 24, 7).write(tmp_path / "again")
    assert again.read_bytes() == whole.read_bytes()
    features = load_features(whole)
    assert np.bincount(features.labels).tolist() == [72, 72, 72, 71, 71, 71, 71]
    monkeypatch.setattr("scaling.mixture._BLOCK", 128)
    blocks = list(Mixture(500, 24, 7, "float16").blocks())
    assert [(len(block), block.dtype) for block in blocks] == [(128, np.float16)] * 3 + [(116, np.float16)]


@pytest.mark.parametrize(("n", "k"), [(20_000, 10), (10_000, 100)])
def test_neighbors_are_as_pure_as_in_features_of_photos(tmp_path, n, k):
    features = load_features(Mixture(n, 96, k).write(tmp_path))
    assert 0.4 < purity(features) < 0.75


def test_points_are_measured_once_and_a_killed_run_resumes(tmp_path, monkeypatch, capsys):
    measured = []
    monkeypatch.setattr(
        points, "measure", lambda point, work: measured.append(point) or {"seconds": 1, "private_mb": 1}
    )
    all_points = [Point("kmeans", n) for n in (1, 2, 3)]
    results = tmp_path / "folder" / "results.jsonl"
    assert measure_all(all_points[:2], results, tmp_path, SCRIPT, apart=False) == 0
    results.write_text(results.read_text() + '\n{"point": {"part": "kme')  # killed while it wrote
    assert measure_all(all_points, results, tmp_path, SCRIPT, apart=False) == 0
    assert measured == all_points
    assert [line["point"]["n"] for line in read(results)] == [1, 2, 3]
    assert "[3/3] kmeans 3 x 256, K 10" in capsys.readouterr().err


def test_a_point_that_fails_is_recorded_and_measured_again_if_asked(tmp_path, monkeypatch):
    point = [Point("kmeans", 10, 4, 200)]  # more clusters than samples
    results = tmp_path / "results.jsonl"
    assert measure_all(point, results, tmp_path, SCRIPT, apart=False) == 1
    assert "n_clusters is 200, of 10 samples" in read(results)[0]["error"]
    monkeypatch.setattr(points, "measure", lambda point, work: {"seconds": 1, "private_mb": 1})
    assert measure_all(point, results, tmp_path, SCRIPT, apart=False) == 1
    assert measure_all(point, results, tmp_path, SCRIPT, apart=False, retry=True) == 0
    assert "error" not in read(results)[0]


def test_a_process_of_its_own_measures_a_point(tmp_path):
    assert measure_all([Point("faiss-restart", 300, 16, 3)], tmp_path / "results.jsonl", tmp_path, SCRIPT) == 0
    (line,) = read(tmp_path / "results.jsonl")
    assert line["inertia"] > 0
    assert line["cpu"] < 3  # without imports
    assert line["before_mb"] <= line["private_mb"] <= line["peak_mb"]


def test_memory_of_mapped_files_is_not_private(tmp_path, monkeypatch):
    def part(point, work):
        file = np.lib.format.open_memmap(work / "a.npy", "w+", shape=(50_000_000,), dtype=np.uint8)
        file[:] = 1
        return lambda: (file.sum(), np.ones(20_000_000 // 8)) and dict

    monkeypatch.setitem(PARTS, "mapped", part)
    figures = points.measure(Point("mapped", 1), tmp_path)
    assert figures["private_mb"] - figures["before_mb"] < 40
    assert figures["peak_mb"] - figures["private_mb"] >= 45


def test_exponents_are_those_of_the_sizes_that_differ():
    lines = [line_of(Point("a", n), cpu=1e-9 * n**2, private_mb=100 + n / 100) for n in (1000, 2000, 4000)]
    lines += [line_of(Point("a", 1000, d), cpu=5e-3 * d) for d in (128, 512)]
    lines += [line_of(Point("a", 1000, 256, k), cpu=1.0) for k in (20, 40)]
    lines[0]["cpu"] = 1e-3
    (samples,) = [law for law in laws(lines) if law.axis == "n"]
    assert samples.exponent == pytest.approx(2)
    assert samples.megabytes == pytest.approx(10)
    assert text_of(samples) == "samples^2.00 from 1,000 to 4,000"
    assert laws(lines[:2]) == []  # two points are no curve


def test_goals_say_if_they_are_met():
    for goal in GOAL_LIST:
        fast = [line_of(point, accuracy=0.9 - 0.1 * number, inertia=1.0) for number, point in enumerate(goal.points)]
        slow = [{**line, "seconds": 1e4, "cpu": 9 - 4 * number} for number, line in enumerate(fast)]
        assert goal.check(*fast)[1], goal.text
        assert not goal.check(*slow)[1], goal.text
    many = next(goal for goal in GOAL_LIST if "points over k-means" in goal.text)
    default, kmeans = (line_of(point, accuracy=0.5) for point in many.points)
    assert many.check({**default, "accuracy": 0.531}, kmeans) == (
        "2 s, 500 MB; 53.1 against 50.0 % of k-means",
        True,
    )
    assert not many.check({**default, "accuracy": 0.529}, kmeans)[1]
    assert not many.check({**default, "accuracy": 0.6, "private_mb": 5000}, kmeans)[1]


def test_the_points_of_a_part_are_chosen_by_its_name():
    assert set(chosen(("kmeans",))) == set(CURVES["kmeans"])
    assert set(chosen((GOALS,))) == {point for goal in GOAL_LIST for point in goal.points}
    assert len(chosen(())) == len(set(chosen(())))


def test_tables_and_pictures_are_written_into_a_page(tmp_path, capsys):
    target = tmp_path / "scale.md"
    target.write_text(f"# Scale\n\n{page.BEGIN}\n{page.END}\n\nThe end.\n")
    curve = [line_of(point, cpu=point.n / 1e3) for part in CURVES for point in CURVES[part][:3]]
    failed = {"point": dataclasses.asdict(Point("kmeans", 7)), "error": "no memory"}
    (tmp_path / "results.jsonl").write_text("\n".join(map(json.dumps, [*curve, failed])))
    arguments = ["--only-render", "--work", str(tmp_path), "--write", str(target)]
    assert scale.main(arguments) == 0
    written = target.read_text()
    assert written.startswith("# Scale\n\n<!--")
    assert written.endswith("The end.\n")
    for text in ("## Goals", "not measured", "samples^1.00 from 5,000 to 80,000", "failed: no memory"):
        assert text in written
    assert scale.main(arguments) == 0
    assert target.read_text() == written  # the same again
    assert (tmp_path / "scale" / "cpu.svg").stat().st_size < 60_000
    target.write_text("no markers")
    with pytest.raises(DataError, match="between which the tables are written"):
        page.insert("", target.read_text())
    assert scale.main(["--only", "kmean"]) == 2
    assert "kmeans" in capsys.readouterr().err


def test_a_sum_of_terms_is_fitted_to_measurements():
    from scaling.units import Sample, _fitted

    samples = [Sample("a", {"x": x, "y": y}, 2e-3 * x + 5e-6 * y) for x, y in ((1, 1e4), (10, 1e3), (5, 1e5))]
    unit = _fitted(samples)
    assert unit["seconds"] == pytest.approx({"x": 2e-3, "y": 5e-6}, rel=1e-3)
    assert unit["largest"] == {"x": 10, "y": 1e5}
    assert unit["error"] == 0
