import json
import random

import numpy as np
import pytest
from scipy import stats
from study.results import append, read_results
from study.summary import averages, summarize, trained_on_classes
from study.tables import Contender, Unit

from .lines import SCORES, failed_line, fit_line, point_line, probe_line

DIGITS = Unit("digits", "efficientnet_lite0", "", "train", "test")
TEMI = {0: 0.70, 1: 0.74, 2: 0.69}
KMEANS = {0: 0.65, 1: 0.63, 2: 0.66}


def over_seeds(method, accuracies, **more):
    return [fit_line(method, accuracy, seed=seed, **more) for seed, accuracy in accuracies.items()]


@pytest.fixture
def lines():
    return [*over_seeds("kmeans", KMEANS), *over_seeds("temi", TEMI), probe_line()]


def rows_of(lines):
    return {(row.unit, row.contender.method, row.contender.preset): row for row in summarize(lines).rows}


def test_means_and_spreads_are_numpys(lines):
    row = rows_of(lines)[DIGITS, "temi", "ours"]
    values = list(TEMI.values())
    for name, share in zip(SCORES, (1, 0.9, 0.8, 0.7), strict=True):
        assert row.scores[name].mean == pytest.approx(share * np.mean(values))
        assert row.scores[name].sd == pytest.approx(share * np.std(values, ddof=1))
    assert row.seeds == (0, 1, 2)
    assert row.details["seconds"].mean == 12.5
    assert row.details["clusters_used"].mean == 9
    assert row.facts["knn_accuracy"] == 0.9


def test_the_gain_is_scipys_paired_interval(lines):
    rows = rows_of(lines)
    row = rows[DIGITS, "temi", "ours"]
    wanted = stats.ttest_rel(list(TEMI.values()), list(KMEANS.values())).confidence_interval(0.95)
    gain = row.gains["accuracy"]
    assert (gain.low, gain.high) == pytest.approx((wanted.low, wanted.high))
    assert gain.mean == pytest.approx(np.mean(list(TEMI.values())) - np.mean(list(KMEANS.values())))
    assert row.gains["ari"].low == pytest.approx(0.7 * wanted.low)
    assert row.baseline == "kmeans ours"
    assert rows[DIGITS, "kmeans", "ours"].gains == {}


def test_seeds_are_paired_and_one_gives_no_interval(lines):
    lines += [fit_line("scan", 0.8, seed=1), fit_line("scan", 0.9, seed=7)]
    gain = rows_of(lines)[DIGITS, "scan", "ours"].gains["accuracy"]
    assert gain.mean == pytest.approx(0.8 - 0.63)
    assert (gain.low, gain.high, gain.n) == (None, None, 1)


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
    summary = summarize([*lines, *over_seeds("scan", TEMI, **other)])
    (row,) = [row for row in summary.rows if row.contender.method == "scan"]
    assert (row.gains, row.baseline) == ({}, "")


def test_a_weaker_baseline_stands_in_only_where_there_is_no_other(lines):
    weak = over_seeds("kmeans", {0: 0.4, 1: 0.4, 9: 0.4}, preset="authors")
    lines += [*weak, fit_line("scan", 0.5, seed=0), fit_line("turtle", 0.5, seed=9)]
    rows = rows_of(lines)
    assert rows[DIGITS, "scan", "ours"].gains["accuracy"].mean == pytest.approx(0.5 - 0.65)
    assert rows[DIGITS, "turtle", "ours"].baseline == "kmeans authors"
    assert rows[DIGITS, "kmeans", "authors"].gains["accuracy"].mean == pytest.approx(0.4 - 0.64)
    assert rows[DIGITS, "kmeans", "ours"].gains == {}


def test_of_two_versions_of_a_cell_the_newest_counts(lines, tmp_path):
    path = tmp_path / "results.jsonl"
    for line in [*lines, fit_line("temi", 0.99, seed=1)]:
        append(path, line)
    for read in (read_results(path), [json.loads(text) for text in path.read_text().splitlines()]):
        row = rows_of(read)[DIGITS, "temi", "ours"]
        assert row.seeds == (0, 1, 2)
        assert row.scores["accuracy"].mean == pytest.approx(np.mean([0.70, 0.99, 0.69]))


