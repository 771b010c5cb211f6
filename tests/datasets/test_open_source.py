import pytest

from headclust.datasets import open_source
from headclust.errors import DataError, HeadclustError, SettingError


def test_without_a_source_the_bundled_digits():
    assert open_source(None).sample_ids == open_source("digits", "train").sample_ids


@pytest.mark.parametrize("name", ["digit", "cifar", "fashon-mnist:/data", "imagnet:x"])
def test_unknown_names_offer_the_nearest(name):
    with pytest.raises(SettingError, match=r"unknown source .*(did you mean|known:) ") as caught:
        open_source(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cifar10", "cifar10:", "fashion-mnist"])
def test_a_named_source_needs_its_folder(name):
    with pytest.raises(SettingError, match=r"needs its folder: say .*:PATH"):
        open_source(name)


@pytest.mark.parametrize(
    "source", ["/no/such/folder", "./digits", "cifar10:/no/such", "fashion-mnist:/no/such", "/no:x"]
)
def test_missing_folders(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        open_source(source)
    assert "\n" not in str(caught.value)


def test_a_folder_called_like_nothing_we_know(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for folder in ("digits", "a:b", "plain"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (1, 1)).save(tmp_path / folder / "a.png")
    for source in ("./digits", "a:b", "plain", str(tmp_path / "plain")):
        assert open_source(source).sample_ids == ("a.png",)
    assert open_source("digits").source == "digits"


@pytest.mark.parametrize(
    "source", ["\0", "a\0b/c", "x" * 5000, "/x" * 5000, "~nobody-by-this-name/x", "~nobody-by-this-name"]
)
def test_impossible_paths(source):
    with pytest.raises(HeadclustError):
        open_source(source)
