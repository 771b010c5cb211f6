import pytest

from headclust.errors import DataError
from headclust.images.datasets.hub import check_no_remote_files, check_reachable, quiet
from headclust.network import is_offline, without_network

datasets = pytest.importorskip("datasets")


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_the_network_is_forbidden_by_the_caller_or_the_environment(monkeypatch, name, value):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    assert is_offline(True)
    assert not is_offline(False)
    monkeypatch.setenv(name, value)
    assert is_offline(False)


def test_the_libraries_refuse_the_network_and_are_as_before_afterwards():
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    before = datasets.config.HF_HUB_OFFLINE
    with without_network():
        assert datasets.config.HF_HUB_OFFLINE
        with pytest.raises(LocalEntryNotFoundError):
            hf_hub_download("nobody/nothing-by-this-name", "README.md")
    assert before == datasets.config.HF_HUB_OFFLINE


def test_quiet_is_over_afterwards(capsys):
    before = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    with quiet():
        assert datasets.are_progress_bars_disabled()
        datasets.logging.get_logger("datasets").warning("not seen")
    assert (datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()) == before
    assert capsys.readouterr().err == ""


def test_an_unreachable_hub_is_found_out_quickly(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="cannot be reached"):
        check_reachable()


CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: {path}
---
"""


@pytest.mark.parametrize(
    "path", ["https://example.org/x.parquet", '"https\\x3a//example.org/x"', "hf://datasets/a/b/c"]
)
def test_cards_that_name_files_elsewhere(tmp_path, path):
    (tmp_path / "README.md").write_text(CARD.format(path=path))
    with pytest.raises(DataError, match="its card names remote files"):
        check_no_remote_files(tmp_path)


def test_harmless_and_broken_cards(tmp_path):
    check_no_remote_files(tmp_path)
    (tmp_path / "README.md").write_text(CARD.format(path="data/*.parquet") + "See https://example.org")
    check_no_remote_files(tmp_path)
    (tmp_path / ".huggingface.yaml").write_text("configs: [{data_files: 'http://example.org/x'}]")
    with pytest.raises(DataError, match="its card names remote files"):
        check_no_remote_files(tmp_path)
    (tmp_path / ".huggingface.yaml").write_text("a: [")
    with pytest.raises(DataError, match="its card cannot be read"):
        check_no_remote_files(tmp_path)
