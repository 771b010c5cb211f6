import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from study.calibration import bins, calibrate, calibration_section, draw_calibration, expected_error, right

from headclust.errors import FileFormatError
from headclust.scoring import metrics


def drawn(n=1000, seed=0):
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.2, 1, n).astype(np.float32)
    return confidence, generator.uniform(size=n) < confidence**2


def test_bins_are_those_of_scikit_learn():
    confidence, correct = drawn()
    accuracy, mean = calibration_curve(correct, confidence, n_bins=10, strategy="quantile")
    found = bins(confidence, correct)
    assert found["n"].tolist() == [100] * 10
    np.testing.assert_allclose(found["accuracy"], accuracy, atol=0.011)  # edges are shared out otherwise
    np.testing.assert_allclose(found["confidence"], mean, atol=0.003)


def test_few_samples_make_few_bins():
    assert bins(*drawn(4))["n"].tolist() == [1, 1, 1, 1]


def test_the_expected_error():
    exact = bins(np.full(100, 0.75, np.float32), np.arange(100) % 4 > 0, n_bins=1)
    assert expected_error(exact) == pytest.approx(0)
    over = bins(np.full(100, 0.95, np.float32), np.arange(100) % 4 > 0, n_bins=1)
    assert expected_error(over) == pytest.approx(0.2)
    confidence, correct = drawn(100_000)
    # Said c, right c squared of the time.
    assert expected_error(bins(confidence, correct)) == pytest.approx(np.mean(confidence - confidence**2), abs=0.005)


def test_what_is_right_is_what_accuracy_counts():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 300)
    for n_clusters in (3, 4, 7):  # too few, as many, too many
        clusters = np.where(
            generator.uniform(size=300) < 0.7, labels % n_clusters, generator.integers(0, n_clusters, 300)
        )
        assert right(clusters, labels).mean() == pytest.approx(metrics.accuracy(clusters, labels))


def test_a_fit_is_made_once(places, cells, monkeypatch):
    cell = cells[-1]
    found = calibrate(cell, places)
    assert found["n"].sum() == 40
    monkeypatch.setattr("study.calibration.fit_and_score", None)
    assert calibrate(cell, places).equals(found)
    (kept,) = (places.root / "calibration").iterdir()
    kept.write_bytes(b"x")
    with pytest.raises(FileFormatError, match=r"\.npz is damaged: .*: delete it"):
        calibrate(cell, places)


def test_it_is_told_and_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    found = {"a": bins(*drawn()), "b": bins(*drawn(seed=1))}
    section = calibration_section(found)
    assert len(section.rows) == 20
    assert f"a {100 * expected_error(found['a']):.1f}" in section.notes[1]
    one, two = (draw_calibration(found, tmp_path / f"{name}.svg").read_bytes() for name in "xy")
    assert one == two
    assert b"accuracy (%)" in one
