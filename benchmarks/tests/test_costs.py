"""The model of costs, with made-up unit costs."""

import json

import pytest
from study import costs
from study.costs import Sizes, evaluate, expected

from headclust.methods import Recipe

TERMS = {
    "read": ("values",),
    "pca": ("values", "products"),
    "scatter": ("products",),
    "neighbors exact": ("pairs", "products"),
    "neighbors ivf": ("rows", "products"),
    "eigenvectors": ("vectors", "squares"),
    "restart": ("seeding", "pairs", "products"),
    "assign": ("logits", "products"),
    "score": ("samples", "pairs"),
    "linear probe": ("products",),
    "step pairs/linear": ("steps", "logits", "products"),
    "step temi/mlp": ("steps", "logits", "products"),
}


@pytest.fixture
def units(monkeypatch, tmp_path):
    """Every operation takes a nanosecond, and a tera of each was measured."""
    made = {
        unit: {"seconds": dict.fromkeys(terms, 1e-9), "largest": dict.fromkeys(terms, 1e12)}
        for unit, terms in TERMS.items()
    }
    monkeypatch.setattr(costs, "FILE", tmp_path / "costs.json")
    costs.FILE.write_text(json.dumps({"units": made}))
    costs.read_costs.cache_clear()
    yield made
    costs.read_costs.cache_clear()


def of(method, sizes, **changes):
    return expected("fit", Recipe.of(method).changed({"n_clusters": 10, **changes}), sizes)


def test_a_cost_is_the_sum_of_its_terms(units):
    seconds, is_far = evaluate(units["restart"], costs.restart_terms(40_000, 10, 8))
    # Seeds from 25,000 rows only; distances to 10 centroids, in 8 dimensions.
    assert seconds == pytest.approx(1e-9 * (25_000 * 10 * 8 + 40_000 * 10 + 40_000 * 10 * 8))
    assert not is_far
    assert evaluate(units["read"], {"values": 4.1e12})[1]
    assert not evaluate(units["read"], {"values": 3.9e12})[1]


def test_kmeans_costs_its_restarts(units):
    few, many = (of("kmeans", Sizes(1000, 8, n_scored=100), n_heads=heads) for heads in (1, 10))
    assert many.parts["restart"] == pytest.approx(10 * few.parts["restart"])
    assert many.parts["read"] == few.parts["read"] == pytest.approx(8e-6)
    assert many.seconds == pytest.approx(sum(many.parts.values()))


def test_the_default_is_fitted_on_as_many_samples_as_it_uses(units):
    once, ten_times = (of("default", Sizes(n, 64)) for n in (1_000_000, 10_000_000))
    for unit in ("pca", "eigenvectors", "restart", "neighbors exact", "step pairs/linear"):
        assert once.parts[unit] == ten_times.parts[unit]
    assert ten_times.parts["read"] == pytest.approx(10 * once.parts["read"])
    # 100,000 samples, or with many clusters 100 of each, and eigenvectors by their number.
    assert once.parts["neighbors exact"] == pytest.approx(2 * 1e-9 * (1e10 + 1e10 * 64))
    many = of("default", Sizes(1_000_000, 64), n_clusters=2000)
    assert many.parts["scatter"] == pytest.approx(2 * once.parts["scatter"])
    assert many.parts["eigenvectors"] > 2 * once.parts["eigenvectors"]


def test_views_spare_the_default_a_search(units):
    without, views = (of("default", Sizes(1000, 64, views=n)) for n in (0, 2))
    assert without.parts["neighbors exact"] == pytest.approx(2 * views.parts["neighbors exact"])


def test_steps_have_the_heads_of_the_recipe_and_end_with_their_time(units):
    whole, short = (of("temi", Sizes(5_000, 64), max_seconds=seconds) for seconds in (0, 1e-3))
    stage = Recipe.of("temi").changed({"n_clusters": 10}).stages[0]
    rows = len(stage.traits.views) * stage.batch_size * stage.n_heads
    hidden, bottleneck = stage.head_values["hidden_dim"], stage.head_values["bottleneck_dim"]
    step = 1e-9 * rows * (10 + 64 * hidden + hidden * bottleneck + 10 * bottleneck)  # without biases
    assert whole.parts["step temi/mlp"] == pytest.approx(stage.length * step, rel=0.05)
    assert short.parts["step temi/mlp"] == pytest.approx(max(1e-3, step), rel=0.05)


def test_above_the_size_of_exact_search_lists_are_searched(units):
    assert set(of("temi", Sizes(1_000_000, 64)).parts) > {"neighbors ivf"}
    assert "neighbors ivf" not in of("temi", Sizes(10_000, 64)).parts


def test_what_was_not_measured_has_no_cost(units):
    assert of("gmm", Sizes(1000, 64)) is None
    assert of("scan", Sizes(1000, 64)) is None  # its steps are missing above
    assert expected("fit", Recipe.of("kmeans"), Sizes(1000, 64)) is None  # of unknown clusters
    assert expected("probes", None, Sizes(1000, 64, n_scored=100, n_classes=10)).seconds > 0
