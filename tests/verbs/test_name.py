"""`name`: where the words come from, what is written, what shows it, and what is refused."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from headclust import load_features, runs, verbs
from headclust.backbones.catalog import CATALOG
from headclust.backbones.package_files import read_classifier
from headclust.errors import ConflictError, DataError, FileFormatError, HeadclustError, SettingError
from headclust.runs.fixes import FIXES, Fix, append_fixes
from headclust.runs.groups import read_groups
from headclust.runs.names import NAMES, read_names
from headclust.verbs.run.steps import name_step

LITE0 = CATALOG["efficientnet_lite0"]
# Golden retriever, beagle, pug; tabby, tiger cat, Persian cat; sports car, convertible, wagon; three kinds of trucks.
THINGS = {"dog": (207, 162, 254), "cat": (281, 282, 283), "car": (817, 511, 436), "truck": (867, 569, 864)}


@pytest.fixture(scope="module")
def weight():
    return read_classifier(LITE0)[0].numpy()


@pytest.fixture
def features(write, weight):
    """Features of 96 images of four kinds of things, made of the classifier's own weights."""
    classes = [THINGS[name][row % len(THINGS[name])] for row in range(24) for name in THINGS]
    noise = np.random.default_rng(0).normal(size=(96, weight.shape[1]))
    # Images of one kind share most of what they are made of, so that k-means finds the kinds.
    centers = np.stack([weight[list(members)].mean(axis=0) for members in THINGS.values()])
    rows = 12 * weight[classes] + 30 * centers[np.arange(96) % 4] + 0.1 * noise
    attributes = {"weights_sha256": LITE0.weights_sha256}
    return write("things.h5", rows, np.arange(96) % 4, backbone="efficientnet_lite0", attributes=attributes)


@pytest.fixture
def run(fit, features):
    return fit(features, method="kmeans", clusters=4)


def kinds(run):
    """The group of each kind of thing."""
    clusters = runs.read_assigned(runs.read_record(run)).clusters
    return {name: int(clusters[place]) for place, name in enumerate(THINGS)}


def test_groups_are_called_what_the_classifier_sees(run):
    named = verbs.name(run)
    assert {group.name: group.group for group in named.groups} == kinds(run)
    assert named.source == "classifier of efficientnet_lite0"
    assert [group.images for group in named.groups] == [24] * 4
    assert all(0.5 < group.score <= 1 for group in named.groups)


def test_names_lie_in_the_run_and_change_no_group(run):
    before = (run / "assignments.csv").read_bytes()
    assert verbs.name(run).path == run / NAMES
    assert {name.name: group for group, name in read_names(run).groups.items()} == kinds(run)
    assert (run / "assignments.csv").read_bytes() == before
    assert runs.verify_run(run) == []


def test_the_same_command_gives_the_same_file(run):
    first = verbs.name(run).path.read_bytes()
    assert verbs.name(run).path.read_bytes() == first


def test_labels_do_not_reach_names(fit, write, features, run):
    first = verbs.name(run).path.read_bytes()

    space = load_features(features)
    rows = {"backbone": "efficientnet_lite0", "attributes": {"weights_sha256": LITE0.weights_sha256}}
    other = write("other.h5", space.all().numpy(), np.arange(96)[::-1] % 7, **rows)
    assert verbs.name(fit(other, method="kmeans", clusters=4, output="other")).path.read_bytes() == first


def test_every_view_of_the_run_shows_the_names(run):
    verbs.name(run)
    assert set(read_groups(runs.read_record(run)).names.values()) == set(THINGS)
    exported = verbs.export(run, to="csv").read_text()
    assert all(f",{name}," in exported for name in THINGS)


def test_levels_have_names_of_their_own(run):
    named = verbs.name(run, level=2)
    assert len(named.groups) == 2
    for group in named.groups:  # a union does not have the name of a part
        assert (group.name in THINGS) == (group.images == 24)


def test_a_level_that_does_not_exist_is_refused(run):
    with pytest.raises(SettingError, match="level 9"):
        verbs.name(run, level=9)
    assert not (run / NAMES).exists()


def test_a_persons_name_counts_and_is_given_to_no_other_group(run):
    group = kinds(run)["car"]
    append_fixes(run / FIXES, [Fix("rename", group=group, name="Dog")])
    named = {group.group: group for group in verbs.name(run).groups}
    assert (named[group].name, named[group].score) == ("Dog", None)
    assert named[kinds(run)["dog"]].name != "dog"


def test_a_word_that_a_person_gives_later_is_no_other_groups(run):
    verbs.name(run)
    group = kinds(run)["car"]
    append_fixes(run / FIXES, [Fix("rename", group=group, name="Dog")])
    names = read_groups(runs.read_record(run)).names
    assert names[group] == "Dog"
    assert kinds(run)["dog"] not in names


def test_the_table_is_what_export_takes(run, here):
    named = verbs.name(run, output=here / "names.csv")
    with (here / "names.csv").open(newline="") as file:
        assert [(int(row["cluster"]), row["name"]) for row in csv.DictReader(file)] == [
            (group.group, group.name) for group in named.groups
        ]
    verbs.export(run, to="csv", names=here / "names.csv")


