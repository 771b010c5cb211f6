"""Images opened large, all images of a group, and the search, in a real browser: see test_browser.py."""

import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from headclust import verbs, write_features
from headclust.images.datasets import open_source
from headclust.progress import printable
from headclust.report import read_data
from report.conftest import HOSTILE, SIDE, World
from report.test_browser import opened, pytestmark, script, start, visible, window  # noqa: F401

IMAGE = "document.querySelector('#large-dialog .stand img')"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the images, and with a page in a folder of its own."""
    place = tmp_path_factory.mktemp("place")
    world = World(place)
    verbs.report(world.run, umap=False, output=place / "out" / "report.html")
    return world


@pytest.fixture
def browser(window, place):  # noqa: F811
    return opened(window, place.root / "out" / "report.html")


def press(driver, *keys):
    ActionChains(driver).send_keys(*keys).perform()


def click(driver, selector):
    element = driver.find_element(By.CSS_SELECTOR, selector)
    script(driver, "arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def text_of(driver, selector):
    return script(driver, "return document.querySelector(arguments[0]).textContent", selector)


def wait(driver, expression):
    return WebDriverWait(driver, 10).until(lambda driver: script(driver, f"return {expression}"))


def find(driver, text):
    field = driver.find_element(By.CSS_SELECTOR, "#find-image")
    script(driver, "arguments[0].value = ''; arguments[0].scrollIntoView({block: 'center'})", field)
    field.send_keys(text)
    driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    return [element.get_attribute("title") for element in driver.find_elements(By.CSS_SELECTOR, "#found-images button")]


def test_all_images_of_a_group(browser, place):
    data = read_data(place.run)
    members = np.flatnonzero(data.clusters == 2)
    click(browser, "[data-group='2']")
    assert text_of(browser, "#group-title") == f"Group 2: {len(members)} images"
    tiles = "return [...document.querySelectorAll('#group-images button')].map((tile) => Number(tile.dataset.row))"
    shown = script(browser, tiles)
    assert sorted(shown) == members.tolist()
    assert (np.diff(np.rint(1000 * data.confidence[shown])) <= 0).all()
    assert wait(browser, "[...document.querySelectorAll('#group-images img')].every((image) => image.naturalWidth)")
    order = browser.find_element(By.CSS_SELECTOR, "#group-order")
    order.send_keys("by name")
    assert sorted(script(browser, tiles)) == members.tolist()
    assert script(browser, tiles) != shown
    press(browser, Keys.ESCAPE)
    assert visible(browser, "dialog") == []
    assert script(browser, "return document.activeElement.dataset.group") == "2"
    assert browser.get_log("browser") == []


def test_an_image_opens_large(browser, place):
    data = read_data(place.run)
    click(browser, "#cluster-1 figure img")
    row = int(script(browser, "return document.querySelector('#cluster-1 figure').dataset.row"))
    name = printable(data.sample_ids[row])
    assert text_of(browser, "#large-title") == name.rpartition("/")[2]
    assert text_of(browser, "#large-path") == f"{place.folder}/{name}"
    assert text_of(browser, "#large-group") == "Group 1"
    assert text_of(browser, "#large-confidence") == f"{100 * data.confidence[row]:.1f} %"
    wait(browser, f"{IMAGE}.src.startsWith('file:')")
    assert script(browser, f"return {IMAGE}.naturalWidth") == SIDE
    assert script(browser, f"return {IMAGE}.src === document.querySelector('#large-file').href")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#near-images button")) == 6
    for key, place_text in ((Keys.ARROW_LEFT, "1 of "), (Keys.ARROW_RIGHT, "2 of "), (Keys.ARROW_LEFT, "1 of ")):
        press(browser, key)
        assert text_of(browser, "#large-place").startswith(place_text)
    near = browser.find_element(By.CSS_SELECTOR, "#near-images button")
    other = int(near.get_attribute("data-row"))
    near.click()
    assert text_of(browser, "#large-title") == printable(data.sample_ids[other]).rpartition("/")[2]
    press(browser, Keys.ESCAPE)
    assert visible(browser, "dialog") == []
    assert script(browser, "return document.activeElement.closest('figure')?.dataset.row") == str(row)
    assert browser.get_log("browser") == []


def test_one_escape_closes_one_dialog(browser):
    click(browser, "[data-group='0']")
    click(browser, "#group-images button")
    press(browser, Keys.TAB)
    assert script(browser, "return document.activeElement.closest('dialog').id") == "large-dialog"
    press(browser, Keys.ESCAPE)
    assert [element.get_attribute("id") for element in visible(browser, "dialog")] == ["group-dialog"]
    press(browser, Keys.ESCAPE)
    assert visible(browser, "dialog") == []


def test_the_group_of_a_large_image_is_a_link(browser):
    find(browser, "photo 030")
    press(browser, Keys.ENTER)
    group = text_of(browser, "#large-group").removeprefix("Group ")
    click(browser, "#large-group")
    assert visible(browser, "dialog") == []
    assert browser.current_url.endswith(f"#cluster-{group}")


def test_arrow_keys_move_among_the_images_of_a_group(browser):
    click(browser, "[data-group='0']")
    press(browser, Keys.TAB, Keys.TAB, Keys.TAB)
    focused = "return [...document.querySelectorAll('#group-images button')].indexOf(document.activeElement)"
    assert script(browser, focused) == 0
    n_tiles = len(browser.find_elements(By.CSS_SELECTOR, "#group-images button"))
    for key, index in ((Keys.ARROW_RIGHT, 1), (Keys.END, n_tiles - 1), (Keys.ARROW_RIGHT, n_tiles - 1), (Keys.HOME, 0)):
        press(browser, key)
        assert script(browser, focused) == index
    press(browser, Keys.ENTER)
    assert text_of(browser, "#large-place") == f"1 of {n_tiles}"


def test_every_hostile_name_opens_its_own_file(browser, place):
    field = browser.find_element(By.CSS_SELECTOR, "#find-image")
    assert len(find(browser, "PNG")) == 60
    field.send_keys(Keys.ENTER)
    sources = set()
    for number in range(60):
        assert text_of(browser, "#large-place") == f"{number + 1} of 60"
        wait(browser, f"{IMAGE}.src.startsWith('file:') && {IMAGE}.naturalWidth === {SIDE}")
        sources.add(script(browser, f"return {IMAGE}.src"))
        press(browser, Keys.ARROW_RIGHT)
    assert len(sources) == 60
    assert browser.get_log("browser") == []
    assert "taken" not in browser.title


def test_images_are_found_by_any_part_of_their_name(browser):
    assert sorted(find(browser, "photo 02")) == [f"photo 02{digit}.png" for digit in range(10)]
    assert text_of(browser, "#image-matches") == "10 images"
    assert find(browser, HOSTILE[1]) == [HOSTILE[1]]
    assert find(browser, "x</SCRIPT") == [HOSTILE[-1]]
    assert find(browser, "x<") == [HOSTILE[-1]]
    assert find(browser, "no such name") == []
    assert text_of(browser, "#image-matches") == "0 images"
    (button,) = browser.find_elements(By.CSS_SELECTOR, "#found-images button") if find(browser, "a" * 200) else ()
    assert button.text.splitlines()[-1].startswith("group ")
    assert button.text.splitlines()[0].endswith("aaa.png")
    field = browser.find_element(By.CSS_SELECTOR, "#find-image")
    field.clear()
    field.send_keys(Keys.BACKSPACE)


def test_page_and_images_moved_together(start, place, tmp_path):  # noqa: F811
    browser = opened(start(), shutil.copytree(place.root, tmp_path / "moved %41") / "out" / "report.html")
    place.folder.rename(place.root / "hidden")
    try:
        find(browser, "photo 030")
        press(browser, Keys.ENTER)
        wait(browser, f"{IMAGE}.src.startsWith('file:')")
        assert script(browser, f"return {IMAGE}.naturalWidth") == SIDE
        assert "moved%20%2541" in script(browser, f"return {IMAGE}.src")
    finally:
        (place.root / "hidden").rename(place.folder)


def test_images_that_are_gone_show_their_small_copy(browser, place):
    place.folder.rename(place.root / "hidden")
    try:
        find(browser, "photo 030")
        press(browser, Keys.ENTER)
        wait(browser, "document.querySelector('#large-note').textContent")
        assert text_of(browser, "#large-note").endswith("This is a small copy.")
        assert script(browser, f"return {IMAGE}.src").startswith("data:")
        assert visible(browser, "#large-file") == []
    finally:
        (place.root / "hidden").rename(place.folder)


def test_images_without_a_small_copy_are_shown_from_their_files(window, place):  # noqa: F811
    page = verbs.report(place.run, umap=False, thumbnails=5, output=place.root / "out" / "few.html")
    assert "Small copies of 5 of 60 images are in this page:" in page.read_text(encoding="utf-8")
    browser = opened(window, page)
    click(browser, "[data-group='1']")
    wait(browser, "[...document.querySelectorAll('#group-images img')].every((image) => image.naturalWidth)")
    kinds = script(browser, "return [...document.querySelectorAll('#group-images img')].map((image) => image.src[0])")
    assert kinds.count("f") >= len(kinds) - 5 > 0
    assert browser.get_log("browser") == []


def test_images_of_a_list(window, tmp_path):  # noqa: F811
    (tmp_path / "lists").mkdir()
    (tmp_path / "other photos").mkdir()
    names = [f"{tmp_path}/other photos/absolute #1.png", "../other photos/b%?.png", "beside.png", "page.html"]
    for number, name in enumerate(names):
        Image.new("RGB", (20 + number, 9)).save(tmp_path / "lists" / name, "PNG")
    (tmp_path / "lists" / "mine.csv").write_text("\n".join(["path", *names]))
    images = open_source(str(tmp_path / "lists" / "mine.csv"))
    described = {"dataset": "x", "backbone": "y", "attributes": {"source": images.source, "split": "all"}}
    features = write_features(tmp_path / "x.h5", np.eye(4), sample_ids=images.sample_ids, **described)
    page = verbs.report(verbs.fit([features], method="kmeans", clusters=2, output=tmp_path / "run"), umap=False)
    browser = opened(window, page)
    for number, name in enumerate(names):
        assert find(browser, name) == [name]
        press(browser, Keys.ENTER)
        wait(browser, f"{IMAGE}.src.startsWith('file:') && {IMAGE}.naturalWidth === {20 + number}")
        shown = text_of(browser, "#large-path")
        assert shown == (name if name.startswith("/") else f"{tmp_path}/lists/{name}")
        # A file that is not named like an image is shown, and no link opens it as a page.
        assert bool(visible(browser, "#large-file")) == name.endswith(".png")
        press(browser, Keys.ESCAPE)
    assert browser.get_log("browser") == []


def test_a_page_from_a_server_asks_for_nothing(window, place):  # noqa: F811
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=place.root))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        window.get(f"http://127.0.0.1:{server.server_port}/out/report.html")
        find(window, "photo 030")
        press(window, Keys.ENTER)
        wait(window, "document.querySelector('#large-note').textContent")
        assert script(window, f"return {IMAGE}.src").startswith("data:")
    finally:
        server.shutdown()
        server.server_close()
    assert asked == ["/out/report.html"]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A page of 400 samples in two groups, without images."""
    root = tmp_path_factory.mktemp("crowd")
    features = np.random.default_rng(0).normal(size=(400, 4))
    features[:, 0] += np.where(np.arange(400) < 300, 20, -20)
    ids = [f"album e\u0301te\u0301/day {row // 100}/IMG_{row:04}.jpg" for row in range(400)]
    path = write_features(root / "x.h5", features, sample_ids=ids, dataset="x", backbone="y")
    return verbs.report(verbs.fit([path], method="kmeans", clusters=2, output=root / "run"), umap=False)


