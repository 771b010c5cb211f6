"""`run` without --clusters: the finer end of a range, which the folder records."""

import json

import pytest

from headclust import load_features, verbs
from headclust.errors import ConflictError, FileFormatError, SettingError
from headclust.granularity import Curves, GroupOfLevel, Level, Suggestion
from headclust.granularity import suggest as module
from headclust.verbs.run.number import number_of_groups
from verbs.conftest import read_config
from verbs.test_run import calls, draw, photos, small_backbone  # noqa: F401  # fixtures


def run(data, **options):
    return verbs.run(str(data), **{"method": "kmeans", "device": "cpu", **options})


@pytest.fixture
def suggested(monkeypatch):
    """The seeds that ranges were asked for; the range is always 2 to 5, or none after `suggested.append(None)`."""
    asked = []

    def suggest(spaces, seed, *, device):
        if None in asked:
            curves = Curves(*[[1, 2]] * 5)
            return Suggestion(20, 20, 20, seed, ["x"], reason="shuffled columns group as well", curves=curves)
        asked.append(seed)
        levels = [
            Level(count, [GroupOfLevel(20 // count, list(spaces[0].sample_ids[:2])) for _ in range(count)])
            for count in (2, 3, 5)
        ]
        curves = Curves(*[[1, 2]] * 5)
        return Suggestion(20, 20, 20, seed, ["x"], "", (2, 5), levels, curves)

    monkeypatch.setattr(module, "suggest", suggest)
    return asked


def n_clusters(groups):
    return read_config(groups.run)["settings"]["n_clusters"]


def test_the_finer_end_is_taken_and_the_others_offered(photos, calls, suggested, capsys):  # noqa: F811
    made = run(photos)
    assert n_clusters(made) == 5
    assert made.suggestion == made.folder / "suggestion.html"
    err = capsys.readouterr().err
    assert "2 to 5 groups fit these images: taking the finer end, 5." in err
    for count in (2, 3):
        assert (
            f"for {count} groups instead: headclust run {photos} -o photos-groups --overwrite --clusters {count}" in err
        )
    record = json.loads((made.folder / "suggestion.json").read_text())
    assert (record["n_clusters"], record["range"], record["seed"]) == (5, [2, 5], 0)
    assert "--clusters 3" in made.suggestion.read_text()


def test_a_second_run_does_the_same(photos, calls, suggested, capsys):  # noqa: F811
    made = run(photos)
    before = (made.folder / "suggestion.json").read_bytes()
    calls.clear()
    capsys.readouterr()
    assert run(photos) == made
    assert (calls, suggested) == ([], [0])
    assert (made.folder / "suggestion.json").read_bytes() == before
    assert "5 groups, as before in photos-groups, the finer end of 2 to 5" in capsys.readouterr().err


def test_a_fit_that_was_stopped_resumes_with_the_recorded_number(photos, calls, suggested, monkeypatch):  # noqa: F811
    from headclust.verbs.run import steps

    fitted = steps.fit_recipe

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "fit_recipe", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(photos)
    monkeypatch.setattr(steps, "fit_recipe", fitted)
    assert n_clusters(run(photos)) == 5
    assert suggested == [0]


def test_a_number_that_the_user_sets_stays(photos, calls, suggested, capsys):  # noqa: F811
    made = run(photos, clusters=3)
    assert n_clusters(made) == 3
    assert made.suggestion is None
    assert n_clusters(run(photos)) == 3  # as before in that folder
    assert suggested == []
    assert "3 groups, as before in photos-groups: --clusters K sets another number." in capsys.readouterr().err
    assert n_clusters(run(photos, overwrite=True)) == 5
    with pytest.raises(ConflictError, match="n_clusters: 5 there, 2 here"):
        run(photos, clusters=2)
    assert n_clusters(run(photos, clusters=2, overwrite=True)) == 2
    assert n_clusters(run(photos)) == 2


def test_without_structure_a_usual_number_is_taken_and_said(photos, calls, suggested, capsys):  # noqa: F811
    suggested.append(None)
    made = run(photos)
    assert n_clusters(made) == 3  # sqrt(20 / 2)
    assert "no clear structure in" in (err := capsys.readouterr().err)
    assert "taking 3 groups, a usual number for as many images. --clusters K sets another." in err
    assert n_clusters(run(photos)) == 3
    assert "3 groups, as before in photos-groups: --clusters K sets another number." in capsys.readouterr().err


def test_too_few_different_images_are_an_error_with_the_next_step(photos, calls, suggested, monkeypatch):  # noqa: F811
    few = Suggestion(20, 3, 3, 0, ["x"], reason="3 different rows are too few: expected at least 10")
    monkeypatch.setattr(module, "suggest", lambda *_, **__: few)
    with pytest.raises(SettingError, match=r"no number of groups found for .*: set it with --clusters K") as e:
        run(photos)
    assert "\n" not in str(e.value)
    assert [call[0] for call in calls] == ["embed"]
    calls.clear()
    assert n_clusters(run(photos, clusters=3)) == 3
    assert [call[0] for call in calls] == ["fit", "report"]


def test_class_folders_used_as_labels_give_their_number(here, calls, suggested):  # noqa: F811
    folder = draw(here / "pets", [f"{number % 3}/{number}.png" for number in range(12)])
    made = run(folder, labels="folders")
    assert (n_clusters(made), suggested, made.suggestion) == (3, [], None)


def test_folders_that_are_no_labels_are_suggested_for(here, calls, suggested):  # noqa: F811
    folder = draw(here / "years", [f"{2020 + number % 3}/{number}.png" for number in range(12)])
    assert n_clusters(run(folder)) == 5


def test_a_damaged_record_is_one_line(photos, calls, suggested):  # noqa: F811
    made = run(photos)
    (made.folder / "suggestion.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"suggestion\.json is damaged .*: delete it to suggest again"):
        run(photos)
    assert n_clusters(run(photos, overwrite=True)) == 5


def test_a_file_of_the_users_own_is_not_replaced(photos, here, calls, suggested):  # noqa: F811
    (here / "photos-groups").mkdir()
    made = run(photos, clusters=2)
    (made.folder / "suggestion.html").write_text("mine")
    with pytest.raises(ConflictError, match=r"suggestion\.html exists and is not a headclust suggestion"):
        run(photos, overwrite=True)
    assert (made.folder / "suggestion.html").read_text() == "mine"


def test_the_range_is_that_of_the_features(blob_file, here, capsys):
    options = {"device": "cpu", "overwrite": False}
    count = number_of_groups(load_features(blob_file), here, "my photos", 0, **options)
    low, high = json.loads((here / "suggestion.json").read_text())["range"]
    assert low <= 4 <= high == count
    assert f"headclust run 'my photos' -o {here} --overwrite --clusters {low}" in capsys.readouterr().err
    assert number_of_groups(load_features(blob_file), here, "my photos", 1, **options) == count
