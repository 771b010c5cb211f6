import os
from pathlib import Path

import numpy as np
import pytest

from headclust import load_features, write_features
from headclust.errors import DataError, FileFormatError, HeadclustError
from headclust.features import Features
from headclust.runs import inputs as spaces
from headclust.runs.inputs import (
    check_alike,
    fingerprint,
    joined,
    load_alike,
    load_spaces,
    locate_features,
    newest_features,
    reload_spaces,
)


def test_spaces_of_the_same_samples(write, blobs):
    paths = [write("one.h5", blobs.features), write("two.h5", blobs.features[:, :5])]
    assert [space.feature_dim for space in load_spaces(paths)] == [12, 5]


@pytest.mark.parametrize("change", [lambda ids: ids[::-1], lambda ids: ["other", *ids[1:]]])
def test_other_samples_or_another_order(write, blobs, change):
    ids = [f"image-{row}.png" for row in range(120)]
    paths = [write("one.h5", blobs.features), write("two.h5", blobs.features, sample_ids=change(ids))]
    with pytest.raises(DataError, match=r"two\.h5 and .*one\.h5 hold different samples"):
        load_spaces(paths)


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_rows_that_are_all_the_same(write, value):
    path = write("same.h5", np.full((9, 4), value, np.float32))
    with pytest.raises(DataError, match=r"same\.h5: all 9 rows are the same: there is nothing to cluster"):
        load_spaces([path])


def test_a_single_row_is_not_called_constant(write):
    (space,) = load_spaces([write("one.h5", np.ones((1, 4), np.float32))])
    assert space.n_samples == 1


def test_nan_that_another_program_wrote(nan_file):
    # Once it was blamed on the learning rate, minutes later.
    with pytest.raises(DataError, match=r"nan\.h5: image-17\.png: its features hold NaN or infinity"):
        load_spaces([nan_file])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "features" / "deeper").mkdir(parents=True)
    return tmp_path / "features"


def aged(path, hours):
    os.utime(path, (1e9 - 3600 * hours, 1e9 - 3600 * hours))
    return path


def test_the_newest_that_is_no_test_split(write, blobs, here, capsys):
    aged(write("features/old.h5", blobs.features), 5)
    expected = aged(write("features/deeper/new.h5", blobs.features, attributes={"split": "train"}), 3)
    for hours, split in enumerate(spaces.TEST_SPLITS, start=-9):
        aged(write(f"features/{split}.h5", blobs.features, attributes={"split": split}), hours)
    (here / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (here / "gone.h5").symlink_to(here / "nowhere.h5")  # once a FileNotFoundError
    (here / "folder.h5").mkdir()
    assert newest_features().resolve() == expected.resolve()
    assert capsys.readouterr() == ("", "no features given: using the newest, features/deeper/new.h5.\n")


def test_no_features_at_all(here):
    with pytest.raises(DataError, match=r"none found under \./features: make some with headclust embed"):
        newest_features()


def test_a_fingerprint_finds_its_file_again(blob_file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stated = fingerprint(load_features(blob_file.relative_to(tmp_path)))
    assert stated["path"] == str(blob_file)
    assert (stated["n_samples"], stated["feature_dim"], stated["backbone"]) == (120, 12, "gauss")
    (space,) = reload_spaces([stated])
    assert space.sha256 == stated["sha256"]


def test_a_changed_file_is_not_taken_for_the_fitted_one(write, blobs, blob_file):
    stated = fingerprint(load_features(blob_file))
    write("blobs.h5", blobs.features * 2, overwrite=True)
    with pytest.raises(FileFormatError, match=r"blobs\.h5 has changed since the run was made"):
        reload_spaces([stated])


def test_a_file_that_is_gone(blob_file):
    stated = fingerprint(load_features(blob_file))
    blob_file.unlink()
    with pytest.raises(HeadclustError, match="no such file"):
        reload_spaces([stated])


def test_alike(write, blobs, blob_file):
    other = load_features(write("other.h5", blobs.features[:7], dataset="others", attributes={"split": "test"}))
    check_alike([fingerprint(load_features(blob_file))], [other])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.ones((3, 5), np.float32)}, "its feature_dim is 5, the fit's was 12"),
        ({"backbone": "other"}, "its backbone is other, the fit's was gauss"),
        ({"attributes": {"weights_sha256": "1f"}}, "its weights_sha256 is 1f, the fit's was None"),
        ({"attributes": {"feature_point": "CLS"}}, "its feature_point is CLS"),
        ({"attributes": {"preprocessing": {"size": 9}}}, "its preprocessing is {'size': 9}"),
    ],
)
def test_features_of_another_space(write, blobs, blob_file, changes, message):
    described = {"features": blobs.features[:3], **changes}
    other = load_features(write("other.h5", described.pop("features"), **described))
    with pytest.raises(DataError) as caught:
        check_alike([fingerprint(load_features(blob_file))], [other])
    assert message in str(caught.value)
    assert "other.h5" in str(caught.value)


def test_alike_but_not_finite(blob_file, nan_file):
    with pytest.raises(DataError, match=r"nan\.h5: image-17\.png"):
        check_alike([fingerprint(load_features(blob_file))], [load_features(nan_file)])


def test_alike_but_not_each_other(write, blobs, blob_file):
    stated = [fingerprint(load_features(blob_file))] * 2
    files = [write(f"{n}.h5", blobs.features[:9], sample_ids=[f"{n}-{row}" for row in range(9)]) for n in range(2)]
    with pytest.raises(DataError, match=r"1\.h5 and .*0\.h5 hold different samples: expected the same, in one order"):
        load_alike(stated, files)


def test_joined_spaces_are_unit_rows_side_by_side(blobs):
    parts = [Features.from_array(blobs.features * 3, labels=blobs.labels), Features.from_array(blobs.features[:, :5])]
    assert joined(parts[:1]) is parts[0]
    found = joined(parts)
    assert np.array_equal(found.labels, blobs.labels)
    unit = [one.all() / one.all().norm(dim=1, keepdim=True) for one in parts]
    np.testing.assert_allclose(found.all() @ found.all().T, (unit[0] @ unit[0].T + unit[1] @ unit[1].T) / 2, atol=1e-5)


def test_another_number_of_spaces(blob_file):
    space = load_features(blob_file)
    with pytest.raises(DataError, match="2 feature files given: expected 1"):
        check_alike([fingerprint(space)], [space, space])


def test_features_that_moved_with_the_run_are_found_beside_it(tmp_path, monkeypatch):
    def features(path, value):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_features(path, np.full((2, 3), value), sample_ids=["a", "b"], dataset="x", backbone="y", overwrite=True)
        return load_features(path).sha256

    sha256 = features(tmp_path / "groups" / "features.h5", 1)
    stated = [{"path": str(tmp_path / "groups" / "features.h5"), "sha256": sha256, "n_samples": 2}]
    (tmp_path / "groups" / "run").mkdir()
    assert locate_features(tmp_path / "groups" / "run", stated) == stated
    (tmp_path / "groups").rename(tmp_path / "moved")
    moved = [{**stated[0], "path": str(tmp_path / "moved" / "features.h5")}]
    assert locate_features(tmp_path / "moved" / "run", stated) == moved
    monkeypatch.chdir(tmp_path / "moved" / "run")
    assert locate_features(Path(), stated) == moved
    features(tmp_path / "groups" / "features.h5", 2)  # others, at the old place
    assert locate_features(Path(), stated) == moved
    features(tmp_path / "moved" / "features.h5", 3)
    assert locate_features(Path(), stated) == stated  # the checksum decides, not the name
