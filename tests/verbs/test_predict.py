import importlib
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import as_version_3, make_blobs

from headclust import load_features, runs, verbs
from headclust.embedding import EmbedSettings, alike
from headclust.errors import ConflictError, DataError, SettingError
from headclust.methods import METHODS
from headclust.runs import scored_fit as trials
from verbs.conftest import rows

MODULE = importlib.import_module("headclust.verbs.predict")  # the package's attribute of that name is the function


@pytest.mark.parametrize("method", METHODS)
def test_predict_says_what_the_fit_said(fit, blob_file, here, method):
    run = fit(blob_file, method=method)
    csv_file = verbs.predict(run, features=[blob_file], output=here / "p.csv")
    without_novelty = [line.rpartition(b",")[0] for line in csv_file.read_bytes().splitlines()]
    assert without_novelty == (run / "assignments.csv").read_bytes().splitlines()
    # Each of the fitted samples is measured without itself, so their shares are spread over all there are.
    shares = np.sort([float(row["novelty"]) for row in rows(csv_file)])
    np.testing.assert_allclose(shares, np.arange(120) / 121, atol=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_unlike_the_fitted_samples(fit, blob_file, write, blobs, method):
    run = fit(blob_file, method=method)
    strange = np.random.default_rng(3).normal(size=(200, 12))
    told = rows(verbs.predict(run, features=[write("other.h5", [*make_blobs(200, seed=1).features, *strange])]))
    novelty = np.array([float(row["novelty"]) for row in told])
    assert (novelty[:200] >= 0.9).mean() < 0.2  # a tenth of the fitted ones
    assert (novelty[200:] >= 0.9).mean() > 0.7


@pytest.mark.parametrize("method", ["turtle", "consensus", "kmeans"])
def test_several_spaces(fit, write, blobs, capsys, method):
    generator = np.random.default_rng(0)
    second = (blobs.features @ generator.normal(size=(12, 7))).astype(np.float32)
    files = [write("a.h5", blobs.features), write("b.h5", second, backbone="other")]
    run = fit(*files, method=method, clusters=4)
    strange = np.vstack([generator.normal(size=(40, 7)), second[40:]]).astype(np.float32)
    pair = [write("c.h5", blobs.features), write("d.h5", strange, backbone="other")]
    novelty = np.array([float(row["novelty"]) for row in rows(verbs.predict(run, features=pair))])
    assert novelty[:40].mean() > 0.7 > 0.4 > novelty[40:].mean()
    with pytest.raises(DataError, match="hold different samples: expected the same"):
        verbs.predict(run, features=[pair[0], write("e.h5", second[:50], backbone="other")])
    other = write("f.h5", second, backbone="other", sample_ids=list(map(str, range(120))))
    with pytest.raises(DataError, match="hold different samples: expected the same"):
        verbs.evaluate(run, features=[pair[0], other])


def test_a_run_without_kept_samples_predicts_all_the_same(fit, blob_file, test_file, capsys):
    # As older versions made them.
    run = as_version_3(fit(blob_file, method="kmeans"))
    (run / "seen.safetensors").unlink()
    assert list(rows(verbs.predict(run, features=[test_file]))[0]) == ["sample_id", "cluster", "confidence"]
    told = capsys.readouterr().err
    assert "stores no fitted samples" in told
    assert "60 images: least sure is t" in told


def test_the_line_after_predict(fit, write, blobs, blob_file, test_file, capsys):
    csv_file = verbs.predict(fit(blob_file), features=[test_file])
    told, found = capsys.readouterr().err.splitlines()[-1], rows(csv_file)
    least = min(found, key=lambda row: float(row["confidence"]))
    unlike = sum(float(row["novelty"]) >= 0.99 for row in found)
    assert told == (
        f"60 images: {unlike} unlike anything seen (novelty of 0.99 or more, as 1 % of the fitted ones have); "
        f"least sure is {least['sample_id']} ({100 * float(least['confidence']):.1f} % for cluster {least['cluster']})."
    )
    few = fit(write("few.h5", blobs.features[:50]), clusters=4, output="few")
    verbs.predict(few, features=[write("one.h5", blobs.features[:1], sample_ids=["\x1b[2J=1+1"])])
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("\\x1b[2J=1+1: cluster ")
    assert told.endswith("%; 50 fitted ones are too few to tell which are unlike them.")


def test_the_line_about_one_image(fit, write, blobs, blob_file, capsys):
    one = write("one.h5", blobs.features[:1], sample_ids=["cat.jpg"])
    (row,) = rows(verbs.predict(fit(blob_file, method="kmeans"), features=[one]))
    confidence, novelty = 100 * float(row["confidence"]), float(row["novelty"])
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"cat.jpg: cluster {row['cluster']}, confidence {confidence:.1f} %, novelty {novelty:.2f}."
    )


