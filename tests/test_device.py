import ctypes
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from headclust.device import (
    TF32,
    autocast,
    available_memory,
    description,
    float64_device,
    resolve_device,
    resolve_precision,
    reuse_memory,
    usable_cores,
)
from headclust.errors import SettingError


@pytest.fixture
def machine(monkeypatch):
    def set_present(*, cuda, mps):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return set_present


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device_there_is(machine, cuda, mps, expected):
    machine(cuda=cuda, mps=mps)
    assert resolve_device() == torch.device(expected)


def test_a_device_by_name(machine):
    machine(cuda=True, mps=False)
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["gpu", "", "cpu!", "cuda:x", "meta", "xla"])
def test_a_name_that_is_no_device(name):
    with pytest.raises(SettingError, match="unknown device"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there(machine, name):
    machine(cuda=False, mps=False)
    with pytest.raises(SettingError, match=f"device '{name}' is not present"):
        resolve_device(name)


def test_description_of_the_cpu():
    assert description(torch.device("cpu")) == {"device": "cpu", "threads": torch.get_num_threads()}


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        ("cpu", "auto", "float32"),
        ("cpu", "float32", "float32"),
        ("cuda:1", "auto", "float16 autocast"),
        ("cuda:1", "float32", "float32"),
        ("mps", "auto", "float16 autocast"),
        ("mps", "float32", "float32"),
        ("cuda", "bfloat16", "bfloat16 autocast"),
        ("cpu", "bfloat16", "bfloat16 autocast"),
    ],
)
def test_precision_goes_with_the_device(device, precision, expected):
    assert resolve_precision(torch.device(device), precision) == expected


def test_a_precision_that_is_none():
    with pytest.raises(SettingError, match="precision 'float16': expected auto, float32 or bfloat16"):
        resolve_precision(torch.device("cpu"), "float16")


def test_what_is_said_is_what_is_computed():
    """The CPU has autocast too: policy never chooses it, but it shows that the context does what its name says."""
    product = torch.nn.Linear(4, 3)
    with torch.inference_mode(), autocast(torch.device("cpu"), "float16 autocast"):
        assert product(torch.ones(2, 4)).dtype == torch.float16
    with torch.inference_mode(), autocast(torch.device("cpu"), "bfloat16 autocast"):
        assert product(torch.ones(2, 4)).dtype == torch.bfloat16
    with torch.inference_mode(), autocast(torch.device("cpu"), "float32"):
        assert product(torch.ones(2, 4)).dtype == torch.float32
    assert product.weight.dtype == torch.float32


