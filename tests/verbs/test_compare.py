import json
import re
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import make_blobs, short
from scipy import stats
from sklearn.metrics import adjusted_rand_score

from headclust import cli, load_features, verbs
from headclust.errors import DataError, HeadclustError, SettingError
from headclust.methods import DEFAULT_METHOD, METHODS, PRESETS, Recipe
from headclust.methods.settings import change_settings
from headclust.runs.scored_fit import fit_and_score

SIZES = {"clusters_used", "largest_share", "entropy", "agreement", "seconds"}
SCORES = {"accuracy", "nmi", "ami", "ari"}


@pytest.fixture(autouse=True)
def quick_presets(quick, monkeypatch):
    monkeypatch.setitem(PRESETS["temi"], "ours", change_settings(PRESETS["temi"]["ours"], quick))
    monkeypatch.setitem(PRESETS["consensus"], "ours", change_settings(PRESETS["consensus"]["ours"], short("consensus")))


@pytest.fixture
def hard_file(write):
    """Blobs that overlap, so that seeds and methods differ."""
    features, labels = make_blobs(90, distance=0.7)
    return write("hard.h5", features, labels)


@pytest.fixture
def unfitted(monkeypatch):
    """Makes sure that nothing is fitted."""

    def refuse(*_, **__):
        raise AssertionError("a method was called")

    for name in METHODS:
        monkeypatch.setitem(METHODS, name, refuse)


def by_method(compared):
    return {entry["method"]: entry for entry in compared["methods"]}


def test_every_number_is_that_of_single_trials(hard_file, test_file):
    compared = verbs.compare(
        [hard_file], methods=["temi", "kmeans"], clusters=3, seeds=3, seed=5, evaluate_on=[test_file]
    )
    assert compared["seeds"] == [5, 6, 7]
    assert (compared["n_clusters"], compared["preset"], compared["features"]) == (3, "ours", [str(hard_file)])
    spaces, tests = [load_features(hard_file)], [load_features(test_file)]
    trials = {
        name: [
            fit_and_score(spaces, Recipe.of(name).changed({"n_clusters": 3}), seed, tests=tests) for seed in (5, 6, 7)
        ]
        for name in ("temi", "kmeans")
    }
    for name, entry in by_method(compared).items():
        for part, reports in (
            (entry, [trial.report for trial in trials[name]]),
            (entry["eval"], [trial.report["eval"] for trial in trials[name]]),
        ):
            assert set(part["mean"]) - {"accuracy_majority"} == SIZES | SCORES
            for metric in (SIZES | SCORES) - {"seconds"}:
                values = [report[metric] for report in reports]
                assert part["mean"][metric] == pytest.approx(np.mean(values))
                assert part["sd"][metric] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        for fit, trial in zip(entry["fits"], trials[name], strict=True):
            assert {**fit, "seconds": 0, "eval": 0} == {
                "seed": fit["seed"],
                **trial.report,
                "seconds": 0,
                "eval": 0,
            }
    ours, base = ([trial.report["eval"]["ari"] for trial in trials[name]] for name in ("temi", "kmeans"))
    expected = stats.ttest_rel(ours, base).confidence_interval(0.95)
    gain = by_method(compared)["temi"]["eval"]["gain"]["ari"]
    assert (gain["low"], gain["high"]) == pytest.approx((expected.low, expected.high))
    assert by_method(compared)["kmeans"]["gain"] == {}
    clusters = {name: [trial.result.assignments for trial in trials[name]] for name in trials}
    agreed = compared["agreement"]
    pairs = zip(clusters["temi"], clusters["kmeans"], strict=True)
    assert agreed["temi"]["kmeans"] == pytest.approx(np.mean([adjusted_rand_score(a, b) for a, b in pairs]))
    assert agreed["kmeans"]["temi"] == agreed["temi"]["kmeans"]
    (a, b, c) = clusters["temi"]
    between = [adjusted_rand_score(*pair) for pair in ((a, b), (a, c), (b, c))]
    assert agreed["temi"]["temi"] == pytest.approx(np.mean(between))
    assert json.loads(json.dumps(compared)) == compared


