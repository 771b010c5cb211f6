"""Views: the operations against torchvision's, the draws against what is documented, and nothing else's randomness."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F

from headclust.errors import SettingError
from headclust.images.augment import (
    AUGMENTATIONS,
    OPERATIONS,
    Standard,
    Strong,
    Target,
    plan_views,
    random_crop,
    shift_hue,
)

TARGET = Target((48, 64), Image.Resampling.BICUBIC, (124, 116, 104))
PREPROCESSING = SimpleNamespace(size=(48, 64), record={"interpolation": "bilinear", "mean": [0.5, 0.25, 0.0]})


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(load_sample_images().images[0]).resize((160, 107))


def _same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and np.array_equal(np.asarray(one), np.asarray(other))


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- streams


def test_a_view_is_given_by_seed_row_and_number_alone(photo: Image.Image) -> None:
    views = plan_views(PREPROCESSING, 3, "standard", seed=5)
    first = views.pixels(photo, 7, 1)
    views.pixels(photo, 3, 0)
    assert np.array_equal(views.pixels(photo, 7, 1), first)
    others = [(5, 7, 0), (5, 7, 2), (5, 1, 7), (6, 7, 1)]
    for seed, row, view in others:
        assert not np.array_equal(replace(views, seed=seed).pixels(photo, row, view), first)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_no_other_generator_is_touched(photo: Image.Image, name: str) -> None:
    def states() -> list[object]:
        return [random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()]  # noqa: NPY002

    before = states()
    plan_views(PREPROCESSING, 1, name, seed=0).pixels(photo, 0, 0)
    assert states() == before


def test_what_is_recorded_is_plain_json_and_nothing_without_views() -> None:
    record = plan_views(PREPROCESSING, 2, "strong", seed=0).record()
    assert (record["n_views"], record["augmentation"]) == (2, "strong")
    assert json.loads(json.dumps(record["augmentation_settings"]))["operations"][3] == ["rotate", -30, 30]
    assert plan_views(PREPROCESSING, 0, "standard", seed=0).record() == {}


def test_the_target_is_the_backbones() -> None:
    assert Target.of(PREPROCESSING) == Target((48, 64), Image.Resampling.BILINEAR, (128, 64, 0))


def test_settings_that_are_not_possible() -> None:
    with pytest.raises(SettingError, match="-1 views: expected 0 or more"):
        plan_views(PREPROCESSING, -1, "standard", seed=0)
    with pytest.raises(SettingError, match="unknown augmentation 'strnog': did you mean strong"):
        plan_views(PREPROCESSING, 1, "strnog", seed=0)


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    target=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    name=st.sampled_from(sorted(AUGMENTATIONS)),
    seed=st.integers(0, 1000),
)
def test_a_view_has_the_models_size_whatever_the_images(
    width: int, height: int, target: tuple[int, int], name: str, seed: int
) -> None:
    image = Image.new("RGB", (width, height), (10, 200, 30))
    view = AUGMENTATIONS[name](image, replace(TARGET, size=target), _rng(seed))
    assert (view.mode, view.size) == ("RGB", target[::-1])
    assert image.getpixel((0, 0)) == (10, 200, 30)


# --- standard


PLAIN = Standard(
    scale=(1, 1), ratio=(160 / 107, 160 / 107), flip_probability=0, jitter_probability=0, gray_probability=0
)


def test_one_step_at_a_time_is_torchvisions(photo: Image.Image) -> None:
    resized = F.resize(photo, [48, 64], F.InterpolationMode.BICUBIC)
    assert _same(PLAIN(photo, TARGET, _rng()), resized)
    assert _same(replace(PLAIN, flip_probability=1)(photo, TARGET, _rng()), F.hflip(resized))
    assert _same(replace(PLAIN, gray_probability=1)(photo, TARGET, _rng()), F.to_grayscale(resized, 3))


def test_a_crop_is_resized_as_torchvision_does(photo: Image.Image) -> None:
    crop = replace(PLAIN, scale=(0.2, 0.5), ratio=(3 / 4, 4 / 3))
    left, top, right, bottom = random_crop(photo.size, crop.scale, crop.ratio, _rng(3))
    expected = F.resized_crop(photo, top, left, bottom - top, right - left, [48, 64], F.InterpolationMode.BICUBIC)
    assert _same(crop(photo, TARGET, _rng(3)), expected)


@pytest.mark.parametrize(
    ("place", "adjust"), [(0, F.adjust_brightness), (1, F.adjust_contrast), (2, F.adjust_saturation), (3, F.adjust_hue)]
)
def test_each_part_of_the_jitter_is_torchvisions_within_its_range(photo: Image.Image, place, adjust) -> None:
    span = (0.4, 0.4, 0.4, 0.1)[place]
    jitter = replace(PLAIN, jitter_probability=1, jitter=tuple(span if i == place else 0.0 for i in range(4)))
    resized = F.resize(photo, [48, 64], F.InterpolationMode.BICUBIC)
    ends = (-span, span) if place == 3 else (1 - span, 1 + span)
    farthest = [np.abs(np.asarray(adjust(resized, end)).astype(int) - resized).mean() for end in ends]
    rounded = np.abs(np.asarray(F.adjust_hue(resized, 0)).astype(int) - resized).mean()  # HSV and back
    moved = [np.abs(np.asarray(jitter(photo, TARGET, _rng(seed))).astype(int) - resized).mean() for seed in range(60)]
    assert max(moved) <= max(farthest) + 2 * rounded
    assert max(moved) > 0.8 * max(farthest)


@settings(deadline=None)
@given(shift=st.floats(-0.5, 0.5), color=st.tuples(*[st.integers(0, 255)] * 3))
def test_hue_is_turned_as_torchvision_does(shift: float, color: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (2, 2), color)
    assert _same(shift_hue(image, shift), F.adjust_hue(image, shift))


@pytest.mark.parametrize("size", [(160, 107), (50, 50), (900, 30), (30, 900)])
def test_crops_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    scale, ratio, n = (0.2, 1.0), (3 / 4, 4 / 3), 4000
    image, rng = Image.new("L", size), _rng()
    boxes = np.array([random_crop(size, scale, ratio, rng) for _ in range(n)])
    ours = np.stack([boxes[:, 1], boxes[:, 0], boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = np.array([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(n)])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= size).all()
    for quantile in (0.1, 0.5, 0.9):  # of top, left, height, width
        difference = np.quantile(ours, quantile, axis=0) - np.quantile(theirs, quantile, axis=0)
        assert np.abs(difference).max() <= 0.04 * max(size)


# --- strong


ORACLES = {
    "identity": lambda image, _: image,
    "autocontrast": lambda image, _: F.autocontrast(image),
    "equalize": lambda image, _: F.equalize(image),
    "rotate": lambda image, degrees: F.rotate(image, degrees),
    "solarize": lambda image, threshold: F.solarize(image, int(threshold)),
    "color": F.adjust_saturation,
    "contrast": F.adjust_contrast,
    "brightness": F.adjust_brightness,
    "sharpness": F.adjust_sharpness,
    "posterize": lambda image, bits: F.posterize(image, int(bits)),
}


@pytest.mark.parametrize("name", ORACLES)
def test_operations_are_torchvisions(photo: Image.Image, name: str) -> None:
    low, high = next(ends for known, *ends in Strong().operations if known == name)
    for strength in (low, (low + high) / 2, high - 1e-6):
        assert _same(OPERATIONS[name](photo, strength), ORACLES[name](photo, strength))


def test_shifts_and_shears_move_pixels_by_their_share() -> None:
    image = Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).convert("RGB")
    values = np.asarray(image)[..., 0]
    assert np.array_equal(np.asarray(OPERATIONS["translate x"](image, 0.1))[:, :-1, 0], values[:, 1:])
    assert np.array_equal(np.asarray(OPERATIONS["translate y"](image, -0.1))[1:, :, 0], values[:-1])
    assert (np.asarray(OPERATIONS["translate y"](image, -0.1))[0] == 0).all()
    assert np.asarray(OPERATIONS["shear x"](image, 0.1))[-1, :-1, 0].tolist() == values[-1, 1:].tolist()
    assert np.asarray(OPERATIONS["shear y"](image, 0.1))[:-1, -1, 0].tolist() == values[1:, -1].tolist()


def test_strong_has_the_authors_fourteen_operations() -> None:
    """https://github.com/wvangansbeke/Unsupervised-Classification, data/augment.py."""
    found = {name: (low, high) for name, low, high in Strong().operations}
    assert len(Strong().operations) == 14
    assert found.keys() == OPERATIONS.keys()
    assert found["rotate"] == (-30, 30)
    assert found["solarize"] == (0, 256)
    assert found["posterize"] == (4, 8)
    assert found["sharpness"] == (0.05, 0.95)
    assert found["shear y"] == (-0.1, 0.1)