@pytest.mark.parametrize(("value", "expected"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_products_in_tf32_only_if_the_environment_asks_for_them(machine, monkeypatch, tf32, value, expected):
    machine(cuda=True, mps=False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H200")
    if value is not None:
        monkeypatch.setenv(TF32, value)
    device = resolve_device()
    assert tf32() == (expected, expected)  # the second is True in PyTorch
    assert description(device) == {"device": "H200", "threads": torch.get_num_threads()} | (
        {"tf32": "on"} if expected else {}
    )
    assert "tf32" not in description(torch.device("cpu"))


def test_another_value_for_tf32_is_refused(machine, monkeypatch):
    machine(cuda=True, mps=False)
    monkeypatch.setenv(TF32, "yes")
    with pytest.raises(SettingError, match="HEADCLUST_TF32 is 'yes': expected 1 for TF32, or 0"):
        resolve_device()


def test_float64_on_mps_is_computed_on_the_cpu():
    assert [float64_device(torch.device(name)).type for name in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "cpu"]


def _faults(n=5, megabytes=40):
    """Pages the system had to provide for large blocks that are taken and given back in turn."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        torch.empty(megabytes << 18).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc gives large blocks back at once")
def test_memory_is_kept_from_batch_to_batch_and_given_back():
    # In a process of its own: what other tests have left in the heap decides where large blocks go.
    command = [sys.executable, "-c", "import test_device; test_device.keep_memory()"]
    subprocess.run(command, check=True, cwd=Path(__file__).parent)


def keep_memory():
    with reuse_memory(torch.device("cuda")):
        usual, usual_of_larger = _faults(), _faults(megabytes=320)
    before = _resident()
    with reuse_memory(torch.device("cpu")):
        _faults(20)  # a few blocks go by until one is left that fits
        assert _faults() < usual / 2
    assert _resident() < before + (40 << 20) / 2
    # Afterwards large blocks go back at once again: larger ones than any gap those of before may have left in the heap.
    assert _faults(megabytes=320) > usual_of_larger / 2


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_TRIM_THRESHOLD_", "1"), ("GLIBC_TUNABLES", "a.b=1:glibc.malloc.mmap_max=7")]
)
def test_memory_is_left_alone_where_the_user_has_settled_it(monkeypatch, name, value):
    called = []
    libc = SimpleNamespace(mallopt=lambda *given: called.append(given), malloc_trim=called.append)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)
    for other in list(os.environ):
        if other.startswith("MALLOC_") or other == "GLIBC_TUNABLES":
            monkeypatch.delenv(other)
    with reuse_memory(torch.device("cpu")):
        assert called
    called.clear()
    monkeypatch.setenv(name, value)
    with reuse_memory(torch.device("cpu")):
        pass
    assert called == []


def test_free_memory_goes_back_now_and_then(monkeypatch):
    trimmed, now = [], [0.0]
    libc = SimpleNamespace(mallopt=lambda *_: None, malloc_trim=trimmed.append)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)
    monkeypatch.setattr("headclust.device._is_malloc_set", lambda: False)
    monkeypatch.setattr("headclust.device.time.perf_counter", lambda: now[0])
    with reuse_memory(torch.device("cpu")) as tidy:
        for now[0] in (2, 4, 5, 6, 9, 11, 12):
            tidy()
        assert len(trimmed) == 3  # at the start, after 5 s and after 11 s
    assert len(trimmed) == 4


def _resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.fixture
def system(monkeypatch, tmp_path):
    """Writes what the system says of memory and of the container."""
    monkeypatch.setattr("headclust.device._MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr("headclust.device._STATM", tmp_path / "statm")
    monkeypatch.setattr("headclust.device._CGROUP", tmp_path)

    def write_files(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_D_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    return write_files


def test_available_memory_is_what_the_system_says(system):
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert available_memory() == total  # no files at all
    system(meminfo="MemTotal: 9 kB\n")
    assert available_memory() == total
    system(meminfo="MemTotal: 9 kB\nMemAvailable:      7 kB\n")
    assert available_memory() == 7 * 1024


@pytest.mark.parametrize(
    "names",
    [
        ("memory_D_max", "memory_D_current", "memory_D_stat"),
        ("memory__memory_D_limit_in_bytes", "memory__memory_D_usage_in_bytes", "memory__memory_D_stat"),
    ],
    ids=["version 2", "version 1"],
)
def test_a_containers_limit_of_memory_counts(system, names):
    limit, used, stat = names
    system(meminfo="MemAvailable: 9000 kB\n", **{limit: "5000000\n", used: "3000000\n"})
    assert available_memory() == 2_000_000
    system(**{stat: "anon 1\ninactive_file 500000\nactive_file 7\n"})
    assert available_memory() == 2_500_000  # files that are only cached are given up
    system(**{used: "6000000\n"})
    assert available_memory() == 0
    system(**{limit: "max\n"})
    assert available_memory() == 9000 * 1024
    system(**{limit: "9223372036854771712\n"})  # version 1 says so where there is none
    assert available_memory() == 9000 * 1024


def test_a_containers_share_of_the_cores_counts(system, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores() == 8
    for said, expected in (("max 100000\n", 8), ("350000 100000\n", 3), ("20000 100000\n", 1), ("1600000 100000\n", 8)):
        system(cpu_D_max=said)
        assert usable_cores() == expected
    system(cpu_D_max="max 100000\n", cpu__cpu_D_cfs_quota_us="-1\n", cpu__cpu_D_cfs_period_us="100000\n")
    assert usable_cores() == 8
    system(cpu__cpu_D_cfs_quota_us="200000\n")
    assert usable_cores() == 2


def test_a_limit_of_the_address_space_counts(system, monkeypatch):
    system(meminfo="MemAvailable: 9000000 kB\n", statm="1000 5 5\n")
    monkeypatch.setattr("resource.getrlimit", lambda _: (1000 * os.sysconf("SC_PAGE_SIZE") + 4_000_000, -1))
    assert available_memory() == 4_000_000
