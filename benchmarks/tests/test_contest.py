import itertools
import json

import numpy as np
import pytest
from scipy import stats
from study.contest import ENTRANTS, as_json, by_place, contest, contest_plan
from study.plan import plan
from study.presets import find_study

from headclust.errors import SettingError
from headclust.methods import DEFAULT_METHOD, Recipe

from .lines import failed_line, fit_line

LITE0 = "efficientnet_lite0"


def of(key, accuracies, **more):
    """Lines of an entrant, one a seed."""
    row = ENTRANTS[key].row
    return [
        fit_line(row.method, accuracy, settings=dict(row.settings), seed=seed, **more)
        for seed, accuracy in enumerate(accuracies)
    ]


@pytest.fixture
def lines():
    oracle = {"accuracy": {"score": 0.9, "head": 3}}
    return [
        *of("default", [0.80, 0.82, 0.84], oracle_head=oracle),
        *of("kmeans", [0.60, 0.61, 0.65]),
        *of("own-kmeans", [0.70, 0.66, 0.68]),
        *of("spectral", [0.90]),
        *of("temi", [0.5, 0.9, 0.7]),
        *of("scan", [0.99]),
        *of("whiten=false", [0.75, 0.76, 0.77]),
        *of("default", [0.5, 0.5], dataset="cifar10"),
        *of("kmeans", [0.45, 0.47], dataset="cifar10"),
        fit_line("leiden", 0.99),
        failed_line("turtle"),
    ]


def test_every_entrant_has_a_recipe_and_seeds():
    for entrant in ENTRANTS.values():
        Recipe.of(entrant.row.method, entrant.row.preset).changed(entrant.row.settings)
        assert entrant.row.preset == "ours"
    changed = [json.dumps([one.row.method, dict(one.row.settings)], sort_keys=True) for one in ENTRANTS.values()]
    assert len(set(changed)) == len(ENTRANTS)
    parts = [one.part for one in ENTRANTS.values()]
    assert {part: parts.count(part) for part in ("default", "baseline", "peer", "other")} == {
        "default": 1,
        "baseline": 2,
        "peer": 3,
        "other": 3,
    }


def test_the_plan_is_of_the_offline_features_and_takes_over_its_cells():
    cells = contest_plan()
    counts = dict.fromkeys(ENTRANTS, 0)
    for cell in cells:
        (key,) = [
            key
            for key, one in ENTRANTS.items()
            if (one.row.method, dict(one.row.settings)) == (cell.method, dict(cell.settings))
        ]
        counts[key] += 1
    expected = {"default": 75, "kmeans": 75, "own-kmeans": 75}
    expected |= dict.fromkeys(("spectral", "temi", "turtle", "scan", "imc-swav", "clc"), 25)
    assert counts == {**dict.fromkeys(ENTRANTS, 15), **expected}
    assert len({cell.id for cell in cells}) == len(cells)
    theirs = {cell.id: cell for cell in plan(find_study("offline"))}
    shared = [cell for cell in cells if cell.id in theirs]
    methods = {"consensus", "kmeans", "spectral", "temi", "turtle", "scan", "imc-swav", "clc"}
    assert {cell.method for cell in shared} == methods
    assert all(cell == theirs[cell.id] for cell in shared)
    files = {cell.fit for cell in theirs.values()}
    assert {cell.fit for cell in cells} == files


def test_a_part_of_the_plan():
    cells = contest_plan(entrants=("default", "views=false"), datasets=("digits",), seeds=2)
    assert [(cell.fit.backbone, dict(cell.settings), cell.seed) for cell in cells if cell.settings] == [
        (LITE0, {"views": False}, 0),
        (LITE0, {"views": False}, 1),
    ]
    assert len(cells) == 8
    for given, words in (
        ({"entrants": ("k-means",)}, "unknown entrant 'k-means'"),
        ({"entrants": ("default", "default")}, "default is named twice"),
        ({"datasets": ("mnist",)}, "unknown data set 'mnist'"),
        ({"seeds": 0}, "0 seeds"),
    ):
        with pytest.raises(SettingError, match=words):
            contest_plan(**given)


def over(lines, key, dataset="digits"):
    """The default's gain over an entrant at a place."""
    return by_place(contest(lines))[dataset, LITE0][key]["default_over_it"]


