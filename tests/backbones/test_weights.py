import os
import pickle
import random

import pytest
import torch
from safetensors.torch import save_file

from headclust.backbones.weights import describe_difference, read_state_dict
from headclust.errors import FileFormatError

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


class Bomb:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


def same(found: dict, expected: dict) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[key], expected[key]) for key in expected)


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    found = read_state_dict(tmp_path / "w.safetensors")
    assert same(dict(sorted(found.items())), dict(sorted(STATE.items())))


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s},
        lambda s: {"state_dict": {"model": s}},
    ],
)
def test_pytorch_files(tmp_path, name, wrap):
    torch.save(wrap(STATE), tmp_path / name)
    assert same(read_state_dict(tmp_path / name), STATE)


def test_a_training_checkpoints_tensors_under_their_own_key(tmp_path):
    torch.save({"model": {"a": torch.ones(1)}, "target_encoder": STATE, "epoch": 3}, tmp_path / "w.pth.tar")
    assert same(read_state_dict(tmp_path / "w.pth.tar", wrapper="target_encoder"), STATE)
    for wrapper in ("teacher", "epoch"):
        with pytest.raises(FileFormatError, match=f"expected the published checkpoint, with tensors under '{wrapper}'"):
            read_state_dict(tmp_path / "w.pth.tar", wrapper=wrapper)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_torchscript_program_is_refused(tmp_path):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "ViT-B-32.pt")
    with pytest.raises(FileFormatError, match="are a TorchScript program; running code from them is refused") as caught:
        read_state_dict(tmp_path / "ViT-B-32.pt")
    assert "\n" not in str(caught.value)


def test_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Bomb()}, tmp_path / "w.pth")
    with pytest.raises(FileFormatError, match="running code from them is refused") as caught:
        read_state_dict(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


def write(path, content):
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.safetensors", b""),
        ("w.safetensors", b"\xff" * 64),
        ("w.safetensors", b"\x02\0\0\0\0\0\0\0{}trailing"),
        ("w.pth", b""),
        ("w.pth", b"<html>not found</html>"),
        ("w.pth", b"root:x:0:0:root:/root:/bin/bash\n"),
        ("w.pth", b"\x80\x02}"),
        ("w.pth", b"PK\x03\x04"),
        ("w.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        ("w.pth", pickle.dumps({"a": 1}, protocol=2)),
        ("w.pth", pickle.dumps(Bomb(), protocol=2)),
        ("w.pth", torch.ones(3)),
        ("w.pth", {"epoch": 3, "loss": 0.1}),
        ("w.pth", [STATE]),
    ],
)
def test_files_that_are_not_weights(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name, content)
    with pytest.raises(FileFormatError) as caught:
        read_state_dict(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_truncated_files(tmp_path, name):
    path = tmp_path / name
    save_file(STATE, path) if name.endswith("s") else torch.save(STATE, path)
    whole = path.read_bytes()
    for length in (1, 7, 9, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            read_state_dict(path)


def test_torch_is_not_asked_about_what_is_plainly_no_file_of_its(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("asked"))
    for content in (b"root:x:0:0:root:/root:/bin/bash\n", b"", b"\x80\x02}q\x00."):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(FileFormatError, match="are not a PyTorch file"):
            read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_one_line(tmp_path, zipped):
    path, generator = tmp_path / "w.pth", random.Random(0)
    torch.save({"state_dict": STATE, "epoch": 3}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    assert same(read_state_dict(path), STATE)
    refused = 0
    for attempt in range(400):
        damaged = bytearray(whole if attempt % 2 else whole[: generator.randrange(len(whole))])
        for _ in range(generator.randrange(1, 6) if damaged else 0):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            read_state_dict(path)  # a change among the numbers shows nowhere
        except FileFormatError as error:
            assert "\n" not in str(error)  # noqa: PT017 - some of them can be read
            refused += 1
    assert refused > 250


def test_missing_file(tmp_path):
    with pytest.raises(FileFormatError, match="no such file"):
        read_state_dict(tmp_path / "w.pth")


def test_difference_names_the_first_and_counts_all():
    expected = {f"layer{i}.weight": torch.zeros(2) for i in range(6)}
    found = {"layer5.weight": torch.zeros(3), "head": torch.zeros(1)}
    assert describe_difference(found, expected) == (
        "of 6 tensors 5 missing (layer0.weight, layer1.weight, layer2.weight, ...); 1 not the model's (head); "
        "1 of another shape (layer5.weight (3,) for (2,))"
    )
    assert describe_difference(expected, expected) == ""
