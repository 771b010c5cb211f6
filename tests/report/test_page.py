import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from headclust import __version__, verbs, write_features
from headclust.duplicates import Duplicates
from headclust.progress import printable
from headclust.report import page, read_data, sections
from headclust.report.page import render
from report.conftest import HOSTILE

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """A page as the HTML parser of the standard library reads it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text.setdefault(self.open[-1] if self.open else "", []).append(text)

    def all(self, tag, **expected):
        return [attributes for name, attributes in self.tags if name == tag and expected.items() <= attributes.items()]


def decoded(coded):
    """The names that `samples.front_coded` wrote, as the script of the page reads them."""
    names = [""]
    for line in coded.split("\n"):
        units, rest = line.split("|", 1)
        names.append(names[-1].encode("utf-16-le")[: 2 * int(units)].decode("utf-16-le") + rest)
    return names[1:]


@pytest.fixture(scope="module")
def text(shared):
    return render(read_data(shared.run), labels=True, umap=False)


@pytest.fixture(scope="module")
def plain(shared):
    """The page without labels."""
    return render(read_data(shared.run), umap=False)


@pytest.fixture(scope="module")
def parsed(text):
    return Page(text)


def test_the_page_refers_to_nothing_outside(text, parsed):
    addresses = [
        value
        for _, attributes in parsed.tags
        for name, value in attributes.items()
        if name in ("src", "href", "action")
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "url(" not in text
    assert "@import" not in text
    assert [
        attributes
        for _, attributes in parsed.tags
        if any(name.startswith("on") or name == "style" for name in attributes)
    ] == []


def test_the_policy_lets_only_its_own_style_and_script_through(text, parsed):
    (policy,) = parsed.all("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.split(" ", 1) for rule in policy["content"].split("; "))
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "data: file:")
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        contents = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents]
        assert rules[rule] == f"'sha256-{hashes[0]}'"
        assert len(hashes) == 1
    assert len(parsed.all("script")) == 2


def test_hostile_names_are_text(text, parsed):
    assert "{{ 7*7 }}.png" in text
    assert ">49.png" not in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e\ud800-\udfff]", text)
    text.encode()
    titles = {attributes["title"] for _, attributes in parsed.tags if attributes.get("title")}
    assert HOSTILE[1] in titles
    assert not [
        attributes
        for attributes in parsed.all("img")
        if "onerror" in attributes or not attributes["src"].startswith("data:")
    ]
    assert "<b>torn.jpg" in "".join(parsed.text["th"])
    assert "<i>ant" in "".join(parsed.text["i"])
    assert parsed.text["title"][0] == "photos \u2013 headclust report"


def test_the_data_cannot_leave_its_script(text):
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert not set("<>&") & set(data)
    names = decoded(json.loads(data)["names"])
    assert len(names) == 60
    assert "x</script><b>.png" in names
    assert "caf\\udce9.png" in names


def test_each_image_is_embedded_once(text):
    contents = re.findall(r"base64,([A-Za-z0-9+/=]{60,})", text)
    (data,) = re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)
    contents += json.loads(data)["thumbs"].values()
    # Pictures of one color each: two of one size and color are the same picture.
    assert len(contents) == 60
    ids = re.findall(r'<img id="(t\d+)"', text)
    assert len(ids) == len(set(ids))


def test_points_are_in_the_order_of_the_data(text, data):
    groups = re.findall(r'data-cluster="(\d)"><path d="([^"]*)"', text)
    script_data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert decoded(script_data["names"]) == list(map(printable, data.sample_ids))
    counts = [path.count("M") for _, path in groups]
    clusters = np.repeat([int(cluster) for cluster, _ in groups], counts)
    assert sum(counts) == 60
    assert data.clusters[script_data["points"]].tolist() == clusters.tolist()
    assert script_data["clusters"] == data.clusters.tolist()


def test_the_page_is_accessible(parsed):
    assert parsed.all("html", lang="en")
    for landmark in ("header", "nav", "main", "footer"):
        assert parsed.all(landmark)
    assert len(parsed.all("h1")) == 1
    assert all(attributes.get("alt") for attributes in parsed.all("img"))
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [
        attributes[name]
        for _, attributes in parsed.tags
        for name in ("aria-labelledby", "aria-describedby", "for")
        if name in attributes
    ]
    linked = [attributes["href"][1:] for attributes in parsed.all("a")]
    assert {*named, *linked} <= set(ids)
    drawings = [attributes for attributes in parsed.all("svg") if attributes.get("aria-hidden") != "true"]
    assert all(
        attributes["role"] == "img" and ("aria-label" in attributes or "aria-labelledby" in attributes)
        for attributes in drawings
    )


def test_labels_change_nothing_but_the_scores(text, plain):
    assert 'id="labels"' in text
    assert "Labels are used for these scores only" in text
    chosen = [re.findall(r'<img id="(t\d+)"', each) for each in (text, plain)]
    assert chosen[0] == chosen[1]
    # The style sheet and the script are the same on every page.
    content = [re.sub(r"<(style|script)>.*?</\1>", "", each, flags=re.DOTALL).lower() for each in (text, plain)]
    for word in ("ant", "bee", "accuracy", "purity", "majority", "confusion", "mostly"):
        assert [bool(re.search(rf"\b{word}\b", each)) for each in content] == [True, False], word


def test_the_confusion_matrix(text, data):
    rows = re.findall(r'<tr><th scope="row"><a href="#cluster-(\d)">\d</a></th>(.*?)</tr>', text)
    for cluster, cells in rows[:4]:
        counts = [int(count or 0) for count in re.findall(r"<td class=\"[^\"]*\">(\d*)</td>", cells)]
        labels = data.labels[data.clusters == int(cluster)]
        assert counts == np.bincount(labels, minlength=4).tolist()
        assert cells.count(" own") == 1
    assert len(rows) == 4
    assert f"{100 * data.metrics['accuracy']:.1f} %" in text


def test_a_large_confusion_matrix_is_a_drawing(data, monkeypatch):
    monkeypatch.setattr(sections, "_MAX_CELLS", 9)
    text = render(data, labels=True, umap=False)
    drawn = re.search(r'<svg class="matrix".*?</svg>', text, re.DOTALL)[0]
    cells = {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", drawn)}
    assert len(cells) == len(set(zip(data.clusters.tolist(), data.labels.tolist(), strict=True)))


@pytest.mark.parametrize("gone", ["images", "features", "both"])
def test_missing_files_are_left_out_and_reported(world, capsys, gone):
    if gone != "features":
        world.folder.rename(world.root / "elsewhere")
    if gone != "images":
        world.features.unlink()
    capsys.readouterr()
    text = render(read_data(world.run), umap=False)
    notes = capsys.readouterr().err
    assert ("<img " in text) == (gone == "features")
    assert ('class="plane"' in text) == (gone == "images")
    for missing, line in (
        ("images", "No thumbnails:"),
        ("features", "No map, no images between two groups, no nearest images, no images that look the same:"),
    ):
        assert (line in text) == (line in notes) == (gone in (missing, "both"))
    assert len(re.findall('<article class="panel cluster"', text)) == 4
    assert "headclust fit" in text


@pytest.mark.parametrize(("searched", "among"), [(60, ""), (20, " among the 20 images that were searched")])
def test_the_absence_of_near_duplicates_is_stated_for_the_searched_images_only(data, monkeypatch, searched, among):
    monkeypatch.setattr(page, "find_duplicates", lambda *_: Duplicates((), searched))
    monkeypatch.setattr(page.overview, "remarks", lambda *_, **__: [])
    assert f"and no images look the same{among}.</p>" in render(data, umap=False)


def test_a_complete_page_prints_nothing(shared, capsys):
    capsys.readouterr()
    render(read_data(shared.run), umap=False)
    assert capsys.readouterr().err == ""


def test_the_same_again(shared, text):
    first = text
    assert first == render(read_data(shared.run), labels=True, umap=False)
    assert __version__ in first


def test_without_labels_or_images(bare):
    text = render(read_data(bare.run), labels=True, umap=False)
    assert "No comparison with labels:" in text
    assert 'id="labels"' not in text
    assert "confusion" not in Page(text).text.get("h3", [])


@pytest.mark.parametrize("n_samples", [1, 2, 3])
def test_very_few_samples(tmp_path, n_samples):
    ids = [f"i{row}" for row in range(n_samples)]
    features = write_features(tmp_path / "x.h5", np.eye(n_samples, 4), sample_ids=ids, dataset="x", backbone="y")
    run = verbs.fit([features], method="kmeans", clusters=n_samples, output=tmp_path / "run")
    text = render(read_data(run))
    Page(text)
    assert f"{n_samples} image{'s' if n_samples > 1 else ''} in" in text


def test_many_samples_make_a_small_page(tmp_path):
    """200 clusters, 100,000 samples."""
    generator = np.random.default_rng(0)
    centers = generator.normal(size=(200, 16)) * 4
    labels = np.arange(100_000) % 200
    features = (centers[labels] + generator.normal(size=(100_000, 16))).astype(np.float32)
    ids = [f"some/folder/of/photos/IMG_{row:06}.jpg" for row in range(100_000)]
    described = {"dataset": "x", "backbone": "y"}
    few = write_features(tmp_path / "few.h5", features[:1_000], sample_ids=ids[:1_000], **described)
    run = verbs.fit([few], method="kmeans", clusters=200, heads=1, output=tmp_path / "run")
    path = write_features(tmp_path / "x.h5", features, sample_ids=ids, labels=labels, **described)
    text = render(read_data(run, [path]), umap=False)
    parsed = Page(text)
    assert len(parsed.all("article")) == 200
    assert (
        3_000
        < sum(attributes["d"].count("M") for attributes in parsed.all("path") if "h0M" in attributes.get("d", ""))
        <= 12_000
    )
    assert "of the 100,000 images are shown" in text
    # All names, and the nearest images of 20,000. Thumbnails are at most 28 MB more: see test_images.
    assert len(text) < 5e6
