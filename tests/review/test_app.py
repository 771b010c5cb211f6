"""What the page asks for, and what it gets: groups, images, questions, changes."""

from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from report.conftest import color_of

from headclust.backbones.entry import PROJECTED
from headclust.review.desk import Desk
from headclust.review.guard import Keys
from review.conftest import Page


def test_the_state_of_a_run(page, run):
    state = page.read("state")
    assert (state["samples"], state["clusters"], state["finest"], state["coarsest"]) == (60, 4, 4, 1)
    assert (state["run"], state["fixes"], state["undo"], state["images"], state["problem"]) == (
        str(run),
        0,
        "",
        True,
        "",
    )
    assert "open_clip" in state["text"]


def test_groups_at_every_level(page):
    groups = page.read("groups")["groups"]
    assert [group["id"] for group in groups] == [0, 1, 2, 3]
    assert sum(group["count"] for group in groups) == 60
    clusters = page.desk.session.groups().clusters
    for group in groups:
        assert group["parts"] == [group["id"]]
        assert len(group["typical"]) == 6
        assert {clusters[row] for row in group["typical"]} == {group["id"]}
    coarse = page.read("groups", level=2)["groups"]
    assert sorted(part for group in coarse for part in group["parts"]) == [0, 1, 2, 3]
    assert len(coarse) == 2
    assert "level 9" in page.read("groups", 400, level=9)["error"]


def test_the_images_of_a_group_in_parts_and_orders(page):
    session = page.desk.session
    rows = np.flatnonzero(session.groups().clusters == 1)
    answer = page.read("images", group=1, order="unsure", start=2, count=3)
    assert answer["total"] == len(rows)
    expected = rows[np.argsort(session.groups().confidence[rows], kind="stable")][2:5]
    assert [image[0] for image in answer["images"]] == expected.tolist()
    names = [image[1] for image in page.read("images", group=1, order="name")["images"]]
    assert sorted(names, key=str.casefold) == sorted(names)
    assert "order" in page.read("images", 400, group=1, order="size")["error"]
    assert "found 0" in page.read("images", 400)["error"]
    assert "whole number" in page.read("images", 400, group="²")["error"]


def test_names_are_found_in_any_case_and_shown_as_text(page):
    assert [image[1] for image in page.read("images", name="PHOTO 02")["images"]] == [
        f"photo {number:03}.png" for number in range(20, 30)
    ]
    assert page.read("images", name="<img ONERROR")["total"] == 1
    assert page.read("images", name=" ")["total"] == 0
    names = "".join(image[1] for image in page.read("images", name=".png")["images"])
    assert not any(character in names for character in "\x1b\n\u202e")
    assert "caf\\xe9.png" in names or "caf\\udce9.png" in names


def test_similar_images_are_those_of_nearest_features(page, reviewed):
    unit = reviewed.blobs.features / np.linalg.norm(reviewed.blobs.features, axis=1, keepdims=True)
    cosines = unit @ unit[7]
    expected = [row for row in np.argsort(-cosines).tolist() if row != 7]
    near = [image[0] for image in page.read("images", near=7)["images"]]
    assert near == expected
    assert "60 images" in page.read("images", 400, near=60)["error"]


def test_actions_by_name_undo_and_the_list_of_changes(page):
    answer = page.change("fix", action="move", rows=[0, 1, 2], into="new")
    assert (answer["group"], answer["fixes"]) == (4, 3)
    assert len(page.lines) == 3
    page.change("fix", action="rename", group=4, name="<script>taken()</script>")
    group = page.read("groups")["groups"][-1]
    assert (group["id"], group["name"], group["proposed"], group["count"]) == (4, "<script>taken()</script>", False, 3)
    page.change("fix", action="right", group=4)
    assert page.read("groups")["groups"][-1]["right"]
    changes = page.read("changes")
    assert (changes["total"], changes["changes"][0]) == (5, [5, "group 4 is right"])
    assert changes["changes"][1] == [4, "rename group 4 to <script>taken()</script>"]
    assert page.read("image", row=0)["image"][2:] == [4, page.read("image", row=0)["image"][3], 1]
    assert page.change("undo")["undone"] == "group 4 is right"
    page.change("undo")
    assert "and 2 more" in page.change("undo")["undone"]
    assert page.lines == []
    assert "no change" in page.change("undo", 400)["error"]


def test_bad_requests_are_one_line_and_change_nothing(page):
    assert "fly" in page.change("fix", 400, action="fly")["error"]
    response = page.client.post(
        "/change/fix", content="[" * 100_000, headers={**page.headers, "content-type": "application/json"}
    )
    assert response.status_code == 400
    assert page.client.get("/data/nothing", headers=page.headers).status_code == 404
    assert not page.desk.session.file.exists()


def test_images_are_made_on_demand(page, reviewed):
    row = 11
    number = reviewed.number(page.desk.session.fitted.assigned.sample_ids[row])
    for side in (0, 1):
        response = page.image(row, side)
        assert response.headers["content-type"] == "image/webp"
        pixels = np.asarray(Image.open(BytesIO(response.content)).convert("RGB"), float)
        assert np.abs(pixels.mean((0, 1)) - color_of(number)).max() < 12
    assert page.image(60).status_code == page.image(0, 2).status_code == 404