def test_predict_never_replaces_the_assignments_of_a_run(fit, blob_file, test_file, here, monkeypatch):
    # `-o RUN/assignments.csv` once put other images in the place of the fitted ones, without a word.
    run, other = fit(blob_file), fit(blob_file, output="other")
    before = (run / "assignments.csv").read_bytes()
    (here / "link").symlink_to(run)
    (here / "p.csv").symlink_to(run / "assignments.csv")
    monkeypatch.setattr(MODULE, "assign", None)  # told before anything is computed
    places = [folder / "assignments.csv" for folder in (run, other, here / "link", run / "predicted" / "..")]
    (run / "predicted").mkdir()
    for place in (*places, here / "p.csv"):
        with pytest.raises(ConflictError, match=r"is assignments.csv of a run, which would be lost: choose another"):
            verbs.predict(run, features=[test_file], output=place)
    assert (run / "assignments.csv").read_bytes() == before
    monkeypatch.undo()
    assert len(rows(verbs.predict(run, features=[test_file], output=here / "elsewhere" / "assignments.csv"))) == 60


def test_predict_other_samples(fit, blob_file, test_file):
    run = fit(blob_file)
    csv_file = verbs.predict(run, features=[test_file])
    assert csv_file == run / "predicted" / "blobs-test-gauss.csv"
    assigned = trials.assign(runs.read_run(run).model, [load_features(test_file)])
    assert [row["sample_id"] for row in rows(csv_file)] == [f"t{i}" for i in range(60)]
    assert [int(row["cluster"]) for row in rows(csv_file)] == assigned.clusters.tolist()


def test_predict_wants_features_or_images(fit, blob_file):
    run = fit(blob_file, method="kmeans")
    for given in ({}, {"features": [blob_file], "data": "digits"}):
        with pytest.raises(SettingError, match="either feature files"):
            verbs.predict(run, **given)


MADE_BY = {"weights_sha256": "5a", "feature_point": "pool"}


def some_backbone(preprocessing, feature_dim=12, **changes):
    record = SimpleNamespace(record=preprocessing)
    return SimpleNamespace(name="gauss", feature_dim=feature_dim, preprocessing=record, **{**MADE_BY, **changes})


