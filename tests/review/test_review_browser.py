"""The page of a review in a real browser: as tests/report/test_browser.py, and skipped where that is."""

import json
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import uvicorn
from report.test_browser import CONTRAST, pytestmark, script, start  # noqa: F401
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys as Key

from headclust import verbs, write_features
from headclust.review.app import make_app
from headclust.review.desk import Desk
from headclust.review.guard import Keys
from headclust.review.server import listen

SECONDS = 20  # until something must have happened, on a busy machine


class Site:
    """A review that is served, its address, and its file of fixes."""

    def __init__(self, run) -> None:
        self.listener = listen(0)
        self.keys = Keys(port=self.listener.getsockname()[1])
        self.desk = Desk(run, self.keys)
        self.home = f"http://127.0.0.1:{self.keys.port}/"
        self.address = f"{self.home}?token={self.keys.token}"
        config = uvicorn.Config(make_app(self.desk, self.keys), lifespan="off", log_level="error", ws="none")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(SECONDS)
        self.desk.close()
        self.listener.close()

    @property
    def lines(self):
        file = self.desk.session.file
        return file.read_text(errors="surrogateescape").splitlines()[1:] if file.exists() else []


@contextmanager
def served(run):
    site = Site(run)
    try:
        yield site
    finally:
        site.end()


@pytest.fixture(scope="module")
def window(start):  # noqa: F811
    return start()


@pytest.fixture
def site(run):
    with served(run) as made:
        yield made


def wait(driver, condition, *arguments):
    """Wait until an expression of JavaScript is true; return its value."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        value = script(driver, f"return {condition}", *arguments)
        if value:
            return value
        time.sleep(0.03)
    raise AssertionError(f"never true: {condition}; the page says: {driver.find_element(By.TAG_NAME, 'body').text}")


def opened(driver, site, part="", width=1280, height=900, scheme="light"):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    for kind in ("browser", "performance"):
        driver.get_log(kind)
    driver.get(f"{site.address}{part}")
    wait(driver, "document.documentElement.classList.contains('ready')")
    return driver


def keys(driver, *texts):
    for text in texts:
        ActionChains(driver).send_keys(text).perform()


def lines_become(site, expected):
    end = time.monotonic() + SECONDS
    while site.lines != expected and time.monotonic() < end:
        time.sleep(0.02)
    assert site.lines == expected


def complaints(driver, site):
    """Lines of the browser's console about this page; the page before may still have asked its own, ended server."""
    return [entry for entry in driver.get_log("browser") if site.home in entry["message"]]


def shown_rows(driver):
    wait(driver, "[...document.querySelectorAll('.pick')].some((pick) => pick.dataset.row)")
    return script(
        driver,
        "return [...document.querySelectorAll('.pick')].filter((pick) => pick.dataset.row !== '')"
        ".sort((a, b) => a.dataset.place - b.dataset.place).map((pick) => Number(pick.dataset.row))",
    )


def id_of(site, row):
    return site.desk.session.fitted.assigned.sample_ids[row]


def test_it_opens_loads_nothing_else_and_shows_names_as_text(window, site):
    driver = opened(window, site, "#find/name/png", height=2_400)
    assert driver.current_url == f"{site.home}#find/name/png"  # the token has left the address
    rows = shown_rows(driver)
    wait(driver, "[...document.querySelectorAll('.pick img')].slice(0, 6).every((image) => image.naturalWidth)")
    titles = script(driver, "return [...document.querySelectorAll('.pick[title]')].map((pick) => pick.title)")
    assert len(titles) == len(rows)
    for text in ("x</script><b>.png", '"><img src=x onerror=alert(1)>.png', "{{ 7*7 }}.png", "\\x1b[31mred.png"):
        assert any(text in title for title in titles)
    assert script(driver, "return document.scripts.length") == 1
    assert "taken" not in driver.title
    driver.refresh()
    wait(driver, "document.documentElement.classList.contains('ready')")
    assert complaints(driver, site) == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert urls
    assert [url for url in urls if not url.startswith((site.home, "data:"))] == []


def test_a_group_by_keyboard(window, site):
    driver = opened(window, site, "#group/1")
    shown_rows(driver)
    keys(driver, "r")
    wait(driver, "document.activeElement.id === 'ask-field'")
    keys(driver, "bees <b>", Key.ENTER)
    lines_become(site, ['rename,1,,,"bees <b>"'])
    wait(driver, "document.querySelector('#group-title').textContent === 'bees <b>'")
    keys(driver, "c")
    lines_become(site, ['rename,1,,,"bees <b>"', "right,1,,,"])
    keys(driver, "m")
    wait(driver, "document.querySelector('#ask-choices li')")
    keys(driver, "3", Key.ENTER)
    lines_become(site, ['rename,1,,,"bees <b>"', "right,1,,,", "merge,1,,3,"])
    wait(driver, "location.hash === '#group/3'")
    keys(driver, "u", "u", "u")
    lines_become(site, [])
    keys(driver, "]", "[", "?")
    wait(driver, "document.querySelector('#keys-dialog').open")
    keys(driver, Key.ESCAPE)


