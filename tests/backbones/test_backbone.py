import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data import create_transform

from headclust.backbones.backbone import split_transform
from headclust.errors import DataError

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def settings_of(size: int) -> dict:
    return {"size": (size, size), "own_size": (size, size), "crop": "", "interpolation": "", "mean": MEAN, "std": STD}


def transforms(size: int):
    """Every shape of evaluation transform the two libraries make."""
    for crop_mode in ("center", "squash", "border"):
        for interpolation in ("bilinear", "bicubic"):
            yield create_transform(
                input_size=(3, size, size), mean=MEAN, std=STD, interpolation=interpolation, crop_mode=crop_mode
            )
    for resize_mode in ("shortest", "longest", "squash"):
        yield image_transform_v2(PreprocessCfg(size=size, mean=MEAN, std=STD, resize_mode=resize_mode), is_train=False)


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([16, 37, 64]), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_two_halves_are_the_librarys_transform_bit_for_bit(width, height, size, seed):
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))
    for transform in transforms(size):
        ours = split_transform(transform, "a library", "a model", settings_of(size))
        try:
            expected = transform(image)
        except ValueError:  # timm's "border" mode can shrink a side to nothing
            with pytest.raises(DataError, match="cannot be resized"):
                ours.pixels(image)
            continue
        pixels = ours.pixels(image)
        assert pixels.shape == (size, size, 3)
        assert pixels.dtype == np.uint8
        assert torch.equal(ours.normalize(torch.from_numpy(pixels)[None])[0], expected)


def test_a_photo_and_a_batch():
    photos = [Image.fromarray(load_sample_image(name)) for name in ("flower.jpg", "china.jpg")]
    for transform in transforms(224):
        ours = split_transform(transform, "a library", "a model", settings_of(224))
        batch = torch.from_numpy(np.stack([ours.pixels(photo) for photo in photos]))
        assert torch.equal(ours.normalize(batch), torch.stack([transform(photo) for photo in photos]))


def test_the_input_is_left_alone():
    ours = split_transform(next(transforms(16)), "a library", "a model", settings_of(16))
    pixels = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    found = ours.normalize(pixels)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert not pixels.any()


def test_the_record_is_plain_json():
    for transform in transforms(32):
        record = split_transform(transform, "a library", "a model", settings_of(32)).record
        assert json.loads(json.dumps(record)) == record
        assert record["input_size"] == [32, 32]
        assert len(record["steps"]) >= 1


def test_a_transform_of_another_shape_is_noticed():
    transform = create_transform(input_size=(3, 16, 16))
    transform.transforms.append(torch.nn.Identity())
    with pytest.raises(AssertionError, match="has changed its evaluation transform"):
        split_transform(transform, "a library", "a model", settings_of(16))


def test_a_thread_of_an_image_is_refused():
    ours = split_transform(next(transforms(16)), "a library", "a model", settings_of(16))
    assert ours.pixels(Image.new("RGB", (200, 1))).shape == (16, 16, 3)
    with pytest.raises(DataError, match="1 x 201 pixels: one side is over 200 times the other"):
        ours.pixels(Image.new("RGB", (1, 201)))


def test_without_a_crop_only_squares_fit():
    transform = create_transform(input_size=(3, 16, 16))
    transform.transforms = [step for step in transform.transforms if "Crop" not in str(step)]
    ours = split_transform(transform, "a library", "a model", settings_of(18))
    assert ours.pixels(Image.new("RGB", (40, 40))).shape == (18, 18, 3)
    with pytest.raises(DataError, match=r"40 x 50 pixels become 18 x 22, expected 18 x 18: .* takes square images"):
        ours.pixels(Image.new("RGB", (40, 50)))
