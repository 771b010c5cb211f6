"""The feature file: what goes in comes out, the same bytes every time, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headclust.errors import ConflictError, DataError, FileFormatError, HeadclustError
from headclust.features import (
    Features,
    load_features,
    samples_sha256,
    staging_folder,
    verify_features,
    verifying,
    write_features,
)
from headclust.features.checks import check_sample_ids
from headclust.features.format import (
    decode_attributes,
    decode_texts,
    encode_attributes,
    encode_texts,
    escape,
    unescape,
)
from headclust.features.lock import writer_lock

# Any code point, lone surrogates and NUL included: what `os.fsdecode` can give and more.
TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)
IN_TMP = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
FEATURES = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
EXAMPLE = {
    "sample_ids": [f"cat/{i}é.jpg" for i in range(7)],
    "labels": np.arange(7) % 3 - 1,
    "dataset": "pets",
    "backbone": "tiny",
    "class_names": ["cat", "dog"],
    "skipped": [("cat/broken.jpg", "empty file (0 bytes)")],
    "attributes": {"batch_size": 64, "source": "/pets\udce9", "preprocessing": {"mean": [0.5, 0.25], "crop": None}},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_features(tmp_path / "a.h5", FEATURES, **EXAMPLE)


# --- text


@given(TEXTS)
def test_escape_is_reversible_and_can_be_stored(text: str) -> None:
    escaped = escape(text)
    assert unescape(escaped) == text
    assert "\0" not in escaped
    assert escaped.encode().decode() == escaped


@given(st.binary(max_size=12))
def test_any_file_name_survives(name: bytes) -> None:
    assert os.fsencode(unescape(escape(os.fsdecode(name)))) == name


def test_escape_is_as_documented() -> None:
    assert escape("été/ç.jpg") == "été/ç.jpg"
    assert escape(os.fsdecode(b"caf\xe9\\x")) == r"caf\udce9\\x"


@pytest.mark.parametrize("text", ["\\", r"\x41", r"\u00zz", r"\u0041", r"\uDCE9"])
def test_what_escape_never_makes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="wrong escape"):
        unescape(text)


@given(st.lists(TEXTS, max_size=8))
def test_texts_round_trip(texts: list[str]) -> None:
    stored = encode_texts(texts)
    assert stored.shape == (len(texts),)
    assert decode_texts(stored) == tuple(texts)


@given(TEXTS, st.integers(-(2**63), 2**63 - 1), st.lists(TEXTS))
def test_attributes_round_trip(text: str, number: int, names: list[str]) -> None:
    attributes = {"source": text, "seed": number, "class_names": names, "versions": {"torch": text}}
    assert decode_attributes(encode_attributes(attributes)) == attributes


@pytest.mark.parametrize("value", [1.5, True, None, ["a"]])
def test_attributes_are_text_or_whole_numbers(value: object) -> None:
    with pytest.raises(TypeError, match="expected text or a whole number"):
        encode_attributes({"other": value})


# --- writing and reading


@IN_TMP
@given(ids=st.lists(TEXTS, min_size=1, max_size=6, unique=True), dtype=st.sampled_from(["float16", "float32"]))
def test_round_trip(tmp_path: Path, ids: list[str], dtype: str) -> None:
    values = np.arange(len(ids) * 3, dtype=dtype).reshape(-1, 3)
    skipped = [(sample_id + "?", "torn") for sample_id in ids]
    path = write_features(
        tmp_path / "x.h5", values, sample_ids=ids, dataset="d", backbone="b", skipped=skipped, overwrite=True
    )
    features = load_features(path)
    assert features.sample_ids == tuple(ids)
    assert features.skipped == tuple(skipped)
    assert features.labels is None
    assert features.attributes["dtype"] == dtype
    assert features.all().dtype == torch.float32
    assert np.array_equal(features.all(), values)
    assert verify_features(path) == []


def test_everything_written_is_read(path: Path) -> None:
    features = load_features(str(path))
    assert (features.path, features.n_samples, features.feature_dim) == (path, 7, 5)
    assert features.sample_ids == tuple(EXAMPLE["sample_ids"])
    assert features.labels is not None
    assert features.labels.tolist() == EXAMPLE["labels"].tolist()
    assert features.class_names == ("cat", "dog")
    assert features.skipped == tuple(EXAMPLE["skipped"])
    assert {**EXAMPLE["attributes"], "dataset": "pets", "backbone": "tiny"}.items() <= features.attributes.items()
    assert np.array_equal(features.rows(torch.tensor([6, 0, 6])), FEATURES[[6, 0, 6]])
    assert np.array_equal(features.rows(slice(1, 3)), FEATURES[1:3])
    assert np.array_equal(features.rows(np.arange(7) > 4), FEATURES[5:])


def test_rows_are_copies(path: Path) -> None:
    for features in (load_features(path), Features.from_array(FEATURES)):
        features.all().zero_()
        features.rows([0]).zero_()
        assert np.array_equal(features.all(), FEATURES)


def test_same_input_same_bytes(path: Path, tmp_path: Path) -> None:
    """h5py stores the time a dataset was made unless told not to."""
    first = path.read_bytes()
    os.utime(path, (0, 0))
    second = write_features(tmp_path / "other" / "b.h5", FEATURES, **EXAMPLE)
    assert second.read_bytes() == first
    with h5py.File(path) as file:
        assert all(h5py.h5g.get_objinfo(file[name].id).mtime == 0 for name in file)


def test_the_checksum_is_as_documented(path: Path) -> None:
    """Computed with nothing of ours, as docs/feature-file.md tells another program to."""
    sha256 = hashlib.sha256()
    with h5py.File(path) as file:
        for name in sorted(set(file.attrs) - {"sha256"}):
            value = file.attrs[name]
            text = bytes(value) if isinstance(value, bytes) else str(value).encode()
            sha256.update(f"{name} {len(text)}\n".encode() + text + b"\n")
        for name in ("features", "sample_ids", "labels", "skipped"):
            data = file[name]
            shape = "x".join(map(str, data.shape))
            sha256.update(f"/{name} {data.dtype.str} {shape}\n".encode() + data[:].tobytes())
        assert file.attrs["sha256"].decode() == sha256.hexdigest() == load_features(path).sha256


def test_class_names_may_be_longer_than_hdf5_allows_small_attributes(tmp_path: Path) -> None:
    names = [f"class number {i}" for i in range(20_000)]
    path = write_features(tmp_path / "a.h5", FEATURES, **{**EXAMPLE, "class_names": names})
    assert load_features(path).class_names == tuple(names)


def test_other_numbers_become_float32(tmp_path: Path) -> None:
    path = write_features(tmp_path / "a.h5", np.arange(6).reshape(3, 2), sample_ids="abc", dataset="d", backbone="b")
    assert load_features(path).attributes["dtype"] == "float32"


VIEWS = np.stack([FEATURES + 1, FEATURES + 2])


def test_views_are_read_and_verified(tmp_path: Path) -> None:
    path = write_features(tmp_path / "a.h5", FEATURES, **EXAMPLE, views=VIEWS)
    features = load_features(path)
    assert verify_features(path) == []
    assert (features.n_views, features.attributes["n_views"]) == (2, 2)
    assert np.array_equal(features.all(), FEATURES)
    assert np.array_equal(features.rows([5, 0], view=1), VIEWS[1, [5, 0]])
    assert np.array_equal(features.rows(np.arange(7) > 4, 0), VIEWS[0, 5:])
    with h5py.File(path) as file:
        assert np.array_equal(file["views"], VIEWS)
    for view in (-1, 2):
        with pytest.raises(DataError, match=f"view {view}: the features have 2 views: expected 0 to 1"):
            features.rows([0], view)


def test_without_views_a_file_says_nothing_of_them(path: Path) -> None:
    features = load_features(path)
    assert features.n_views == 0
    assert "n_views" not in features.attributes
    with pytest.raises(DataError, match="view 0: the features have 0 views: make the features again with --views"):
        features.rows([0], 0)


def test_a_view_that_is_not_finite_or_changed_is_found(tmp_path: Path) -> None:
    path = write_features(tmp_path / "a.h5", FEATURES, **EXAMPLE, views=VIEWS)
    with h5py.File(path) as file:
        offset = file["views"].id.get_offset() + VIEWS[0].nbytes + 3 * 5 * 4
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(np.float32(np.nan).tobytes())
    problems = verify_features(path)
    assert len(problems) == 2
    assert "/views: cat/3é.jpg: the features of its view 1 hold NaN" in problems[0]
    assert "has sha256" in problems[1]


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (FEATURES, r"views are float32 of shape \(7, 5\): expected numbers of shape \(n_views, 7, 5\)"),
        (VIEWS[:0], r"shape \(0, 7, 5\)"),
        (VIEWS[:, :6], r"shape \(2, 6, 5\)"),
        (VIEWS.astype(str), "expected numbers"),
        (np.where(np.arange(7)[:, None] == 3, np.nan, VIEWS), "cat/3é.jpg: the features of its view 0 hold NaN"),
    ],
)
def test_views_that_do_not_go_with_the_features(tmp_path: Path, views: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_features(tmp_path / "a.h5", FEATURES, **EXAMPLE, views=views)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_ids": ["a"] * 7}, "'a' appears twice"),
        ({"sample_ids": ["a"]}, "7 rows of features but 1 sample ids"),
        ({"labels": [0]}, "7 rows of features but 1 labels"),
        ({"labels": [2] * 7}, r"labels run from 2 to 2: expected -1 \(unknown\) to 1"),
        ({"labels": [-2] * 7, "class_names": []}, "labels run from -2"),
        ({"labels": [0.5] * 7}, "expected whole numbers"),
        ({"features": np.zeros((0, 5))}, "shape \\(0, 5\\): expected numbers"),
        ({"features": np.full((7, 5), "a")}, "expected numbers"),
        ({"features": np.where(np.arange(7)[:, None] == 3, np.nan, FEATURES)}, "cat/3é.jpg: its features hold NaN"),
        ({"features": np.full((7, 5), 1e300)}, r"stored as float32, which ends at 3.4e\+38: found 1e\+300"),
    ],
)
def test_what_does_not_fit_together_is_not_written(tmp_path: Path, change: dict, message: str) -> None:
    arguments = {"features": FEATURES, **EXAMPLE, **change}
    with pytest.raises(DataError, match=message):
        write_features(tmp_path / "a.h5", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_no_samples() -> None:
    with pytest.raises(DataError, match="no samples"):
        check_sample_ids([])


def test_an_existing_file_is_kept(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ConflictError, match=r"a\.h5 exists: .*--overwrite"):
        write_features(path, FEATURES + 1, **EXAMPLE)
    assert path.read_bytes() == before
    write_features(path, FEATURES + 1, **EXAMPLE, overwrite=True)
    assert path.read_bytes() != before
    assert list(path.parent.iterdir()) == [path]


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with writer_lock(staging_folder(tmp_path / "a.h5")), pytest.raises(ConflictError, match="is being written by"):
        write_features(tmp_path / "a.h5", FEATURES, **EXAMPLE)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 itself crashes the process when a write fails while it closes a file."""
    room = 600

    def pwrite(descriptor: int, content: memoryview, offset: int, real=os.pwrite) -> int:
        if offset + len(content) > room:
            raise OSError(28, "No space left on device")
        return real(descriptor, content, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(
        HeadclustError, match=r"cannot write .*a\.h5: No space left on device: free some space"
    ) as caught:
        write_features(tmp_path / "a.h5", FEATURES, **EXAMPLE)
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HeadclustError, match=r"cannot write .*: Not a directory: choose another place"):
        write_features(tmp_path / "file" / "a.h5", FEATURES, **EXAMPLE)


