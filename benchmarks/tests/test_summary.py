import json
import random

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study.results import append, read_results
from study.summary import COLUMNS, CONTENDER, averages, summarize, trained_on_classes

from .lines import SCORES, failed_line, fit_line, point_line, probe_line

UNIT = ("digits", "efficientnet_lite0", "", "train", "test")
TEMI = {0: 0.70, 1: 0.74, 2: 0.69}
KMEANS = {0: 0.65, 1: 0.63, 2: 0.66}


def over_seeds(method, accuracies, **more):
    return [fit_line(method, accuracy, seed=seed, **more) for seed, accuracy in accuracies.items()]


@pytest.fixture
def lines():
    return [*over_seeds("kmeans", KMEANS), *over_seeds("temi", TEMI), probe_line()]


def rows_of(lines, **where):
    """Rows of the table, by method and preset; only those with the given values."""
    rows = summarize(lines).rows.to_dict("records")
    rows = [row for row in rows if all(row[name] == value for name, value in ({"dataset": "digits"} | where).items())]
    return {(row["method"], row["preset"]): row for row in rows}


def gains_of(row):
    """The names of the metrics with a gain."""
    return [name for name in SCORES if row[f"{name}_gain"] is not None]


def contenders(table):
    return set(table[CONTENDER].itertuples(index=False, name=None))


def test_means_and_spreads_are_numpys(lines):
    row = rows_of(lines)["temi", "ours"]
    values = list(TEMI.values())
    for name, share in zip(SCORES, (1, 0.9, 0.8, 0.7), strict=True):
        assert row[name] == pytest.approx(share * np.mean(values))
        assert row[f"{name}_sd"] == pytest.approx(share * np.std(values, ddof=1))
    assert (*UNIT, [0, 1, 2]) == tuple(row[name] for name in [*COLUMNS[:5], "seeds"])
    assert (row["seconds"], row["clusters_used"], row["knn_accuracy"]) == (12.5, 9, 0.9)


def test_the_gain_is_scipys_paired_interval(lines):
    rows = rows_of(lines)
    row = rows["temi", "ours"]
    expected = stats.ttest_rel(list(TEMI.values()), list(KMEANS.values())).confidence_interval(0.95)
    interval = (row["accuracy_gain_low"], row["accuracy_gain_high"])
    assert interval == pytest.approx((expected.low, expected.high))
    assert row["accuracy_gain"] == pytest.approx(np.mean(list(TEMI.values())) - np.mean(list(KMEANS.values())))
    assert row["ari_gain_low"] == pytest.approx(0.7 * expected.low)
    assert row["baseline"] == "kmeans ours"
    assert gains_of(rows["kmeans", "ours"]) == []


def test_seeds_are_paired_and_one_gives_no_interval(lines):
    lines += [fit_line("scan", 0.8, seed=1), fit_line("scan", 0.9, seed=7)]
    row = rows_of(lines)["scan", "ours"]
    assert row["accuracy_gain"] == pytest.approx(0.8 - 0.63)
    assert (row["accuracy_gain_low"], row["accuracy_gain_high"]) == (None, None)


@pytest.mark.parametrize(
    "other",
    [
        {"n_clusters": 100},
        {"features": {"fit": {"sha256": "changed"}, "eval": {"sha256": "1"}}},
        {"backbone": "efficientnet_lite1"},
        {"dataset": "cifar10"},
        {"preprocessing": "temi-paper"},
        {"eval_split": "val"},
    ],
)
def test_what_is_not_a_pair_gives_no_gain(lines, other):
    rows = summarize([*lines, *over_seeds("scan", TEMI, **other)]).rows
    (row,) = rows[rows["method"] == "scan"].to_dict("records")
    assert (gains_of(row), row["baseline"]) == ([], "")


def test_a_weaker_baseline_stands_in_only_where_there_is_no_other(lines):
    weak = over_seeds("kmeans", {0: 0.4, 1: 0.4, 9: 0.4}, preset="authors")
    lines += [*weak, fit_line("scan", 0.5, seed=0), fit_line("turtle", 0.5, seed=9)]
    rows = rows_of(lines)
    assert rows["scan", "ours"]["accuracy_gain"] == pytest.approx(0.5 - 0.65)
    assert rows["turtle", "ours"]["baseline"] == "kmeans authors"
    assert rows["kmeans", "authors"]["accuracy_gain"] == pytest.approx(0.4 - 0.64)
    assert gains_of(rows["kmeans", "ours"]) == []