@pytest.mark.parametrize(
    ("own_size", "image_size", "preset"),
    [([224, 224], 96, None), ([96, 96], None, None), ([48, 48], None, "temi-paper")],
)
def test_images_are_embedded_as_the_runs_were(fit, write, blobs, monkeypatch, own_size, image_size, preset):
    preprocessing = {"input_size": [96, 96], "own_size": own_size, **({"preset": preset} if preset else {})}
    described = {"attributes": {"preprocessing": preprocessing, "batch_size": 17, "precision": "float32", **MADE_BY}}
    seen = {}
    backbone = some_backbone(preprocessing)

    def load(name, **options):
        seen.update(options, name=name)
        return backbone

    def embed(images, backbone, path, settings):
        seen.update(settings=settings, images=images, backbone=backbone, path=path)
        return write("new.h5", blobs.features[:5], **described)

    run = fit(write("own.h5", blobs.features, blobs.labels, **described))
    photos = SimpleNamespace(dataset="my photos", split="val", source="/my photos")
    monkeypatch.setattr(alike, "load_backbone", load)
    monkeypatch.setattr(MODULE, "embed_images", embed)
    monkeypatch.setattr(MODULE, "open_source", lambda *_, **__: photos)
    assert len(rows(verbs.predict(run, data="photos", split="val", offline=True, on_error="skip"))) == 5
    assert seen == {
        "name": "gauss",
        "weights": None,
        "image_size": image_size,
        "offline": True,
        "preset": preset,
        "dataset": "blobs",
        "images": photos,
        "backbone": backbone,
        "path": run / "predicted" / "my-photos-val.h5",
        "settings": EmbedSettings(batch_size=17, dtype="float32", precision="float32", on_error="skip"),
    }


def test_another_source_of_the_same_name_replaces_nothing(fit, write, blobs, monkeypatch):
    # Once the second replaced the first without a word.
    preprocessing = {"input_size": [8, 8], "own_size": [8, 8]}
    described = {"attributes": {"preprocessing": preprocessing, "batch_size": 17, **MADE_BY}}
    run = fit(write("own.h5", blobs.features, blobs.labels, **described))
    monkeypatch.setattr(alike, "load_backbone", lambda *_, **__: some_backbone(preprocessing))

    def embed(images, backbone, path, settings):
        if path.exists() and not settings.overwrite:
            raise ConflictError("made with other settings")
        attributes = {**described["attributes"], "source": images.source, **images.record}
        return write(path, blobs.features[:5], attributes=attributes, overwrite=settings.overwrite)

    def predict(source, **record):
        photos = SimpleNamespace(dataset="photos", split="all", source=source, record=record)
        monkeypatch.setattr(MODULE, "open_source", lambda *_, **__: photos)
        return verbs.predict(run, data=source).name

    (run / "predicted").mkdir()
    monkeypatch.setattr(MODULE, "embed_images", embed)
    assert [predict(source) for source in ("/a/photos", "/b/photos", "/a/photos", "/b/photos", "/c/photos")] == [
        "photos-all.csv",
        "photos-all-2.csv",
        "photos-all.csv",
        "photos-all-2.csv",
        "photos-all-3.csv",
    ]
    assert [predict("/a/photos", exclude=["x"]), predict("/a/photos")] == ["photos-all-4.csv", "photos-all.csv"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weights_sha256": "00"}, "weights_sha256 00, the fit's was 5a"),
        ({"feature_point": "norm"}, "feature_point norm, the fit's was pool"),
        ({"feature_dim": 13}, "feature_dim 13, the fit's was 12"),
        ({"preprocessing": SimpleNamespace(record={"input_size": [9, 9]})}, "preprocessing {'input_size': "),
    ],
)
def test_another_model_is_seen_before_time_is_spent(fit, write, blobs, monkeypatch, change, told):
    preprocessing = {"input_size": [8, 8], "own_size": [8, 8]}
    described = {"attributes": {"preprocessing": preprocessing, "batch_size": 17, **MADE_BY}}
    run = fit(write("own.h5", blobs.features, blobs.labels, **described), method="kmeans")
    other = SimpleNamespace(**{**vars(some_backbone(preprocessing)), **change})
    photos = SimpleNamespace(dataset="photos", split="all", source="/photos")
    monkeypatch.setattr(MODULE, "open_source", lambda *_, **__: photos)
    monkeypatch.setattr(alike, "load_backbone", lambda *_, **__: other)
    monkeypatch.setattr(MODULE, "embed_images", lambda *_, **__: pytest.fail("embedded all the same"))
    with pytest.raises(DataError) as caught:
        verbs.predict(run, data="photos")
    assert told in str(caught.value)
    assert not (run / "predicted").exists()


