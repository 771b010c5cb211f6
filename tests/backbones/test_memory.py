import pytest

from headclust.backbones import CATALOG, check_memory, load_backbone
from headclust.backbones.memory import memory_errors
from headclust.errors import FileFormatError, SettingError


@pytest.fixture(autouse=True)
def gigabyte(monkeypatch):
    monkeypatch.setattr("headclust.device.available_memory", lambda: 10**9)


def test_twice_the_weights_have_to_fit():
    check_memory("m", 0)
    check_memory("m", 5 * 10**8)
    with pytest.raises(
        SettingError, match=r"model 'm' takes 1\.2 GB of memory to load, and 1\.0 GB are free"
    ) as caught:
        check_memory("m", 6 * 10**8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["dinov3_vit7b16", "eva02_clip_vite14", "msn_vit_large", "dinov2_vitl14"])
def test_a_model_too_large_is_refused_before_it_is_looked_for(tmp_path, name):
    expected = f"takes {CATALOG[name].parameters * 8 / 1e9:.1f} GB of memory"
    for more in ({}, {"weights": tmp_path / "nothing"}):
        with pytest.raises(SettingError, match=expected):
            load_backbone(name, **more)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 1638400 bytes"),
        RuntimeError("could not create a primitive"),
        FileFormatError("weights m.pth cannot be read: DefaultCPUAllocator: can't allocate memory"),
        SettingError("model 'm' does not take images of 224 x 224 px: std::bad_alloc"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=str,
)
def test_lack_of_memory_is_named(error):
    # It was taken for a model that does not accept images of 224 x 224 px.
    with pytest.raises(SettingError, match=r"model 'm': not enough memory to load it") as caught, memory_errors("m"):
        raise error
    assert "\n" not in str(caught.value)


def test_other_errors_stay_as_they_are():
    with pytest.raises(SettingError, match="does not take images"), memory_errors("m"):
        raise SettingError("model 'm' does not take images of 4 x 4 px: too small")
