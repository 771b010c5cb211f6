"""The table of parts on a GPU: resumed lines, failed parts, results that differ. Its tiny run is in test_scripts.py."""

import json

import gpu
import pytest
from scaling.gpu_parts import Part


@pytest.fixture
def measured(monkeypatch):
    """Three parts; the list of those that were measured."""
    calls = []

    def make(name, value, tolerance=0.5):
        def prepare():
            calls.append(name)
            return value

        return Part(name, "7 rows", prepare, lambda result, expected: result - expected, "more", tolerance, (0.1, 2.0))

    def fails(device):
        raise ValueError("no kernel\nfor this")

    counter = iter(range(100))
    monkeypatch.setattr(
        gpu,
        "parts",
        lambda sizes: [make("same", lambda d: 1.0), make("off", lambda d: next(counter)), make("broken", fails)],
    )
    return calls


def test_a_part_that_differs_or_fails_is_named_and_the_others_are_measured(measured, tmp_path, capsys):
    assert gpu.main(["--device", "cpu", "--work", str(tmp_path)]) == 1
    same, off, broken = capsys.readouterr().out.splitlines()[2:5]
    assert same.endswith("| 0.1 to 2 | 0.0e+00 more | yes |")
    assert off.endswith("| 1.0e+00 more | **no** |")
    assert broken.endswith("| ValueError: no kernel for this | failed |")


def test_lines_are_resumed_on_the_same_machine_only(measured, tmp_path, capsys):
    only = ["--device", "cpu", "--work", str(tmp_path), "--only", "same"]
    assert gpu.main(only) == gpu.main(only) == 0
    assert measured == ["same"]
    lines = tmp_path / "results.jsonl"
    line = json.loads(lines.read_text())
    lines.write_text(json.dumps({**line, "machine": {**line["machine"], "device": "H200"}}) + '\n{"part": "sa')
    assert gpu.main(only) == 0
    assert measured == ["same", "same"]
    assert "device cpu" in capsys.readouterr().out


def test_what_a_user_can_correct_is_one_line(measured, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "PyTorch finds no GPU here" in capsys.readouterr().err
    assert gpu.main(["--device", "cpu", "--only", "none"]) == 2
    assert "no such part; there are same, off, broken" in capsys.readouterr().err