def test_what_the_disk_does_not_keep_never_gets_the_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(descriptor: int, content: memoryview, offset: int, real=os.pwrite) -> int:
        return real(descriptor, bytes(content).replace(FEATURES.tobytes()[:8], b"\0" * 8), offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(HeadclustError, match="returns other bytes than were written"):
        write_features(tmp_path / "a.h5", FEATURES, **EXAMPLE)
    assert list(tmp_path.iterdir()) == []


# --- in memory


def test_from_array() -> None:
    features = Features.from_array(FEATURES, labels=[0] * 7)
    assert (features.path, features.sample_ids[6], features.n_samples) == (None, "6", 7)
    assert np.array_equal(features.rows([2, 1]), FEATURES[[2, 1]])
    assert features.sha256 == Features.from_array(FEATURES.copy(), labels=[0] * 7).sha256
    others = [Features.from_array(FEATURES), Features.from_array(FEATURES + 1, labels=[0] * 7)]
    assert features.sha256 not in {other.sha256 for other in others}
    with pytest.raises(DataError, match="1: its features hold NaN"):
        Features.from_array([[1.0], [np.nan]])


def test_an_array_that_changes_later_leaves_its_features_as_they_were() -> None:
    array = FEATURES.copy()
    features = Features.from_array(array)
    array[:] = 0
    assert np.array_equal(features.all(), FEATURES)


def test_samples_sha256_sees_every_part() -> None:
    stamps, labels = [(1, 2), (3, 4)], np.array([0, 1])
    hashes = {
        samples_sha256(["a", "b"], stamps, labels),
        samples_sha256(["b", "a"], stamps, labels),
        samples_sha256(["a", "b"], [(1, 2), (3, 5)], labels),
        samples_sha256(["a", "b"], stamps, labels[::-1]),
        samples_sha256(["a", "b"], stamps, None),
    }
    assert len(hashes) == 5


# --- what is not a feature file


def test_missing_and_not_a_file(tmp_path: Path) -> None:
    for read in (load_features, verify_features):
        with pytest.raises(DataError, match="no such file: make it with"):
            read(tmp_path / "a.h5")
    with pytest.raises(FileFormatError, match="not a file"):
        load_features(tmp_path)


SIGNATURE = b"\x89HDF\r\n\x1a\n"


@pytest.mark.parametrize(
    "content", [b"", SIGNATURE, b"PK\x03\x04 a zip", b"\x89PNG\r\n\x1a\n an image", SIGNATURE + bytes(200)]
)
def test_foreign_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as caught:
        load_features(path)
    assert len(str(caught.value).splitlines()) == 1
    # Only what begins as HDF5 does is opened by its library.
    assert ("this is not HDF5" in str(caught.value)) == (not content.startswith(SIGNATURE))
    assert verify_features(path) == [str(caught.value)]


def _external_link(file: h5py.File) -> None:
    del file["features"]
    file["features"] = h5py.ExternalLink("/etc/passwd", "/features")


def _soft_link(file: h5py.File) -> None:
    file["labels2"] = h5py.SoftLink("/labels")


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((7, 5), "<f4")
    layout[:] = h5py.VirtualSource("/other.h5", "features", (7, 5))
    del file["features"]
    file.create_virtual_dataset("features", layout)


def _in_another_file(file: h5py.File) -> None:
    del file["features"]
    file.create_dataset("features", (7, 5), "<f4", external=[("/etc/passwd", 0, 140)])


def _replace(name: str, **options: object):
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return change


def _attribute(name: str, value: object):
    def change(file: h5py.File) -> None:
        file.attrs[name] = value

    return change


HUGE = {"shape": (1 << 40, 1 << 10), "dtype": "<f4"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external_link, "no links"),
        (_soft_link, "holds /labels2"),
        (_virtual, "one contiguous block"),
        (_in_another_file, "one contiguous block"),
        (_replace("features", data=FEATURES, compression="gzip"), "one contiguous block"),
        (_replace("features", data=FEATURES, chunks=(2, 5)), "one contiguous block"),
        (_replace("features", **HUGE), "not in the file"),  # claims petabytes, holds nothing
        (_replace("features", data=FEATURES.astype("f8")), "expected float16 or float32"),
        (_replace("features", data=FEATURES.astype(">f4")), "little-endian"),
        (_replace("features", data=FEATURES[0]), "expected \\(n_samples, feature_dim\\)"),
        (_replace("features", data=FEATURES[:3]), "expected \\(3,\\), to match /features"),
        (_replace("features", data=FEATURES.astype("f2")), "features are float16: its attribute dtype is float32"),
        (_attribute("n_views", 2), "its attribute n_views is 2: /views holds 0"),
        (lambda file: file.create_dataset("views", data=VIEWS[:0]), "/views"),
        (lambda file: file.create_dataset("views", data=VIEWS[:, :3]), "expected \\(2, 7, 5\\), to match /features"),
        (_replace("sample_ids", data=EXAMPLE["sample_ids"]), "expected fixed-length text"),
        (_replace("sample_ids", data=np.array([b"\xff"] * 7)), "cannot be read as a feature file"),
        (_replace("labels", data=np.zeros(7, "i4")), "expected int64"),
        (_replace("labels", data=np.full(7, 2)), "labels run from 2 to 2"),
        (_replace("skipped", data=np.array([b"a"])), "expected \\(1, 2\\)"),
        (lambda file: file.pop("sample_ids"), "no /sample_ids"),
        (lambda file: file.create_group("extra"), "holds /extra"),
        (_attribute("format", np.bytes_("other")), "format is 'other'"),
        (_attribute("format_version", 2), "version is 2: expected 1"),
        (_attribute("dataset", "variable length"), "expected fixed-length text"),
        (_attribute("dataset", 3), "'dataset' is 3: expected str"),
        (_attribute("dataset", [1, 2]), "expected fixed-length text or a whole number"),
        (_attribute("class_names", np.bytes_("[1]")), "list of names"),
        (_attribute("class_names", np.bytes_("[")), "cannot be read as a feature file"),
        (_attribute("class_names", np.bytes_("[" * 100_000)), "cannot be read as a feature file"),
        (_attribute("n_listed", 9), "n_listed is 9: expected 7 rows and 1 skipped"),
    ],
)
def test_changed_structure_is_refused(path: Path, change, message: str) -> None:
    with h5py.File(path, "r+", libver="latest") as file:
        change(file)
    with pytest.raises(FileFormatError, match=message) as caught:
        load_features(path).all()
    assert len(str(caught.value).splitlines()) == 1
    assert verify_features(path)