def test_a_cell_that_failed_is_counted_and_told(lines):
    lines += [failed_line("temi", seed=3), failed_line("clc", "no memory.")]
    summary = summarize(lines)
    rows = rows_of(lines)
    assert (rows[DIGITS, "temi", "ours"].seeds, rows[DIGITS, "temi", "ours"].failed) == ((0, 1, 2), 1)
    clc = rows[DIGITS, "clc", "ours"]
    assert (clc.seeds, clc.failed, clc.scores, clc.gains) == ((), 1, {}, {})
    assert [name for name, _ in summary.failures] == [
        f"efficientnet_lite0/digits/{cell}" for cell in ("clc/ours/s0", "temi/ours/s3")
    ]
    assert summary.failures[0][1] == "no memory."
    # A later success makes up for it.
    assert summarize([*lines, fit_line("clc", 0.4)]).failures == summary.failures[1:]


def test_the_order_of_lines_does_not_matter(lines):
    lines += over_seeds("scan", TEMI, dataset="cifar10", settings={"max_seconds": 3.0, "b": 1})
    lines += [point_line("beta", 0.6, 0.5), point_line("beta", 0.5, 0.4), failed_line("clc")]
    wanted = summarize(lines)
    for seed in range(5):
        random.Random(seed).shuffle(lines)
        assert summarize(lines) == wanted


def test_averages_count_every_unit_once(lines):
    lines += over_seeds("kmeans", {0: 0.40, 1: 0.42}, dataset="cifar10")
    lines += over_seeds("temi", {0: 0.52}, dataset="cifar10")
    lines += over_seeds("kmeans", {0: 0.6}, dataset="cifar10", backbone="b2")
    lines += over_seeds("temi", {0: 0.5}, dataset="cifar10", backbone="b2")
    found = {(one.scope, one.contender.method): one for one in summarize(lines).averages}
    assert set(found) == {
        (scope, method)
        for scope in ("all", "data set cifar10", "backbone efficientnet_lite0")
        for method in ("kmeans", "temi")
    }
    every = found["all", "temi"]
    means = [np.mean(list(TEMI.values())), 0.52, 0.5]
    gains = [means[0] - np.mean(list(KMEANS.values())), 0.12, -0.1]
    wanted = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert every.scores["accuracy"].mean == pytest.approx(np.mean(means))
    assert (every.gains["accuracy"].low, every.gains["accuracy"].high) == pytest.approx((wanted.low, wanted.high))
    assert (every.n, every.ahead, every.paired) == (3, 2, 3)
    assert found["all", "kmeans"].gains == {}
    assert averages([]) == []


def test_a_scope_that_holds_all_there_is_is_told_once(lines):
    lines += over_seeds("temi", TEMI, backbone="b2")
    assert [(one.scope, one.contender.method, one.n) for one in summarize(lines).averages] == [("all", "temi", 2)]


def test_changed_settings_are_another_contender(lines):
    lines += over_seeds("temi", {0: 0.1}, settings={"n_heads": 2, "beta": 1.0})
    contenders = [row.contender for row in summarize(lines).rows]
    assert Contender("temi", "ours", '{"beta": 1.0, "n_heads": 2}') in contenders
    assert len(contenders) == 3


def test_ablations_are_curves_and_no_rows(lines):
    points = [point_line("n_heads", 16, 0.6, seed=seed) for seed in (0, 1)] + [point_line("n_heads", 1, 0.5)]
    summary = summarize(
        [*lines, *points, failed_line(role="ablation", curve="n_heads", value=4, settings={"n_heads": 4})]
    )
    assert summary.rows == summarize(lines).rows
    assert [(point.curve, point.value, point.scores["accuracy"].n) for point in summary.points] == [
        ("n_heads", 1, 1),
        ("n_heads", 16, 2),
    ]
    assert {point.contender for point in summary.points} == {Contender("temi", "ours", "")}