def test_a_damaged_image_has_a_reason_and_the_others_are_shown(reviewed, run):
    page = Page(run)
    try:
        path = reviewed.folder / "photo 030.png"
        content = path.read_bytes()
        row = page.desk.session.fitted.assigned.sample_ids.index("photo 030.png")
        try:
            path.write_bytes(content[:40])
            response = page.image(row)
        finally:
            path.write_bytes(content)
        assert response.status_code == 404
        assert page.read("image", row=row)["reason"]
        assert page.image((row + 1) % 60).status_code == 200
    finally:
        page.desk.close()


def test_questions_ask_what_is_least_sure(page):
    page.read("questions")
    page.desk.asking._thread.join()
    answer = page.read("questions")
    assert (answer["progress"], answer["problem"]) == (1.0, "")
    images = [question for question in answer["questions"] if "row" in question]
    pairs = [question for question in answer["questions"] if "rows" in question]
    doubts, clusters = page.desk.asking._doubts, page.desk.session.groups().clusters
    margins = doubts.probs[:, 0] - doubts.probs[:, 1]
    assert images[0]["row"] == int(np.argmax((1 - margins) * doubts.typical))
    assert (doubts.typical[np.argsort(margins, kind="stable")[:30]] > 0).all()
    assert all(question["groups"][0] == clusters[question["row"]] for question in images)
    assert pairs
    for question in pairs:
        assert clusters[question["rows"][0]] != clusters[question["rows"][1]]
    # What is answered is not asked again.
    page.change("fix", action="move", rows=[images[0]["row"]], into=images[0]["groups"][0])
    page.change("fix", action="apart", rows=pairs[0]["rows"])
    page.change("fix", action="right", group=images[1]["groups"][0])
    left = page.read("questions")["questions"]
    assert images[0] not in left
    assert pairs[0] not in left
    assert not [
        question for question in left if question.get("groups", [-1])[0] == images[1]["groups"][0] and "row" in question
    ]


def test_without_features_and_images_names_and_groups_remain(run, reviewed, tmp_path, capsys):
    """A run that was moved to another machine alone."""
    import json

    config = json.loads((run / "config.json").read_text())
    config["features"][0] |= {"path": str(tmp_path / "gone.h5"), "source": str(tmp_path / "gone")}
    (run / "config.json").write_text(json.dumps(config))
    config["format_version"] = 3  # without checksums
    (run / "config.json").write_text(json.dumps(config))
    (run / "checksums.sha256").unlink()
    desk = Desk(run, Keys(port=1))
    try:
        assert capsys.readouterr().err.count("images:") == 1
        state = desk.state({})
        assert not state["images"]
        assert state["problem"]
        assert desk.images({"group": "0"})["total"]
        assert desk.thumbnails.request(0, 0).result() == state["problem"]
        desk.questions({})
        desk.asking._thread.join()
        answer = desk.questions({})
        assert "gone.h5" in answer["problem"]
        confidence = desk.session.groups().confidence
        assert answer["questions"][0]["row"] == int(np.argmin(confidence))
    finally:
        desk.close()


def test_a_request_that_is_given_up_takes_no_other_with_it(page):
    """Two places of the page show one image, and one of them is scrolled away."""
    futures = [page.desk.thumbnails.request(row, 0) for row in (*range(40), *range(40))]
    for future in futures[:40]:
        future.cancel()
    assert all(isinstance(future.result(60), bytes) for future in futures[40:])


@pytest.mark.parametrize("n_images", [1, 700])
def test_the_newest_requests_are_served_and_the_oldest_given_up(page, n_images):
    futures = [page.desk.thumbnails.request(row % 60, row // 60 % 2) for row in range(n_images)]
    page.desk.close()
    assert all(future.done() for future in futures)


def test_images_are_found_by_text_where_the_model_has_a_text_tower(page, reviewed, monkeypatch):
    """The text tower is a stand-in whose embedding of any text is the features of image 9."""
    assert "open_clip" in page.read("images", 400, text="bees")["error"]
    unit = reviewed.blobs.features / np.linalg.norm(reviewed.blobs.features, axis=1, keepdims=True)
    loaded = []

    def load_pair(name, *, offline):
        loaded.append((name, offline))
        texts = SimpleNamespace(embed_words=lambda words: torch.from_numpy(unit[[9] * len(words)]))
        return SimpleNamespace(backbone=SimpleNamespace(weights_sha256="a"), **vars(texts))

    monkeypatch.setattr("headclust.backbones.load_pair", load_pair)
    recorded = page.desk.session.fitted.record.config["features"][0]
    recorded |= {"backbone": "open_clip:ViT-B-32/openai", "feature_point": PROJECTED, "weights_sha256": "a"}
    page.desk.__dict__.pop("text_problem")
    assert page.read("state")["text"] == ""
    assert [image[0] for image in page.read("images", text="bees")["images"]] == np.argsort(-(unit @ unit[9])).tolist()
    assert loaded == [("open_clip:ViT-B-32/openai", True)]  # nothing is downloaded
    recorded["weights_sha256"] = "b"
    assert "not those of the features" in page.read("images", 400, text="ants")["error"]