def test_gains_are_paired_by_seed(lines):
    gain = over(lines, "kmeans")
    differences = np.array([0.20, 0.21, 0.19])
    low, high = stats.t.interval(0.95, 2, loc=differences.mean(), scale=stats.sem(differences))
    assert (gain.mean, gain.low, gain.high, gain.n) == pytest.approx((0.2, low, high, 3))
    alone = over(lines, "spectral")
    assert (alone.mean, alone.low, alone.n) == (pytest.approx(-0.1), None, 1)  # seed 0 against seed 0
    assert "spectral" not in by_place(contest(lines))["cifar10", LITE0]
    assert over(lines, "default") is None


def test_other_features_are_no_pair(lines):
    other = {"fit": {"path": "a", "sha256": "9"}, "eval": {"path": "b", "sha256": "1"}}
    lines = [*of("kmeans", [0.9], features=other, dataset="stl10"), *of("default", [0.9], dataset="stl10")]
    assert over(lines, "kmeans", dataset="stl10") is None


def test_verdicts(lines):
    results = contest(lines)
    cifar, digits = results.verdicts
    assert (digits["dataset"], digits["backbone"]) == ("digits", LITE0)
    # turtle failed, scan is no peer
    assert (digits["stronger"], digits["peer"], digits["peers"]) == ("own-kmeans", "spectral", 3)
    assert digits["gain"].mean == pytest.approx(0.14)
    assert digits["holds"] is False  # ten points below one seed of spectral, which has no interval
    assert [cifar[name] for name in ("stronger", "peer", "peers", "holds")] == ["kmeans", "kmeans", 1, True]
    failure = {"id": "efficientnet_lite0/digits/turtle/ours/s0", "error": "the loss stopped being finite."}
    assert results.failures == [failure]


@pytest.mark.parametrize(
    ("peer", "holds"),
    [
        ([0.508, 0.508, 0.509], True),  # told apart, but within a point
        ([0.52, 0.52, 0.521], False),
        ([0.45, 0.60, 0.55], True),  # three points ahead, and not told apart
    ],
)
def test_within_a_point_or_not_distinguishable(peer, holds):
    (verdict,) = contest([*of("default", [0.5, 0.5, 0.5]), *of("spectral", peer)]).verdicts
    assert verdict["holds"] is holds


def test_averages_are_over_all_places_of_the_default(lines):
    averages = {row["key"]: row for row in contest(lines).averages}
    assert set(averages) == {"default", "stronger k-means", "kmeans"}  # the others lack a place
    assert averages["default"]["accuracy"] == pytest.approx((0.82 + 0.5) / 2)
    assert averages["stronger k-means"]["accuracy"] == pytest.approx((0.68 + 0.46) / 2)
    assert averages["stronger k-means"]["gain"].mean == pytest.approx((0.14 + 0.04) / 2)
    assert averages["kmeans"]["gain"].mean == pytest.approx((0.2 + 0.04) / 2)
    assert averages["kmeans"]["ahead"] == 2


def test_the_order_of_lines_means_nothing(lines):
    expected = as_json(contest(lines))
    assert as_json(contest(lines[::-1])) == expected
    assert json.loads(json.dumps(expected, allow_nan=False)) == expected
    rows = {(row["dataset"], row["entrant"]): row for row in expected["rows"]}
    assert rows["digits", "default"]["oracle_head_accuracy"]["mean"] == pytest.approx(0.9)
    assert rows["digits", "default"]["default_over_it"] is None
    assert rows["digits", "whiten=false"]["settings"] == {"whiten": False}


def test_the_default_is_the_default():
    for entrant in ENTRANTS.values():
        assert (entrant.row.method == DEFAULT_METHOD) == (
            entrant.part in ("default", "ablation") or entrant.key == "own-kmeans"
        )
    assert not ENTRANTS["default"].row.settings
    ablations = [dict(one.row.settings) for one in ENTRANTS.values() if one.part == "ablation"]
    own = [one for settings in ablations for one in settings.items()]
    recipe = Recipe.of()
    # Each is a change.
    assert all(recipe.changed(dict([change])).stages != recipe.stages for change in own)
    assert all(one != other for one, other in itertools.combinations(own, 2))