def test_of_two_versions_of_a_cell_the_newest_counts(lines, tmp_path):
    path = tmp_path / "results.jsonl"
    for line in [*lines, fit_line("temi", 0.99, seed=1)]:
        append(path, line)
    for read in (read_results(path), [json.loads(text) for text in path.read_text().splitlines()]):
        row = rows_of(read)["temi", "ours"]
        assert row["seeds"] == [0, 1, 2]
        assert row["accuracy"] == pytest.approx(np.mean([0.70, 0.99, 0.69]))


def test_a_cell_that_failed_is_counted_and_told(lines):
    lines += [failed_line("temi", seed=3), failed_line("clc", "no memory.")]
    summary = summarize(lines)
    rows = rows_of(lines)
    assert (rows["temi", "ours"]["seeds"], rows["temi", "ours"]["failed"]) == ([0, 1, 2], 1)
    clc = rows["clc", "ours"]
    assert (clc["seeds"], clc["failed"], gains_of(clc), {clc[name] for name in SCORES}) == ([], 1, [], {None})
    assert [name for name, _ in summary.failures] == [
        f"efficientnet_lite0/digits/{cell}" for cell in ("clc/ours/s0", "temi/ours/s3")
    ]
    assert summary.failures[0][1] == "no memory."
    # A later success makes up for it.
    assert summarize([*lines, fit_line("clc", 0.4)]).failures == summary.failures[1:]


def test_the_order_of_lines_does_not_matter(lines):
    lines += over_seeds("scan", TEMI, dataset="cifar10", settings={"max_seconds": 3.0, "b": 1})
    lines += [point_line("beta", 0.6, 0.5), point_line("beta", 0.5, 0.4), failed_line("clc")]
    expected = summarize(lines)
    for seed in range(5):
        random.Random(seed).shuffle(lines)
        for part, expected_part in zip(summarize(lines), expected, strict=True):
            assert part.equals(expected_part) if isinstance(part, pd.DataFrame) else part == expected_part


def test_averages_count_every_unit_once(lines):
    lines += over_seeds("kmeans", {0: 0.40, 1: 0.42}, dataset="cifar10")
    lines += over_seeds("temi", {0: 0.52}, dataset="cifar10")
    lines += over_seeds("kmeans", {0: 0.6}, dataset="cifar10", backbone="b2")
    lines += over_seeds("temi", {0: 0.5}, dataset="cifar10", backbone="b2")
    rows = {(row["scope"], row["method"]): row for row in summarize(lines).averages.to_dict("records")}
    assert set(rows) == {
        (scope, method)
        for scope in ("all", "data set cifar10", "backbone efficientnet_lite0")
        for method in ("kmeans", "temi")
    }
    every = rows["all", "temi"]
    means = [np.mean(list(TEMI.values())), 0.52, 0.5]
    gains = [means[0] - np.mean(list(KMEANS.values())), 0.12, -0.1]
    expected = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert every["accuracy"] == pytest.approx(np.mean(means))
    interval = (every["accuracy_gain_low"], every["accuracy_gain_high"])
    assert interval == pytest.approx((expected.low, expected.high))
    assert (every["pairs"], every["ahead"], every["paired"]) == (3, 2, 3)
    assert gains_of(rows["all", "kmeans"]) == []
    assert averages(summarize([]).rows).empty


def test_a_scope_that_holds_all_there_is_is_told_once(lines):
    lines += over_seeds("temi", TEMI, backbone="b2")
    assert summarize(lines).averages[["scope", "method", "pairs"]].to_numpy().tolist() == [["all", "temi", 2]]


def test_changed_settings_are_another_contender(lines):
    lines += over_seeds("temi", {0: 0.1}, settings={"n_heads": 2, "beta": 1.0})
    rows = summarize(lines).rows
    assert ("temi", "ours", '{"beta": 1.0, "n_heads": 2}') in contenders(rows)
    assert len(rows) == 3


def test_ablations_are_curves_and_no_rows(lines):
    points = [point_line("n_heads", 16, 0.6, seed=seed) for seed in (0, 1)] + [point_line("n_heads", 1, 0.5)]
    summary = summarize(
        [*lines, *points, failed_line(role="ablation", curve="n_heads", value=4, settings={"n_heads": 4})]
    )
    assert summary.rows.equals(summarize(lines).rows)
    points = summary.points[["setting", "value", "seeds"]].to_numpy().tolist()
    assert points == [["n_heads", 1, [0]], ["n_heads", 16, [0, 1]]]
    assert contenders(summary.points) == {("temi", "ours", "")}