def test_images_are_embedded_once_a_space(fit, write, blobs, monkeypatch):
    # Once the second space's features replaced the first's.
    preprocessing = {"input_size": [8, 8], "own_size": [8, 8]}
    described = {"attributes": {"preprocessing": preprocessing, "batch_size": 17, **MADE_BY}}
    spaces = {"gauss": blobs.features, "other": blobs.features[:, :7]}
    files = [write(f"{name}.h5", rows, backbone=name, **described) for name, rows in spaces.items()]
    run = fit(*files, method="turtle", clusters=4)
    photos = SimpleNamespace(dataset="photos", split="all", source="/photos")

    def load(name, **options):
        return SimpleNamespace(**{**vars(some_backbone(preprocessing, spaces[name].shape[1])), "name": name})

    def embed(images, backbone, path, settings):
        attributes = {**described["attributes"], "source": images.source}
        return write(path, spaces[backbone.name][:5], backbone=backbone.name, attributes=attributes)

    monkeypatch.setattr(MODULE, "open_source", lambda *_, **__: photos)
    monkeypatch.setattr(alike, "load_backbone", load)
    monkeypatch.setattr(MODULE, "embed_images", embed)
    csv_file = verbs.predict(run, data="photos")
    assert {file.name for file in (run / "predicted").iterdir()} == {
        "photos-all.csv",
        "photos-all.h5",
        "photos-all-space2.h5",
    }
    fitted = rows(run / "assignments.csv")[:5]
    assert [row["cluster"] for row in rows(csv_file)] == [row["cluster"] for row in fitted]


def test_images_for_a_run_on_imported_features(fit, blob_file):
    with pytest.raises(SettingError, match="fitted on imported features"):
        verbs.predict(fit(blob_file, method="kmeans"), data="digits")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.ones((3, 5), np.float32)}, "its feature_dim is 5, the fit's was 12"),
        ({"backbone": "other"}, "its backbone is other, the fit's was gauss"),
        ({"weights_sha256": "00"}, "its weights_sha256 is 00, the fit's was 5a"),
        ({"weights_sha256": None}, "its weights_sha256 is None, the fit's was 5a"),
        ({"feature_point": "norm"}, "its feature_point is norm, the fit's was pool"),
        ({"preprocessing": {"crop": 0.9}}, "its preprocessing is {'crop': 0.9}, the fit's was {'crop': 0.875}"),
    ],
)
def test_features_of_another_space(fit, write, blobs, change, message):
    described = {"features": blobs.features[:3], "backbone": "gauss", **MADE_BY, "preprocessing": {"crop": 0.875}}
    described |= change
    attributes = {name: described[name] for name in (*MADE_BY, "preprocessing") if described[name] is not None}
    other = write("other.h5", described["features"], backbone=described["backbone"], attributes=attributes)
    own = {"attributes": {**MADE_BY, "preprocessing": {"crop": 0.875}}}
    blob_file = write("own.h5", blobs.features, blobs.labels, **own)
    run = fit(blob_file, method="kmeans")
    for ask in (
        lambda: verbs.predict(run, features=[other]),
        lambda: verbs.evaluate(run, features=[other]),
        lambda: fit(blob_file, method="kmeans", evaluate_on=[other], output="second"),
    ):
        with pytest.raises(DataError, match=message):
            ask()
    assert not run.with_name("second").exists()


def test_nan_is_refused_everywhere(fit, blob_file, nan_file):
    run = fit(blob_file, method="kmeans")
    for ask in (
        lambda: fit(nan_file, output="second"),
        lambda: verbs.predict(run, features=[nan_file]),
        lambda: verbs.evaluate(run, features=[nan_file]),
    ):
        with pytest.raises(DataError, match=r"nan\.h5: image-17\.png: its features hold NaN"):
            ask()
    assert not run.with_name("second").exists()