def test_one_seed_has_no_spread_and_no_interval(blob_file):
    compared = verbs.compare([blob_file], methods=["kmeans", "default"])
    assert list(by_method(compared)) == ["kmeans", DEFAULT_METHOD]
    default = by_method(compared)[DEFAULT_METHOD]
    assert set(default["sd"].values()) == {None}
    assert default["gain"]["accuracy"]["low"] is default["gain"]["accuracy"]["high"] is None
    assert default["gain"]["accuracy"]["mean"] == pytest.approx(
        default["mean"]["accuracy"] - by_method(compared)["kmeans"]["mean"]["accuracy"]
    )
    assert compared["agreement"][DEFAULT_METHOD][DEFAULT_METHOD] is None
    assert compared["agreement"][DEFAULT_METHOD]["kmeans"] > 0.5
    assert "eval" not in default


def test_without_labels(write, blobs, capsys):
    compared = verbs.compare([write("plain.h5", blobs.features)], methods=["temi", "kmeans"], clusters=4, seeds=2)
    for entry in compared["methods"]:
        assert set(entry["mean"]) == SIZES
        assert entry["gain"] == {}
    assert compared["agreement"]["temi"]["kmeans"] > 0.5
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == [f"{n} of 4" for n in (1, 2, 3, 4)]


def test_labels_change_nothing_but_the_scores(write, blobs):
    shuffled = np.random.default_rng(0).permutation(blobs.labels)
    first, second = (
        verbs.compare([write(f"{name}.h5", blobs.features, labels)], methods=["temi", "kmeans"], clusters=4, seeds=2)
        for name, labels in (("a", blobs.labels), ("b", shuffled))
    )
    assert first["agreement"] == second["agreement"]
    assert by_method(first)["temi"]["mean"]["accuracy"] > by_method(second)["temi"]["mean"]["accuracy"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["kmeans", "tmi"]}, "unknown method 'tmi': did you mean temi"),
        ({"methods": ["kmeans", "temi", "kmeans"]}, "methods: kmeans is named twice: name each once"),
        ({"methods": ["consensus", "default"]}, "methods: default stands for consensus, which is named twice"),
        ({"methods": []}, "no method to compare"),
        ({"methods": ["kmeans"], "preset": "our"}, "unknown preset 'our': did you mean ours"),
        ({"methods": ["kmeans"], "seeds": 0}, "0 seeds from 0 on: expected 1 to 1000"),
        ({"methods": ["kmeans"], "seeds": 1001}, "1001 seeds from 0 on: expected 1 to 1000"),
        ({"methods": ["kmeans"], "seed": -1}, "1 seeds from -1 on"),
        ({"methods": ["kmeans"], "clusters": 121}, "121 clusters of 120 samples"),
        ({"methods": ["kmeans"], "device": "tpu"}, "tpu"),
    ],
)
def test_what_is_refused(unfitted, blob_file, options, message):
    with pytest.raises(SettingError, match=message) as refused:
        verbs.compare([blob_file], **options)
    assert "\n" not in str(refused.value)


def test_files_that_are_refused(unfitted, write, blobs, blob_file, nan_file):
    plain, few = write("plain.h5", blobs.features), write("few.h5", blobs.features[:1], blobs.labels[:1])
    narrow = write("narrow.h5", blobs.features[:, :5], blobs.labels)
    for files, options, message in (
        ([plain], {}, "set the number of clusters with --clusters K"),
        ([blob_file, plain], {}, "2 feature files given, and temi takes one: "),
        ([few], {}, "one sample: expected at least 2"),
        ([nan_file], {}, "NaN or infinity"),
        ([blob_file.with_name("none.h5")], {}, "no such file"),
        ([blob_file], {"evaluate_on": [narrow]}, "its feature_dim is 5, the fit's was 12"),
        ([blob_file], {"evaluate_on": [blob_file, blob_file]}, "2 feature files given: expected 1"),
        ([], {}, "no features given, and none found"),
    ):
        with pytest.raises(HeadclustError, match=message):
            verbs.compare(files, methods=["temi", "kmeans"], **options)