def test_verify_names_what_does_not_hold(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["features"][4, 2] = np.inf
        file["sample_ids"][1] = file["sample_ids"][0]
    problems = verify_features(path)
    assert len(problems) == 3
    assert "'cat/0é.jpg' appears twice" in problems[0]
    assert "/features: cat/4é.jpg: its features hold NaN or infinity" in problems[1]
    assert "sha256" in problems[2]


@pytest.mark.parametrize("row", [0, 3, 6])
def test_every_row_is_verified_whatever_fits_into_a_slab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: int
) -> None:
    monkeypatch.setattr(verifying, "_SLAB_BYTES", 2 * FEATURES[0].nbytes)  # slabs of 2, 2, 2 and 1 rows
    path = write_features(tmp_path / "a.h5", FEATURES, **EXAMPLE, views=VIEWS)
    assert verify_features(path) == []
    with h5py.File(path, "r+") as file:
        file["features"][row, 2] = np.inf
        file["views"][1, row, 0] = np.nan
    problems = verify_features(path)
    assert len(problems) == 3
    assert f"/features: {EXAMPLE['sample_ids'][row]}: its features hold NaN or infinity" in problems[0]
    assert f"/views: {EXAMPLE['sample_ids'][row]}: the features of its view 1 hold NaN or infinity" in problems[1]


