import importlib
import json

import pytest
from conftest import make_blobs

from headclust import verbs, write_features
from headclust.errors import ConflictError

demo = importlib.import_module("headclust.verbs.demo")  # the package's attribute of that name is the function


@pytest.fixture
def small(monkeypatch, quick):
    """Blobs for the digits, and a fit of a moment for the usual one."""
    asked, fit = [], verbs.fit

    def embed(model, data, *, split, output, settings=None):
        asked.append((model, data, split))
        if not output.exists():
            features, labels = make_blobs(120 if split == "train" else 40, seed=split == "test")
            output.parent.mkdir(parents=True)
            write_features(
                output,
                features,
                sample_ids=[str(i) for i in range(len(labels))],
                labels=labels,
                dataset="d",
                backbone=model,
            )
        return output

    def fit_quickly(*arguments, method, **options):
        return fit(*arguments, method=method, changes={"pairs.length": 20} if method == "consensus" else {}, **options)

    monkeypatch.setattr(demo, "embed", embed)
    monkeypatch.setattr(demo, "fit", fit_quickly)
    return asked


def test_the_story_goes_through_the_verbs(tmp_path, small, capsys):
    rows = verbs.demo(tmp_path)
    assert small == [(demo.BACKBONE, "digits", "train"), (demo.BACKBONE, "digits", "test")]
    assert [row[:2] for row in rows] == [
        (method, split) for method in ("consensus", "kmeans") for split in ("train", "test")
    ]
    for method, split, metrics in rows:
        written = json.loads((tmp_path / "runs" / method / "metrics.json").read_text())
        assert metrics == (written if split == "train" else written["eval"])
        assert metrics["n_samples"] == (120 if split == "train" else 40)
        assert {"accuracy", "nmi", "ami", "ari", "seconds"} <= set(metrics)
    page = (tmp_path / "report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert capsys.readouterr().out == ""


def test_the_story_can_be_told_again(tmp_path, small):
    first, second = verbs.demo(tmp_path), verbs.demo(tmp_path)
    assert [row[2]["accuracy"] for row in first] == [row[2]["accuracy"] for row in second]


def test_features_of_another_version_are_made_anew(tmp_path, small, monkeypatch, capsys):
    embed, overwritten = demo.embed, []

    def embed_if_overwritten(*arguments, settings=None, **options):
        overwritten.append(settings is not None and settings.overwrite)
        if not overwritten[-1]:
            raise ConflictError("it was made with another version.")
        return embed(*arguments, **options)

    monkeypatch.setattr(demo, "embed", embed_if_overwritten)
    assert len(verbs.demo(tmp_path)) == 4
    assert overwritten == [False, True, False, True]
    assert "made with another version. Made again for the demo." in capsys.readouterr().err