def test_a_table_is_not_replaced_unless_told(run, here):
    (here / "names.csv").write_text("mine")
    with pytest.raises(ConflictError, match="--overwrite"):
        verbs.name(run, output=here / "names.csv")
    assert (here / "names.csv").read_text() == "mine"
    assert not (run / NAMES).exists()
    verbs.name(run, output=here / "names.csv", overwrite=True)
    assert (here / "names.csv").read_text().startswith("cluster,name\n")


def test_own_words_restrict_the_classifier(run, here, capsys):
    (here / "words.txt").write_text("Hund\nAnimal\nsports car\ntrucks\n")
    named = verbs.name(run, vocabulary=here / "words.txt")
    assert {group.name for group in named.groups} <= {"Animal", "sports car", None}
    assert "2 of 4 words name no class of the classifier" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("Hund\nKatze\n", "knows none of the 2 words"), ("a\nA\n", "twice"), ("a\n\nb\n", "blank")],
)
def test_words_that_cannot_be_used_are_one_line(run, here, text, message):
    (here / "words.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        verbs.name(run, vocabulary=here / "words.txt")
    assert not (run / NAMES).exists()


def test_damaged_names_are_made_again(run):
    verbs.name(run)
    (run / NAMES).write_text("{")
    with pytest.raises(FileFormatError, match="headclust name"):
        read_groups(runs.read_record(run))
    assert len(verbs.name(run).groups) == 4


def test_without_features_and_images_words_in_paths_are_used(fit, write, blobs, capsys):
    ids = [f"{'trip to Rome' if label < 2 else 'garden'}/IMG_{row}.jpg" for row, label in enumerate(blobs.labels)]
    run = fit(write("plain.h5", blobs.features, sample_ids=ids), method="kmeans", clusters=2)
    named = verbs.name(run)
    assert named.source == "words in the paths of the images"
    assert "no classifier can name the groups" in capsys.readouterr().err
    assert {group.name for group in named.groups} <= {"trip to Rome", "garden", "Rome", "trip", None}
    with pytest.raises(DataError, match="images cannot be found"):
        verbs.name(run, source="classifier")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "words", "model": "efficientnet_lite0"}, "neither a model"),
        ({"source": "text"}, "has no text tower"),
        ({"source": "classifier", "model": "dinov2_vits14"}, "no classifier"),
        ({"model": "dinov2_vits14"}, "has no text tower"),
        ({"model": "nope"}, "nope"),
        ({"device": "nope"}, "nope"),
    ],
)
def test_sources_that_cannot_be_used_are_one_line(run, options, message):
    with pytest.raises(HeadclustError, match=message) as error:
        verbs.name(run, **options)
    assert "\n" not in str(error.value)
    assert not (run / NAMES).exists()


def test_images_of_another_backbone_are_embedded_with_a_packaged_one(fit, write, tmp_path, capsys):
    for row in range(12):
        path = tmp_path / ("photos" if row < 10 else "later") / f"{row}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (20 * row, 0, 0)).save(path)
    (tmp_path / "photos" / "3.png").write_bytes(b"broken")
    rows = np.repeat([[0.0, 1], [1, 0]], 6, axis=0) + np.random.default_rng(0).normal(size=(12, 2)) / 9
    added = [["later", str(tmp_path / "later"), "all", []]]  # as headclust add records it
    attributes = {"source": str(tmp_path / "photos"), "split": "all", "added": added}
    ids = [f"{row}.png" if row < 10 else f"later/{row}.png" for row in range(12)]
    file = write("p.h5", rows, sample_ids=ids, attributes=attributes)
    named = verbs.name(fit(file, method="kmeans", clusters=2))
    assert named.source == "classifier of efficientnet_lite0"
    assert "embedding 12 typical images with efficientnet_lite0" in capsys.readouterr().err
    assert not list((tmp_path / "photos").glob("*.h5"))


def test_as_json(run, here):
    from click.testing import CliRunner

    from headclust.cli import cli

    result = CliRunner().invoke(cli, ["name", str(run), "--json"])
    printed = json.loads(result.stdout)
    assert {group["name"] for group in printed["groups"]} == set(THINGS)
    assert set(printed) == {"path", "source", "groups", "table"}
    table = CliRunner().invoke(cli, ["name", str(run)]).stdout.splitlines()
    assert table[0].split() == ["group", "images", "name", "share", "or"]
    assert len(table) == 5


def test_run_names_what_a_classifier_is_at_hand_for(run, features, capsys):
    name_step(run, load_features(features))
    assert "4 of 4 groups have a name, by the classifier of efficientnet_lite0" in capsys.readouterr().err
    first = (run / NAMES).read_bytes()
    name_step(run, load_features(features))  # once
    assert (run / NAMES).read_bytes() == first
    assert capsys.readouterr().err == ""


def test_run_makes_no_features_for_names(fit, write, blobs):
    file = write("other.h5", blobs.features)
    made = fit(file, method="kmeans", clusters=4)
    name_step(made, load_features(file))
    assert not (made / NAMES).exists()