def test_steps_and_oracle_where_recorded():
    oracle = {name: {"score": 0.6, "step": 380} for name in SCORES}
    capped = {"reached": 412, "planned": 1900, "capped": True}
    rows = rows_of([fit_line("temi", steps=capped, oracle=oracle, settings={"max_seconds": 9.0}), fit_line("scan")])
    row, plain = rows["temi", "ours"], rows["scan", "ours"]
    assert (row["capped"], row["steps_reached"], row["steps_planned"]) == (True, 412, 1900)
    assert row["oracle_nmi"] == 0.6
    assert not plain["capped"]
    assert {value for name, value in plain.items() if name.startswith(("oracle", "steps"))} == {None}


def test_fields_that_a_line_lacks_are_unknown():
    bare = {"format": "headclust-results", "version": 1, "kind": "fit", "status": "done", "id": "x"}
    summary = summarize([bare, {**bare, "kind": "probes", "id": "y"}, {**bare, "status": "failed", "id": "z"}])
    (row,) = summary.rows.to_dict("records")
    assert [row[name] for name in COLUMNS[:8]] == [""] * 8  # unit and contender
    assert (row["seeds"], row["failed"], row["trained_on_classes"]) == ([0], 1, "unknown")
    numbers = [row[name] for name in (*SCORES, "clusters_used", "seconds", "steps_reached", "n_clusters")]
    assert numbers == [None] * len(numbers)
    assert summarize([]).rows.empty


def test_numbers_that_are_none_are_left_out(lines):
    broken = {"accuracy": float("nan"), "nmi": None, "ami": "high", "ari": 0.5}
    row = rows_of([*lines, fit_line("scan", scores=broken)])["scan", "ours"]
    assert [name for name in SCORES if row[name] is not None] == gains_of(row) == ["ari"]


@pytest.mark.parametrize(
    ("dataset", "labels", "text", "expected"),
    [
        ("imagenet", True, False, "yes"),
        ("imagenet-50", True, True, "yes"),
        ("cifar10", True, False, "partly"),
        ("digits", True, False, "no"),
        ("my own", True, False, "unknown"),
        ("imagenet", False, False, "no"),
        ("my own", False, False, "no"),
        ("cifar10", False, True, "unknown"),
        ("imagenet", None, None, "unknown"),
    ],
)
def test_whether_a_backbone_saw_the_classes(dataset, labels, text, expected):
    assert trained_on_classes(dataset, labels, text) == expected


def test_published_numbers_are_kept_apart():
    there = fit_line("temi", dataset="cifar100", backbone="dino_vitb16")
    elsewhere = fit_line("temi", dataset="cifar100", backbone="efficientnet_lite0")
    summary = summarize([there, elsewhere])
    by_backbone = {row["backbone"]: row for row in summary.rows.to_dict("records")}
    assert [one.scores["accuracy"] for one in by_backbone["dino_vitb16"]["published"]] == [67.1, 64.22]
    assert by_backbone["efficientnet_lite0"]["published"] == []
    assert by_backbone["efficientnet_lite0"]["accuracy"] == 0.5
    assert {(one.method, one.dataset) for one in summary.published} == {("temi", "cifar100")}
    assert len(summary.published) == 3


def test_lines_of_older_features_are_stale(lines):
    old = {"features": {"fit": {"sha256": "old"}, "eval": {"sha256": "1"}}}
    mixed = [*over_seeds("temi", {0: 0.1, 3: 0.2}, **old), fit_line("temi", 0.1, seed=4, n_clusters=7)]
    row = rows_of([*mixed, *lines])["temi", "ours"]
    assert (row["seeds"], row["stale"], row["failed"]) == ([0, 1, 2], 2, 0)  # seed 0 was made again
    assert row["accuracy"] == pytest.approx(np.mean(list(TEMI.values())))
    row = rows_of([*lines, fit_line("temi", 0.1, seed=3, **old)])["temi", "ours"]
    assert (row["seeds"], row["stale"], row["knn_accuracy"]) == ([3], 3, None)  # probes of other features


def test_gains_over_another_baseline_are_in_no_average(lines):
    for dataset, ours in (("cifar10", True), ("fashion-mnist", False)):
        lines += over_seeds("kmeans", {0: 0.40}, dataset=dataset, preset="ours" if ours else "authors")
        lines += over_seeds("temi", {0: 0.60}, dataset=dataset)
    table = summarize(lines).averages
    (every,) = table[(table["scope"] == "all") & (table["method"] == "temi")].to_dict("records")
    assert (every["pairs"], every["paired"], every["ahead"]) == (3, 2, 2)
    first = np.mean(list(TEMI.values())) - np.mean(list(KMEANS.values()))
    assert every["accuracy_gain"] == pytest.approx(np.mean([first, 0.2]))