def test_a_large_group_is_shown_in_parts(window, crowd):  # noqa: F811
    browser = opened(window, crowd)
    group = script(browser, "return document.querySelector('.cluster[data-size=\"300\"]').dataset.number")
    click(browser, f"[data-group='{group}']")
    n_tiles = "document.querySelectorAll('#group-images button').length"
    assert 120 <= script(browser, f"return {n_tiles}") <= 300
    for _ in range(50):  # a busy machine draws late
        script(browser, "document.querySelector('#group-dialog').scrollTop = 1e6")
        browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 100))")
        if script(browser, f"return {n_tiles}") == 300:
            break
    assert script(browser, f"return {n_tiles}") == 300
    assert visible(browser, "#group-more") == []


def test_a_search_shows_the_first_of_many(window, crowd):  # noqa: F811
    browser = opened(window, crowd)
    assert len(find(browser, "IMG")) == 60
    assert text_of(browser, "#image-matches") == "400 images, the first 60 are shown"
    # The name has "e" and an accent; the keyboard gives one character.
    assert len(find(browser, "\xe9t\xe9/day 3/img_0399")) == 1
    press(browser, Keys.ENTER)
    assert text_of(browser, "#large-title") == "IMG_0399.jpg"
    assert "no small copy" in text_of(browser, "#large-nothing")


@pytest.mark.parametrize("width", [360, 768])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dialogs_fit_the_window(window, place, width, scheme):  # noqa: F811
    browser = opened(window, place.root / "out" / "report.html", width=width, scheme=scheme)
    click(browser, "[data-group='3']")
    fits = "return [...document.querySelectorAll('dialog[open]')].every((each) => each.scrollWidth <= innerWidth)"
    assert script(browser, fits)
    script(
        browser,
        "[...document.querySelectorAll('#group-images button')]"
        ".sort((a, b) => b.title.length - a.title.length)[0].click()",
    )
    assert script(browser, fits)
    assert script(browser, "return document.documentElement.scrollWidth <= innerWidth")


def test_nothing_of_the_dialogs_is_printed(browser):
    click(browser, "[data-group='3']")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert visible(browser, "dialog") == []
        assert visible(browser, "article") != []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