def test_images_by_keyboard(window, site):
    driver = opened(window, site, "#group/0")
    rows = shown_rows(driver)
    keys(driver, "i")
    wait(driver, "document.activeElement.dataset.place === '0'")
    keys(driver, Key.ARROW_RIGHT, " ")
    ActionChains(driver).key_down(Key.SHIFT).send_keys(Key.ARROW_RIGHT).key_up(Key.SHIFT).perform()
    wait(driver, "document.querySelector('#chosen b')?.textContent === '2 images chosen'")
    keys(driver, "g")
    wait(driver, "document.querySelector('#ask-dialog').open")
    keys(driver, "2", Key.ENTER)
    moves = [f"move,2,{id_of(site, row)},," for row in rows[1:3]]
    lines_become(site, moves)
    wait(driver, "!document.querySelector('#ask-dialog').open && document.querySelector('#chosen').hidden")
    assert not set(rows[1:3]) & set(shown_rows(driver))
    keys(driver, "i", Key.ENTER)
    wait(driver, "document.querySelector('#large-image').naturalWidth")
    wait(driver, "document.querySelectorAll('#near-images img').length === 12")
    keys(driver, Key.ARROW_RIGHT, "y")
    lines_become(site, [*moves, f"move,0,{id_of(site, rows[5])},,"])
    keys(driver, Key.ESCAPE)


def test_images_are_dragged_onto_a_group(window, site):
    driver = opened(window, site, "#group/0")
    row, size = shown_rows(driver)[0], "document.querySelector('#side-list [data-group=\"0\"] .count').textContent"
    before = script(driver, f"return {size}")
    pick = driver.find_element(By.CSS_SELECTOR, ".pick")
    ActionChains(driver).drag_and_drop(
        pick, driver.find_element(By.CSS_SELECTOR, "#side-list [data-group='3']")
    ).perform()
    lines_become(site, [f"move,3,{id_of(site, row)},,"])
    wait(driver, "document.querySelector('.toast button')").click()
    lines_become(site, [])
    wait(driver, f"{size} === '{before}'")
    ActionChains(driver).drag_and_drop(
        driver.find_element(By.CSS_SELECTOR, "#side-list [data-group='1']"),
        driver.find_element(By.CSS_SELECTOR, "#side-list [data-group='2']"),
    ).perform()
    lines_become(site, ["merge,1,,2,"])


def test_levels_by_slider(window, site):
    driver = opened(window, site)
    assert len(driver.find_elements(By.CSS_SELECTOR, ".group-card")) == 4
    driver.find_element(By.CSS_SELECTOR, "#level").send_keys(Key.ARROW_LEFT, Key.ARROW_LEFT)
    wait(driver, "document.querySelectorAll('.group-card').length === 2")
    groups = script(
        driver, "return [...document.querySelectorAll('.group-card')].map((card) => Number(card.dataset.group))"
    )
    expected = site.desk.session.groups(2)
    assert groups == list(expected.ids)
    union = next(group for group in site.desk.groups({"level": "2"})["groups"] if len(group["parts"]) > 1)
    driver.find_element(By.CSS_SELECTOR, f".group-card[data-group='{union['id']}'] button:not(.tile-button)").click()
    lines_become(site, [f"merge,{part},,{union['id']}," for part in union["parts"] if part != union["id"]])


def test_questions_are_answered_with_keys(window, site):
    site.desk.questions({})
    site.desk.asking._thread.join()
    driver = opened(window, site, "#questions")
    first = site.desk.questions({})["questions"][0]
    wait(driver, "document.querySelector('.asked img')?.naturalWidth")
    keys(driver, "1")
    lines_become(site, [f"move,{first['groups'][0]},{id_of(site, first['row'])},,"])
    wait(driver, "document.querySelector('#question-place').textContent.startsWith('2 of')")
    keys(driver, "x")
    wait(driver, "document.querySelector('.question.pair')")
    pair = next(each for each in site.desk.questions({})["questions"] if "rows" in each)
    keys(driver, "n")
    lines_become(site, [*site.lines[:1], f"apart,,{id_of(site, pair['rows'][0])},{id_of(site, pair['rows'][1])},"])