def test_cutout_is_one_patch_of_the_mean_of_at_most_its_size() -> None:
    cutout, target = Strong(n_operations=0, flip_probability=0), replace(TARGET, size=(224, 224))
    image, sides = Image.new("RGB", (256, 256), (1, 2, 3)), []
    for seed in range(200):
        view = np.asarray(cutout(image, target, _rng(seed)))
        patch = (view == (124, 116, 104)).all(-1)
        assert (patch | (view == (1, 2, 3)).all(-1)).all()
        rows, columns = patch.any(1), patch.any(0)
        assert patch.sum() == rows.sum() * columns.sum()
        sides.append(max(rows.sum(), columns.sum()))
    assert 66 < max(sides) <= 75
    assert min(sides) < 10


def test_strong_crops_224_of_256(photo: Image.Image) -> None:
    """Of a square image, the crop keeps 7/8 of each side, anywhere in it."""
    strong = Strong(n_operations=0, flip_probability=0, cutout=0)
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).convert("RGB")
    views = [np.asarray(strong(ramp, replace(TARGET, size=(224, 224)), _rng(seed)))[0, :, 0] for seed in range(80)]
    spans = {int(view[-1]) - int(view[0]) for view in views}
    assert spans <= {222, 223, 224}
    starts = [int(view[0]) for view in views]
    assert min(starts) <= 2
    assert max(starts) >= 29