def test_a_changed_attribute_is_noticed(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["batch_size"] = 65
    assert "sha256" in verify_features(path)[0]


def test_a_file_replaced_after_opening_is_noticed(path: Path) -> None:
    features = load_features(path)
    write_features(path, FEATURES + 1, **EXAMPLE, overwrite=True)
    with pytest.raises(FileFormatError, match="changed since it was opened"):
        features.rows([0])


@IN_TMP
@given(data=st.data())
def test_damage_is_noticed_or_harmless(path: Path, data: st.DataObject) -> None:
    """Never a crash, never other content; a flip in the padding between HDF5's structures changes nothing."""
    good = path.read_bytes()
    content = load_features(path)
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    other = path.with_name("damaged.h5")
    other.write_bytes(damaged)
    if not verify_features(other):
        read = load_features(other)
        assert np.array_equal(read.all(), content.all())
        assert (read.sample_ids, read.skipped) == (content.sample_ids, content.skipped)
        assert json.dumps(read.attributes) == json.dumps(content.attributes)


@IN_TMP
@given(data=st.data())
def test_truncation_is_always_noticed(path: Path, data: st.DataObject) -> None:
    good = path.read_bytes()
    other = path.with_name("short.h5")
    other.write_bytes(good[: data.draw(st.integers(0, len(good) - 1))])
    with pytest.raises(FileFormatError):
        load_features(other)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"n_views": 7}, "'n_views' is set by the feature file itself"),  # once the disk was blamed
        ({"n_listed": 3}, "'n_listed' is set by the feature file itself"),
        ({"sha256": "x"}, "'sha256' is set by the feature file itself"),
        ({"seed": 2**63}, "'seed' is 9223372036854775808: expected a number of at most 64 bits"),
        ({"": 1}, "'': expected a name"),
        ({1: 1}, "1: expected a name"),
        ({"a\0b": 1}, "expected a name"),
        ({"x": True}, "'x' is bool: expected text or a whole number"),
        ({"x": 1.5}, "'x' is float: expected text or a whole number"),
    ],
)
def test_attributes_that_no_file_can_hold(tmp_path: Path, attributes: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_features(tmp_path / "a.h5", FEATURES, **{**EXAMPLE, "attributes": attributes})
    assert list(tmp_path.iterdir()) == []