def test_twenty_thousand_images_are_a_short_page(window, tmp_path):
    n_images = 20_000
    rows = np.random.default_rng(0).normal(size=(n_images, 4)).astype(np.float32)
    ids = [f"{row // 1000}/IMG_{row}.jpg" for row in range(n_images)]
    features = write_features(tmp_path / "many.h5", rows, sample_ids=ids, dataset="many", backbone="gauss")
    run = verbs.fit([features], method="kmeans", clusters=2, heads=1, output=tmp_path / "run")
    with served(run) as site:
        driver = opened(window, site, "#group/0")
        count = len(site.desk.images({"group": "0"})["images"])
        assert count == 500  # at once, at most
        shown_rows(driver)
        keys(driver, "i", Key.END)
        total = site.desk.images({"group": "0"})["total"]
        wait(driver, f"document.activeElement.dataset.place === '{total - 1}' && document.activeElement.dataset.row")
        assert script(driver, "return document.querySelectorAll('.pick').length") < 300
        last = site.desk._rows(None, {"group": "0"})[-1]
        assert script(driver, "return Number(document.activeElement.dataset.row)") == last
        keys(driver, Key.HOME)
        wait(driver, "document.activeElement.dataset.place === '0' && scrollY < 400")


def test_another_site_can_do_nothing(window, site, tmp_path):
    """A page of another origin tries what a page can: forms, fetches, pictures, frames, with and without cookies."""
    driver = opened(window, site)
    (tmp_path / "foreign.html").write_text("<!DOCTYPE html><title>foreign</title>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        driver.get(f"http://localhost:{other.server_port}/foreign.html")
        driver.set_script_timeout(SECONDS)
        results = driver.execute_async_script(
            """const [home, token, key, done] = arguments, results = [];
            const attempt = async (name, action) => {
                try { results.push([name, await action()]); } catch { results.push([name, "failed"]); }
            };
            (async () => {
                const body = '{"action":"right","group":0}', own = {"X-Headclust-Token": token};
                for (const mode of ["no-cors", "cors"]) for (const credentials of ["include", "omit"]) {
                    const plain = {method: "POST", mode, credentials, body};
                    await attempt("post", async () => (await fetch(home + "change/fix", plain)).type);
                }
                const full = {method: "POST", headers: own, body};
                await attempt("header", async () => (await fetch(home + "change/fix", full)).type);
                await attempt("read", async () => (await fetch(home + "data/state", {headers: own})).text());
                await attempt("picture", () => new Promise((resolve, reject) => {
                    const image = new Image();
                    image.onload = () => resolve("loaded"); image.onerror = reject;
                    image.src = home + "image/0?side=0&key=" + key;
                }));
                await attempt("frame", () => new Promise((resolve) => {
                    const frame = document.createElement("iframe");
                    frame.onload = () => resolve(frame.contentDocument ? "open" : "closed");
                    frame.src = home + "?token=" + token;
                    document.body.append(frame);
                }));
                const form = document.createElement("form"), frame = document.createElement("iframe");
                frame.name = "target"; form.target = "target"; form.method = "POST"; form.enctype = "text/plain";
                form.action = home + "change/fix";
                const field = document.createElement("input");
                field.name = body; form.append(field);
                document.body.append(frame, form);
                frame.onload = () => done(results);
                form.submit();
                setTimeout(() => done(results), 2000);
            })();""",
            site.home,
            site.keys.token,
            site.keys.images,
        )
        other.shutdown()
    outcome = {}
    for name, result in results:
        outcome.setdefault(name, set()).add(result)
    # An opaque answer tells nothing; the request was refused.
    assert outcome == {
        "post": {"failed", "opaque"} & outcome["post"],
        "header": {"failed"},
        "read": {"failed"},
        "picture": {"failed"},
        "frame": {"closed"},
    }
    assert site.lines == []


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_everything_is_readable_named_and_fits(window, site, width, scheme):
    driver = opened(window, site, width=width, height=800, scheme=scheme)
    for part in ("groups", "group/0", "questions", "changes", "near/3"):
        script(driver, f"location.hash = '#{part}'")
        section = {"group/0": "group", "near/3": "list"}.get(part, part)
        wait(driver, f"document.querySelector('#part-{section}:not([hidden]) h1')?.textContent")
        assert script(driver, "return document.documentElement.scrollWidth") <= width
        assert script(driver, CONTRAST, "main *, header *, .side *") == []
        unnamed = script(
            driver,
            """return [...document.querySelectorAll('a[href], button, input, select, [role], dialog, progress')]
                .filter((each) => each.closest('[hidden], [aria-hidden=true], dialog:not([open])') === null)
                .filter((each) => !['alert', 'status', 'presentation'].includes(each.role))
                .filter((each) => !(each.getAttribute('aria-label') || each.textContent.trim()
                    || each.labels?.[0]?.textContent.trim() || each.dataset.row === ''
                    || document.getElementById(each.getAttribute('aria-labelledby') || '-')))
                .map((each) => each.outerHTML.slice(0, 100))""",
        )
        assert unnamed == []
    assert complaints(driver, site) == []


def test_when_the_review_has_ended_the_page_says_so(window, run):
    with served(run) as site:
        driver = opened(window, site, "#group/0")
        shown_rows(driver)
    keys(driver, "c")
    assert "has ended" in wait(driver, "document.querySelector('#banner').textContent")
