import pytest
import torch

from headclust.device import description, resolve_device
from headclust.errors import SettingError


@pytest.fixture
def machine(monkeypatch):
    def set_present(*, cuda, mps):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return set_present


@pytest.mark.parametrize(
    ("cuda", "mps", "wanted"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device_there_is(machine, cuda, mps, wanted):
    machine(cuda=cuda, mps=mps)
    assert resolve_device() == torch.device(wanted)


def test_a_device_by_name(machine):
    machine(cuda=True, mps=False)
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["gpu", "", "cpu!", "cuda:x"])
def test_a_name_that_is_no_device(name):
    with pytest.raises(SettingError, match="unknown device"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "meta", "xla"])
def test_a_device_that_is_not_there(machine, name):
    machine(cuda=False, mps=False)
    with pytest.raises(SettingError, match=f"device '{name}' is not present"):
        resolve_device(name)


def test_description_of_the_cpu():
    assert description(torch.device("cpu")) == {"device": "cpu", "threads": torch.get_num_threads()}
