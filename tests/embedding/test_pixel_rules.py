"""Rows of a file are read by one version of the rules of pixels, and one limit of the size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gray import FakeImages, embed
from PIL import Image

from headclust import verbs
from headclust.embedding import EmbedSettings
from headclust.errors import ConflictError, DataError, SettingError
from headclust.features import load_features
from headclust.images.image_file import PIXEL_RULES
from headclust.runs.inputs import check_alike, fingerprint

SMALL = EmbedSettings(batch_size=2, device="cpu")


def test_the_version_is_recorded(tmp_path: Path) -> None:
    assert load_features(embed(tmp_path / "a.h5")).attributes["pixel_rules"] == PIXEL_RULES


def test_work_by_other_rules_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="torn"):
        embed(tmp_path / "a.h5", images=FakeImages(bad=(20,)))
    monkeypatch.setattr("headclust.embedding.parts.PIXEL_RULES", PIXEL_RULES + 1)
    with pytest.raises(ConflictError, match=f"pixel_rules: {PIXEL_RULES} there, {PIXEL_RULES + 1} here"):
        embed(tmp_path / "a.h5")
    embed(tmp_path / "a.h5", overwrite=True)
    monkeypatch.setattr("headclust.embedding.parts.PIXEL_RULES", PIXEL_RULES)
    with pytest.raises(ConflictError, match="pixel_rules"):
        embed(tmp_path / "a.h5")


def test_a_fit_by_older_rules_takes_other_features_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = load_features(embed(tmp_path / "a.h5"))
    record = fingerprint(features)
    assert record["pixel_rules"] == PIXEL_RULES
    capsys.readouterr()
    check_alike([record], [features])
    assert capsys.readouterr().err == ""
    check_alike([{name: value for name, value in record.items() if name != "pixel_rules"}], [features])
    assert f"its images were read by version {PIXEL_RULES} of the rules" in capsys.readouterr().err


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """Two images, of 64 and 4,096 pixels."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for side in (8, 64):
        Image.new("RGB", (side, side), "red").save(folder / f"{side}.png")
    return str(folder)


def test_the_limit_of_pixels(tmp_path: Path, photos: str) -> None:
    def embedded(max_pixels: int | None, **changes: object) -> Path:
        settings = replace(SMALL, max_pixels=max_pixels, **changes)  # type: ignore[arg-type]
        path = verbs.embed("efficientnet_lite0", photos, image_size=32, output=tmp_path / "a.h5", settings=settings)
        assert isinstance(path, Path)
        return path

    with pytest.raises(DataError, match=r"64\.png: 64 x 64 pixels: more than the 4095 allowed; .*--max-pixels"):
        embedded(4095)
    features = load_features(embedded(4095, on_error="skip"))
    assert [name for name, _ in features.skipped] == ["64.png"]
    # The other limit is another plan: what was too large is not left out for good.
    with pytest.raises(ConflictError, match="max_pixels: 4095 there, 4096 here"):
        embedded(4096)
    features = load_features(embedded(4096, overwrite=True))
    assert (features.n_samples, features.attributes["max_pixels"]) == (2, 4096)
    assert "max_pixels" not in load_features(embedded(None, overwrite=True)).attributes


@pytest.mark.parametrize("max_pixels", [0, -1, 2**31])
def test_limits_that_are_not_possible(max_pixels: int) -> None:
    with pytest.raises(SettingError, match="max-pixels"):
        EmbedSettings(max_pixels=max_pixels)