def test_several_files_for_methods_that_take_several(write, blobs, monkeypatch):
    few = change_settings(PRESETS["turtle"]["ours"], {"length": 3, "n_heads": 2, "batch_size": 50})
    monkeypatch.setitem(PRESETS["turtle"], "ours", few)
    files = [write(f"{name}.h5", blobs.features * factor, blobs.labels) for name, factor in (("a", 1), ("b", 2))]
    quick = change_settings(PRESETS["consensus"]["ours"], {"n_heads": 2, "pairs.length": 3})
    monkeypatch.setitem(PRESETS["consensus"], "ours", quick)
    compared = verbs.compare(files, methods=["turtle", "default", "kmeans"], evaluate_on=files)
    assert compared["features"] == [str(file) for file in files]
    for method in ("turtle", "consensus", "kmeans"):
        assert by_method(compared)[method]["eval"]["mean"]["accuracy"] > 0
    other = write("c.h5", blobs.features, blobs.labels, sample_ids=[f"other-{row}" for row in range(120)])
    with pytest.raises(DataError, match="hold different samples"):
        verbs.compare(files, methods=["turtle"], evaluate_on=[files[0], other])


def test_a_preset_that_one_of_them_lacks(unfitted, blob_file, monkeypatch):
    monkeypatch.delitem(PRESETS["kmeans"], "authors")
    with pytest.raises(SettingError, match="kmeans has no preset 'authors'"):
        verbs.compare([blob_file], methods=["temi", "kmeans"], preset="authors")


def test_a_fit_that_fails_takes_only_its_own_numbers_with_it(blob_file, monkeypatch, capsys):
    real = METHODS["temi"]

    def fails(spaces, recipe, seed, **options):
        if seed == 1:
            raise DataError("the loss stopped being finite.")
        return real(spaces, recipe, seed, **options)

    monkeypatch.setitem(METHODS, "temi", fails)
    compared = verbs.compare([blob_file], methods=["temi", "kmeans"], seeds=3)
    temi = by_method(compared)["temi"]
    assert temi["fits"][1] == {"seed": 1, "error": "the loss stopped being finite."}
    assert temi["sd"]["accuracy"] is not None
    assert temi["gain"]["accuracy"]["low"] is not None
    assert "2 of 6: temi, seed 1: failed: the loss stopped being finite." in capsys.readouterr().err
    with pytest.raises(DataError, match="stopped being finite"):
        verbs.compare([blob_file], methods=["temi"], seed=1)


def command(*arguments):
    return CliRunner().invoke(cli.cli, ["compare", *map(str, arguments)], catch_exceptions=False)


def test_the_table(hard_file, test_file):
    result = command(hard_file, "--methods", "kmeans, temi", "--seeds", 2, "--eval", test_file)
    lines = [line for line in result.stdout.splitlines() if line]
    titles = ["method", "rows", "seeds", "ACC", "NMI", "AMI", "ARI", "ACC over k-means", "clusters", "seconds"]
    assert re.split(" {2,}", lines[0].strip()) == titles
    assert [line.split()[0] for line in lines[1:5]] == ["kmeans", "kmeans", "temi", "temi"]
    assert lines[1].count("±") == 4
    assert " of 4" in lines[1]
    assert "[" in lines[3]
    assert "[" not in lines[1]
    assert "Agreement of the clusters" in result.stdout
    assert "1 of 4: kmeans, seed 0: " in result.stderr


def test_the_table_of_one_seed_and_without_labels(write, blobs):
    result = command(write("plain.h5", blobs.features), "--methods", "temi,kmeans", "--clusters", 4)
    titles = result.stdout.split("\n")[0]
    assert [name in titles for name in ("largest", "entropy", "agreement", "ACC", "over k-means")] == [
        *(True, True, True, False, False)
    ]
    assert "±" not in result.stdout


def test_json_is_json_and_nothing_else(blob_file):
    result = command(blob_file, "--methods", "temi,kmeans", "--json")
    compared = json.loads(result.stdout)
    assert list(compared) == ["features", "preset", "n_clusters", "seeds", "methods", "agreement"]
    assert compared["n_clusters"] == 4


@pytest.mark.parametrize("arguments", [["--methods", "nothing"], ["--methods", ","], []])
def test_an_error_is_one_line(monkeypatch, capsys, unfitted, blob_file, arguments):
    monkeypatch.setattr(sys, "argv", ["headclust", "compare", str(blob_file), *arguments])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    out, err = capsys.readouterr()
    assert (exited.value.code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("headclust: error: ")
