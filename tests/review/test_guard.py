"""Nobody but the tab that was opened with the address: each way in of a foreign site or program is tried."""

import shutil

import pytest

from headclust.review.guard import HEADER, Keys
from review.conftest import PORT, Page


@pytest.fixture(scope="module")
def visited(reviewed, tmp_path_factory):
    """One review for all tests that change nothing."""
    made = Page(shutil.copytree(reviewed.run, tmp_path_factory.mktemp("visited") / "run"))
    yield made
    assert not made.desk.session.file.exists()
    made.desk.close()


@pytest.fixture
def visit(visited):
    """The same review in another browser."""
    visited.client.cookies.clear()
    return visited


HOME = f"http://127.0.0.1:{PORT}"


def test_the_page_opens_with_its_token_and_then_with_its_cookie(visit):
    client, keys = visit.client, visit.keys
    response = client.get("/", params={"token": keys.token})
    assert response.status_code == 200
    assert keys.token not in response.text  # nothing of the run, and no secret, is in the page itself
    cookie = response.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert keys.token not in cookie
    assert client.get("/").status_code == 200  # a reload
    client.cookies.clear()
    assert client.get("/").status_code == 403


@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong", "?token=%ff", "?once=", "?once=wrong"])
def test_without_its_token_the_page_is_refused(visit, query):
    response = visit.client.get(f"/{query}")
    assert response.status_code == 403
    assert len(response.text.splitlines()) == 1
    assert "address" in response.text


def test_the_address_for_the_arguments_of_a_browser_works_once(page):
    first = page.client.get("/", params={"once": page.keys.once}, follow_redirects=False)
    assert first.headers["location"] == f"/?token={page.keys.token}"
    assert page.client.get("/", params={"once": page.keys.once}).status_code == 403


@pytest.mark.parametrize("header", [None, "", "wrong"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/data/state"), ("POST", "/change/fix"), ("POST", "/change/undo")]
)
def test_without_the_token_in_a_header_nothing_is_read_or_changed(visit, method, path, header):
    visit.client.get("/", params={"token": visit.keys.token})  # with the cookie, which is not enough
    headers = {} if header is None else {HEADER: header}
    values = {"json": {"action": "right", "group": 0}} if method == "POST" else {}
    response = visit.client.request(method, path, params={"token": visit.keys.token}, headers=headers, **values)
    assert response.status_code == 403
    assert not visit.desk.session.file.exists()


@pytest.mark.parametrize(
    "foreign",
    [
        {"origin": "https://example.org"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": f"https://127.0.0.1:{PORT}"},
        {"origin": f"http://localhost:{PORT}"},  # not the host that was asked
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-length": "9999999"},
    ],
)
def test_even_with_the_token_another_site_changes_nothing(visit, foreign):
    headers = {**visit.headers, "content-type": "application/json", **foreign}
    response = visit.client.post("/change/fix", content='{"action":"right","group":0}', headers=headers)
    assert response.status_code == 403
    assert not visit.desk.session.file.exists()


def test_its_own_page_changes(page):
    own = {**page.headers, "origin": HOME, "sec-fetch-site": "same-origin"}
    assert page.client.post("/change/fix", json={"action": "right", "group": 0}, headers=own).status_code == 200
    assert page.lines == ["right,0,,,"]


@pytest.mark.parametrize(
    "host", ["example.org", f"example.org:{PORT}", "127.0.0.1", "127.0.0.1:1", "", f"[::1]:{PORT}"]
)
@pytest.mark.parametrize("path", ["/", "/data/state", "/image/0"])
def test_a_name_that_resolves_to_this_machine_is_refused(visit, host, path):
    """DNS rebinding: the browser takes the foreign name for the page's own site, and sends what that may send."""
    query = {"token": visit.keys.token, "key": visit.keys.images}
    assert visit.client.get(path, params=query, headers={**visit.headers, "host": host}).status_code == 403


def test_localhost_is_this_machine(visit):
    host = f"localhost:{PORT}"
    assert visit.client.get("/data/state", headers={**visit.headers, "host": host}).status_code == 200


def test_images_need_a_key_of_their_own(visit):
    assert visit.client.get("/image/0", params={"key": visit.keys.token}).status_code == 403
    assert visit.client.get("/image/0", headers=visit.headers).status_code == 403
    assert visit.client.get("/image/0", params={"key": visit.keys.images, "side": 0}).status_code == 200
    query = {"key": visit.keys.images, "side": 0}
    assert visit.client.get("/image/0", params=query, headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_no_site_may_frame_embed_or_read_it(visit):
    for response in (visit.client.get("/", params={"token": visit.keys.token}), visit.image(0), visit.client.get("/")):
        headers = response.headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
    options = {"origin": "https://example.org", "access-control-request-method": "POST"}
    assert visit.client.options("/change/fix", headers=options).status_code == 403
    frame = {"sec-fetch-dest": "iframe"}
    assert visit.client.get("/", params={"token": visit.keys.token}, headers=frame).status_code == 403


def test_every_review_has_other_secrets():
    first, second = Keys(port=1), Keys(port=1)
    assert len({first.token, first.page, first.images, first.once, second.token, second.page, second.images}) == 7