def test_steps_and_oracle_where_recorded():
    oracle = {name: {"score": 0.6, "step": 380} for name in SCORES}
    capped = {"reached": 412, "planned": 1900, "capped": True}
    row, plain = summarize(
        [fit_line("temi", steps=capped, oracle=oracle, settings={"max_seconds": 9.0}), fit_line("scan")]
    ).rows[::-1]
    plain, row = (row, plain) if row.contender.method == "scan" else (plain, row)
    assert (row.capped, row.details["steps_reached"].mean, row.details["steps_planned"].mean) == (True, 412, 1900)
    assert row.details["oracle_nmi"].mean == 0.6
    assert not plain.capped
    assert not [name for name in plain.details if name.startswith(("oracle", "steps"))]


def test_fields_that_a_line_lacks_are_unknown():
    bare = {"format": "headclust-results", "version": 1, "kind": "fit", "status": "done", "id": "x"}
    summary = summarize([bare, {**bare, "kind": "probes", "id": "y"}, {**bare, "status": "failed", "id": "z"}])
    (row,) = summary.rows
    assert (row.unit, row.contender) == (Unit("", "", "", "", ""), Contender("", "", ""))
    assert (row.seeds, row.failed, row.scores, row.details, row.n_clusters) == ((0,), 1, {}, {}, None)
    assert row.facts["trained_on_classes"] == "unknown"
    assert summarize([]).rows == ()


def test_numbers_that_are_none_are_left_out(lines):
    broken = {"accuracy": float("nan"), "nmi": None, "ami": "high", "ari": 0.5}
    row = rows_of([*lines, fit_line("scan", scores=broken)])[DIGITS, "scan", "ours"]
    assert set(row.scores) == set(row.gains) == {"ari"}


@pytest.mark.parametrize(
    ("dataset", "labels", "text", "wanted"),
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
def test_whether_a_backbone_saw_the_classes(dataset, labels, text, wanted):
    assert trained_on_classes(dataset, labels, text) == wanted


def test_published_numbers_are_kept_apart():
    there = fit_line("temi", dataset="cifar100", backbone="dino_vitb16")
    elsewhere = fit_line("temi", dataset="cifar100", backbone="efficientnet_lite0")
    summary = summarize([there, elsewhere])
    by_backbone = {row.unit.backbone: row for row in summary.rows}
    assert [one.scores["accuracy"] for one in by_backbone["dino_vitb16"].published] == [67.1, 64.22]
    assert by_backbone["efficientnet_lite0"].published == ()
    assert by_backbone["efficientnet_lite0"].scores["accuracy"].mean == 0.5
    assert {(one.method, one.dataset) for one in summary.published} == {("temi", "cifar100")}
    assert len(summary.published) == 3


def test_lines_of_older_features_are_stale(lines):
    old = {"features": {"fit": {"sha256": "old"}, "eval": {"sha256": "1"}}}
    mixed = [*over_seeds("temi", {0: 0.1, 3: 0.2}, **old), fit_line("temi", 0.1, seed=4, n_clusters=7)]
    row = rows_of([*mixed, *lines])[DIGITS, "temi", "ours"]
    assert (row.seeds, row.stale, row.failed) == ((0, 1, 2), 2, 0)  # seed 0 was made again
    assert row.scores["accuracy"].mean == pytest.approx(np.mean(list(TEMI.values())))
    row = rows_of([*lines, fit_line("temi", 0.1, seed=3, **old)])[DIGITS, "temi", "ours"]
    assert (row.seeds, row.stale, row.facts["knn_accuracy"]) == ((3,), 3, None)  # probes of other features


def test_gains_over_another_baseline_are_in_no_average(lines):
    for dataset, ours in (("cifar10", True), ("fashion-mnist", False)):
        lines += over_seeds("kmeans", {0: 0.40}, dataset=dataset, preset="ours" if ours else "authors")
        lines += over_seeds("temi", {0: 0.60}, dataset=dataset)
    (every,) = [one for one in summarize(lines).averages if (one.scope, one.contender.method) == ("all", "temi")]
    assert (every.n, every.paired, every.ahead) == (3, 2, 2)
    first = np.mean(list(TEMI.values())) - np.mean(list(KMEANS.values()))
    assert every.gains["accuracy"].mean == pytest.approx(np.mean([first, 0.2]))
