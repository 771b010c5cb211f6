"""Views: each belongs to its image and its stream, and plain features do not notice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gray import (
    FakeBackbone,
    FakeImages,
    FakeModel,
    Marked,
    N,
    embed,
    mark,
    shared,
    views_drawn,
)
from PIL import Image

from headclust.errors import ConflictError, DataError
from headclust.features import load_features, verify_features
from headclust.images.augment import AUGMENTATIONS, Target


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AUGMENTATIONS, "standard", Marked())


@pytest.mark.usefixtures("marked")
def test_every_view_is_its_samples_and_plain_features_are_as_without(tmp_path: Path) -> None:
    plain = load_features(embed(tmp_path / "plain.h5"))
    backbone, options = FakeBackbone(), {"n_views": 3, "augmentation": "standard", "seed": 4}
    path = embed(tmp_path / "a.h5", FakeImages(bad=(2, 90)), backbone, on_error="skip", **options)
    kept = [row for row in range(N) if row not in (2, 90)]
    features = load_features(path)
    assert torch.equal(features.all(), plain.rows(kept))
    for view in range(3):
        assert torch.equal(features.rows(slice(None), view)[:, :2], features.all()[:, :2])
        assert views_drawn(path, view) == [mark(4, row, view) for row in kept]  # numbered as listed
    assert set(backbone.model.batches) == {(8, 3, 8, 8)}
    assert (features.n_views, features.attributes["augmentation"]) == (3, "standard")
    assert verify_features(path) == []


def test_an_image_is_read_once_for_all_its_views(tmp_path: Path) -> None:
    read = shared(N)

    def count(row: int) -> None:
        read[row] += 1

    embed(tmp_path / "a.h5", FakeImages(before=count), n_views=2, augmentation="strong")
    assert (read == 1).all()


def test_views_are_another_plan_and_recorded(tmp_path: Path) -> None:
    path = embed(tmp_path / "a.h5", n_views=2)
    attributes = load_features(path).attributes
    assert (attributes["n_views"], attributes["augmentation"]) == (2, "standard")
    assert attributes["augmentation_settings"]["scale"] == [0.2, 1.0]
    for change, named in (
        ({"n_views": 3}, "n_views: 2 there, 3 here"),
        ({"n_views": 2, "augmentation": "strong"}, "augmentation: standard there, strong here"),
        ({}, "augmentation: standard there, nothing here"),
    ):
        with pytest.raises(ConflictError, match=named):
            embed(path, **change)


class Infinite(FakeModel):
    """What a view of image 9 does to a model under autocast."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        features = super().forward(batch)
        features[(features[:, 0] == 9) & (features[:, 2] != 7)] = torch.inf
        return features


@pytest.mark.usefixtures("marked")
def test_a_view_that_is_not_finite_names_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"n_views": 1, "augmentation": "standard"}
    with pytest.raises(DataError, match=r"^9\.png: the features of its view 0 hold NaN or infinity: .*weights\.$"):
        embed(tmp_path / "a.h5", backbone=FakeBackbone(Infinite()), **options)
    monkeypatch.setattr("headclust.embedding.parts.resolve_precision", lambda *_: "float16 autocast")
    with pytest.raises(DataError, match=r"weights, or use --precision float32\.$"):
        embed(tmp_path / "b.h5", backbone=FakeBackbone(Infinite()), **options)


class Large(FakeModel):
    """Only what comes second for each image, its view, is large: it is not of the color every image has."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        features = super().forward(batch)
        features[features[:, 2] != 7] *= 1e5
        return features


@pytest.mark.usefixtures("marked")
def test_a_view_that_overflows_float16_is_named(tmp_path: Path) -> None:
    options = {"n_views": 2, "augmentation": "standard", "seed": 1}
    with pytest.raises(DataError, match=r"^0\.png: a feature of \S+ in its view 0 does not fit float16 .*float32\.$"):
        embed(tmp_path / "a.h5", backbone=FakeBackbone(Large()), dtype="float16", **options)
    assert not (tmp_path / "a.h5").exists()
    embed(tmp_path / "b.h5", dtype="float16", **options)


class Wide(FakeImages):
    """Larger than what the model takes, and not of its shape."""

    def read(self, row: int) -> Image.Image:
        return super().read(row).resize((40, 20))


def _with_size(image: Image.Image, target: Target, generator: np.random.Generator) -> Image.Image:
    view = Image.new("RGB", target.size)
    view.putpixel((0, 0), (*image.size, 0))
    return view


def test_views_are_made_from_the_whole_image_not_from_the_models_crop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AUGMENTATIONS["standard"].__class__, "__call__", lambda self, *given: _with_size(*given))
    features = load_features(embed(tmp_path / "a.h5", Wide(20), n_views=1))
    assert features.rows(slice(None), 0)[:, :2].round().int().unique(dim=0).tolist() == [[40, 20]]
