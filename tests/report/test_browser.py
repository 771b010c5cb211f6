"""The page in a real browser: Debian's packages chromium and chromium-driver, headless.

Skipped if they are not installed, unless the environment has HEADCLUST_BROWSER=required.
"""

import json
import os
import shutil
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from headclust import verbs
from headclust.progress import printable
from report.conftest import color_of
from report.test_page import decoded

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
REQUIRED = os.environ.get("HEADCLUST_BROWSER") == "required"
ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER) and not REQUIRED, reason="no chromium with chromedriver")


@pytest.fixture(scope="module")
def page(shared, tmp_path_factory):
    return verbs.report(shared.run, labels=True, umap=False, output=tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    assert BROWSER, "HEADCLUST_BROWSER=required, but chromium is not installed"
    assert DRIVER, "HEADCLUST_BROWSER=required, but chromedriver is not installed"
    started = []

    def start_browser(**preferences):
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
            options.add_argument(argument)
        options.add_experimental_option("prefs", preferences)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        started.append(driver)
        return driver

    yield start_browser
    for driver in started:
        driver.quit()


@pytest.fixture(scope="module")
def window(start):
    return start()


def opened(driver, page, width=1280, height=900, scheme="light"):
    """Load the page anew, in a window of the given size."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    for kind in ("browser", "performance"):
        driver.get_log(kind)
    driver.get(page.as_uri())
    driver.execute_script("document.documentElement.style.scrollBehavior = 'auto'; localStorage.clear()")
    return driver


@pytest.fixture
def browser(window, page):
    return opened(window, page)


def script(driver, text, *arguments):
    return driver.execute_script(text, *arguments)


def box(driver, selector):
    return script(driver, "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector)


def visible(driver, selector):
    return [element for element in driver.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()]


def point_at(driver, cluster, number=0):
    """Move the mouse over a point of a cluster and return its number on the map."""
    x, y, index = script(
        driver,
        """document.querySelector('.plane').scrollIntoView({block: 'center'});
        const group = document.querySelector(`.points[data-cluster="${arguments[0]}"]`);
        const all = [...document.querySelectorAll('.points')];
        const before = all.slice(0, all.indexOf(group)).reduce((sum, points) =>
            sum + points.querySelector('path').getAttribute('d').split('M').length - 1, 0);
        const [x, y] = group.querySelector('path').getAttribute('d').split('M')[1 + arguments[1]].match(/\\d+/g);
        const place = new DOMPoint(x, y).matrixTransform(document.querySelector('.plane').getScreenCTM());
        return [place.x, place.y, before + arguments[1]];""",
        cluster,
        number,
    )
    plane = driver.find_element(By.CSS_SELECTOR, ".plane")
    frame = box(driver, ".plane")
    middle = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    offset = round(x - middle[0]), round(y - middle[1])
    ActionChains(driver).move_to_element_with_offset(plane, *offset).perform()
    return index


def test_nothing_is_loaded_and_nothing_goes_wrong(browser, page):
    point_at(browser, 0)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    urls = [parameters["request"]["url"] for parameters in requests]
    assert [url for url in urls if not url.startswith("data:")] == [page.as_uri()]


def test_the_policy_stops_injected_content(browser):
    # Even if a name were markup in the page, the policy would stop it.
    injected = """const done = arguments[arguments.length - 1], violations = [];
        document.addEventListener('securitypolicyviolation', (event) => {
            violations.push(event.effectiveDirective);
            if (violations.length === 4) done(violations.sort());
        });
        document.body.insertAdjacentHTML('beforeend', '<img src="https://example.org/x.png">'
            + '<p onclick="window.taken = 1" style="color: red"></p>');
        const script = document.createElement('script');
        script.textContent = 'window.taken = 1';
        document.body.append(script);
        document.body.lastElementChild.previousElementSibling.click();"""
    browser.set_script_timeout(5)
    violations = browser.execute_async_script(injected)
    assert violations == ["img-src", "script-src-attr", "script-src-elem", "style-src-attr"]
    assert not script(browser, "return window.taken")


def test_hostile_names_are_text(browser):
    assert "report" in browser.title
    assert "taken" not in browser.title
    assert script(browser, "return document.scripts.length") == 2
    assert script(browser, "return [...document.images].every((image) => !image.src || image.src.startsWith('data:'))")
    titles = script(browser, "return [...document.querySelectorAll('[title]')].map((element) => element.title)")
    names = decoded(script(browser, "return JSON.parse(document.querySelector('#data').textContent).names"))
    for text in ("x</script><b>.png", '"><img src=x onerror=alert(1)>.png', "{{ 7*7 }}.png", "\\x1b[31mred.png"):
        assert text in names
        assert any(text in title for title in titles)
    assert not any(character in name for name in names for character in "\x1b\n\u202e")


def test_images_are_there_and_have_a_text(browser):
    # Cards outside the window are not laid out, and their images not decoded, until they are scrolled to.
    script(browser, "for (const image of document.images) image.decoding = 'sync'")
    images = script(
        browser,
        "return Promise.all([...document.images].filter((image) => !image.closest('dialog'))"
        ".map((image) => image.decode().then(() => "
        "[image.alt, image.naturalWidth, image.closest('[aria-hidden]') !== null])))",
    )
    assert len(images) >= 60
    assert all(width > 0 and (alt or hidden) for alt, width, hidden in images)


def test_pointing_at_a_dot_shows_its_image(browser, shared):
    names = {_cut(name): number for name, number in shared.numbers.items()}
    assert len(names) == 60
    for cluster in (0, 3):
        point_at(browser, cluster)
        (card,) = visible(browser, ".card")
        shown = card.find_element(By.TAG_NAME, "p").get_attribute("textContent")
        assert f"group {cluster}" in card.text
        ring, beside = box(browser, ".marker"), box(browser, ".card")
        assert ring["width"] == pytest.approx(16, abs=4)
        gap = max(beside["left"] - ring["right"], ring["left"] - beside["right"])
        assert 0 <= gap < 20
        assert beside["top"] - 20 <= ring["top"] <= beside["bottom"]
        uri = card.find_element(By.TAG_NAME, "img").get_attribute("src")
        pixels = np.asarray(Image.open(BytesIO(b64decode(uri.partition(",")[2]))).convert("RGB"), float)
        assert np.abs(pixels.mean((0, 1)) - color_of(names[shown])).max() < 12
    ActionChains(browser).move_to_element(browser.find_element(By.CSS_SELECTOR, "#map-title")).perform()
    assert visible(browser, ".card") == []


def _cut(name: bytes) -> str:
    """A name as the card of the map shows it: its end, if it is long."""
    shown = printable(os.fsdecode(name))
    if len(shown) <= 30:
        return shown
    end = shown[-29:]
    return f"…{end[end.find('/') :] if '/' in end[1:] else end}"


def test_the_map_by_keyboard(browser):
    announcements = []
    script(browser, "document.querySelector('[data-zoom=all]').focus()")
    keys = ActionChains(browser)
    keys.send_keys(Keys.TAB).perform()
    assert script(browser, "return document.activeElement.classList.contains('plane')")
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.ARROW_UP):
        ActionChains(browser).send_keys(key).perform()
        (card,) = visible(browser, ".card")
        assert card.find_elements(By.TAG_NAME, "img")
        announcement = script(browser, "return document.querySelector('#announcement').textContent")
        assert card.find_element(By.TAG_NAME, "p").get_attribute("textContent").strip("…") in announcement
        announcements.append(announcement)
    assert len(set(announcements)) > 1
    ActionChains(browser).send_keys("++").perform()
    width = lambda: float(script(browser, "return document.querySelector('.plane').viewBox.baseVal.width"))  # noqa: E731
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert width() < 2_500
    ActionChains(browser).send_keys("0").send_keys(Keys.ESCAPE).perform()
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert width() == 4_000
    assert visible(browser, ".card") == []


def test_tab_reaches_every_control(browser):
    n_controls = script(
        browser,
        "return [...document.querySelectorAll("
        "'a[href], button, input, select, pre, summary, .plane, .scroll, .opener')]"
        ".filter((element) => element.tabIndex >= 0 && !element.closest('dialog')"
        " && !element.matches('input[type=radio]:not(:checked)')).length",
    )
    script(browser, "document.body.tabIndex = -1; document.body.focus(); window.reached = new Set()")
    for _ in range(n_controls + 10):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        unseen = script(
            browser,
            """const active = document.activeElement;
            if (active === document.body) return false;
            window.reached.add(active);
            const box = active.getBoundingClientRect();
            return !active.matches('input[type=radio]') && (box.width === 0 || box.height === 0);""",
        )
        assert not unseen
    assert script(browser, "return window.reached.size") == n_controls


def test_filtering_by_cluster(browser):
    shown = """return [...document.querySelectorAll('.points')]
        .filter((group) => getComputedStyle(group).display !== 'none').map((group) => Number(group.dataset.cluster))"""
    assert script(browser, shown) == [0, 1, 2, 3]
    script(browser, "document.querySelector('.choices input[value=\"2\"]').click()")
    assert script(browser, shown) == [0, 1, 3]
    script(browser, "document.querySelector('[data-filter=none]').click()")
    assert script(browser, shown) == []
    point_at(browser, 1)
    assert visible(browser, ".card") == []
    script(browser, "document.querySelector('#cluster-1 [data-only]').click()")
    assert script(browser, shown) == [1]


def test_zoom_and_drag(browser):
    view = "return document.querySelector('.plane').getAttribute('viewBox').split(' ').map(Number)"
    frame = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
    script(browser, "document.querySelector('[data-zoom=in]').click()")
    browser.execute_async_script(frame)
    x, _, width, height = script(browser, view)
    assert width == pytest.approx(2_400)
    assert height / width == pytest.approx(0.65)
    plane = browser.find_element(By.CSS_SELECTOR, ".plane")
    ActionChains(browser).move_to_element(plane).click_and_hold().move_by_offset(60, 0).release().perform()
    browser.execute_async_script(frame)
    moved = script(browser, view)
    assert moved[0] == pytest.approx(x - 60 * width / box(browser, ".plane")["width"], abs=2)
    script(browser, "document.querySelector('[data-zoom=all]').click()")
    browser.execute_async_script(frame)
    assert script(browser, view) == [0, 0, 4_000, 2_600]


def test_sorting_and_finding_clusters(browser):
    numbers = (
        "return [...document.querySelectorAll('.cluster:not([hidden])')].map((card) => Number(card.dataset.number))"
    )
    sizes = script(
        browser, "return [...document.querySelectorAll('.cluster')].map((card) => Number(card.dataset.size))"
    )
    script(
        browser,
        "const sort = document.querySelector('#sort'); sort.value = 'size'; sort.dispatchEvent(new Event('change'))",
    )
    assert script(browser, numbers) == sorted(range(4), key=lambda number: (-sizes[number], number))
    find = browser.find_element(By.CSS_SELECTOR, "#find")
    find.send_keys("2")
    assert script(browser, numbers) == [2]
    find.clear()
    find.send_keys("BEE")
    assert script(browser, "return document.querySelector('.cluster:not([hidden])').dataset.majority") == "bee"
    assert browser.find_element(By.CSS_SELECTOR, "#matches").text == "1 of 4"


def test_light_and_dark(window, page):
    color = "return getComputedStyle(document.body).backgroundColor"
    colors = {}
    for scheme in ("light", "dark"):
        browser = opened(window, page, scheme=scheme)
        colors[scheme] = script(browser, color)
        for theme in ("dark", "light", "auto"):
            script(browser, f"document.querySelector('#theme-{theme}').click()")
            assert script(browser, "return document.querySelector('input[name=theme]:checked').value") == theme
            colors[scheme, theme] = script(browser, color)
    light, dark = colors["light"], colors["dark"]
    assert light != dark
    assert colors["light", "dark"] == colors["dark", "dark"] == colors["dark", "auto"] == dark
    assert colors["light", "light"] == colors["dark", "light"] == colors["light", "auto"] == light
    browser = opened(window, page, scheme="light")
    script(browser, "document.querySelector('#theme-dark').click()")
    browser.refresh()
    assert script(browser, color) == dark  # kept over the reload


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_nothing_is_wider_than_the_window(window, page, width):
    browser = opened(window, page, width=width)
    wide = script(
        browser,
        "document.querySelectorAll('.cluster').forEach((card) => card.style.contentVisibility = 'visible');"
        "return [document.documentElement.scrollWidth, innerWidth]",
    )
    assert wide[0] <= wide[1] == width


def test_without_scripts(start, page):
    browser = start(**{"profile.managed_default_content_settings.javascript": 2})
    size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    assert "scripted" not in browser.find_element(By.TAG_NAME, "html").get_attribute("class")
    assert len(visible(browser, ".plane .points")) == 4
    assert len(visible(browser, ".shot img")) >= 40
    assert visible(browser, ".tools, .filter, .zoom, [data-only]") == []
    before = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    browser.find_element(By.CSS_SELECTOR, "label[for=theme-dark]").click()
    assert browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color") != before


CONTRAST = """const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = (color) => color.slice(0, 3).map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
    const low = [];
    for (const element of document.querySelectorAll(arguments[0])) {
        const own = [...element.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
        if (!own || element.closest('svg') || element.closest('.unseen, [hidden]')) continue;
        let under = element, back;
        do back = rgba(getComputedStyle(under).backgroundColor);
        while (back[3] < 255 && (under = under.parentElement));
        const style = getComputedStyle(element), [a, b] = [light(rgba(style.color)), light(back)];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const least = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
        if (contrast < least) low.push([element.className, element.textContent.slice(0, 40), contrast]);
    }
    return low;"""


def test_text_can_be_read(window, page):
    """Contrast of all text with its background, by the formula of WCAG 2.2: at least 4.5, or 3 for large text."""
    for scheme in ("light", "dark"):
        browser = opened(window, page, scheme=scheme)
        assert script(browser, CONTRAST, "main *, header *, footer *") == []
        script(browser, "document.querySelector('[data-group=\"1\"]').click()")
        script(browser, "document.querySelector('#group-images button').click()")
        assert script(browser, CONTRAST, "dialog[open] *:not(:disabled)") == []
