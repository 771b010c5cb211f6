"""The text tower: its words are open_clip's own classifier, stored by checksum, and used like a classifier."""

import numpy as np
import open_clip
import pytest
import torch
from open_clip import factory
from open_clip.pretrained import _PRETRAINED
from safetensors.torch import save_file

from headclust.backbones import load_pair
from headclust.errors import SettingError
from headclust.naming.choice import Chooser
from headclust.naming.nouns import load_nouns
from headclust.naming.text import cache_folder, embed_words, text_evidence

NAME = "open_clip:tiny-text/w"
CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
WORDS = ["dog", "red fire engine", "sea"]


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A file of random weights of a tiny model in open_clip's registries."""
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", {**factory._MODEL_CONFIGS, "tiny-text": CONFIG})
    monkeypatch.setitem(_PRETRAINED, "tiny-text", {"w": {"hf_hub": "nobody/tiny-text/"}})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-text").eval()
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.fixture
def pair(weights):
    return load_pair(NAME, weights=weights)


def test_words_have_the_mean_of_the_templates(pair):
    texts = [template("dog") for template in open_clip.SIMPLE_IMAGENET_TEMPLATES]
    with torch.no_grad():
        single = pair.model.encode_text(pair.tokenizer(texts), normalize=True).mean(dim=0)
    expected = (single / single.norm()).numpy()
    assert embed_words(pair, WORDS)[0] == pytest.approx(expected, abs=1e-6)
    assert pair.scale == pytest.approx(1 / 0.07, rel=1e-4)


def test_words_are_stored_by_checksum(pair, capsys):
    first = embed_words(pair, WORDS)
    assert len(list(cache_folder().iterdir())) == 1
    capsys.readouterr()
    assert (embed_words(pair, WORDS) == first).all()
    assert capsys.readouterr().err == ""
    embed_words(pair, WORDS[:2])
    assert len(list(cache_folder().iterdir())) == 2


def test_a_damaged_store_is_made_again(pair):
    first = embed_words(pair, WORDS)
    (stored,) = cache_folder().iterdir()
    stored.write_bytes(b"damaged")
    assert (embed_words(pair, WORDS) == first).all()


def test_groups_near_a_word_get_it(pair):
    words = embed_words(pair, WORDS)
    rows = [np.repeat(word[None] * 3, 4, axis=0) for word in words[::-1]]  # of any length
    made = text_evidence(pair, rows, load_nouns(), WORDS)
    assert made.source == f"text tower of {NAME}, own words"
    # Untrained, all words are alike: which is the best still shows.
    assert made.shares.argmax(axis=1).tolist() == [2, 1, 0]
    assert len(Chooser(made, np.array([4, 4, 4])).name_groups()) == 3


def test_a_model_without_text_is_refused():
    with pytest.raises(SettingError, match="no text tower: name a pair"):
        load_pair("efficientnet_lite0")
