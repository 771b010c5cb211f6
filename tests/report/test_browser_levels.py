"""The slider over levels, in a real browser."""

import shutil

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from headclust import runs, verbs
from headclust.runs.fixes import Fix, append_fixes
from headclust.runs.names import Name, Names, write_names
from report.test_browser import BROWSER, DRIVER, REQUIRED, opened, script, start, visible, window  # noqa: F401

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER) and not REQUIRED, reason="no chromium with chromedriver")
HOSTILE = '<i>cats</i> & "dogs"'


@pytest.fixture(scope="module")
def run(shared, tmp_path_factory):
    """The shared run, in which two groups and the first union have a name."""
    path = shutil.copytree(shared.run, tmp_path_factory.mktemp("levels") / "run")
    kept, joined, _ = runs.read_levels(runs.read_record(path)).joins[0]
    append_fixes(path / "fixes.csv", [Fix("rename", group=kept, name=HOSTILE)])
    write_names(path, Names("a list", {joined: Name("birds")}, (Name("animals"), None, None)))
    return path


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    output = tmp_path_factory.mktemp("page") / "report.html"
    return verbs.report(run, umap=False, thumbnails=20, output=output)


@pytest.fixture
def browser(window, page):  # noqa: F811
    driver = opened(window, page)
    # Cards off the screen are not rendered, so their text would be there or not by when it is read.
    script(driver, "for (const card of document.querySelectorAll('.cluster')) card.style.contentVisibility = 'visible'")
    return driver


@pytest.fixture(scope="module")
def levels(run):
    return {level: runs.read_groups(runs.read_record(run), level=level) for level in (2, 3, 4)}


def press(browser, *keys):
    """Press keys on the slider, and wait until the page follows."""
    slider = browser.find_element(By.ID, "level")
    slider.send_keys(*keys)
    browser.set_script_timeout(5)
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50)))"
    )
    return int(slider.get_attribute("value"))


def numbers(browser, selector, attribute):
    return sorted(int(element.get_attribute(attribute)) for element in visible(browser, selector))


def test_keys_on_the_slider_join_groups_everywhere(browser, levels):
    first = script(browser, "return document.querySelector('#main').innerText")
    positions = "return [...document.querySelectorAll('.numbers text')].map((text) => text.outerHTML)"
    before = script(browser, positions)
    assert HOSTILE in first
    assert "birds" in first
    for key, level in ((Keys.ARROW_LEFT, 3), (Keys.HOME, 2)):
        assert press(browser, key) == level
        groups = levels[level]
        ids = list(groups.ids)
        sizes = {group: int((groups.clusters == group).sum()) for group in ids}
        assert numbers(browser, ".cluster", "data-number") == ids
        assert numbers(browser, ".sizes li", "data-number") == ids
        assert numbers(browser, ".choices input", "value") == ids
        assert numbers(browser, ".numbers text:not(.crowded)", "data-cluster") <= ids
        assert browser.find_element(By.TAG_NAME, "h1").text == f"60 images in {level} groups"
        for group in ids:
            card = browser.find_element(By.ID, f"cluster-{group}")
            assert f"{sizes[group]} images, {100 * sizes[group] / 60:.1f} %" in card.text
            name = groups.names.get(group, "")
            assert card.find_element(By.CSS_SELECTOR, ".name").get_attribute("textContent") == name
        # Each dot has the color and shape of the group that it belongs to now.
        css = script(
            browser,
            "return [...document.querySelectorAll('.points')]"
            ".map((dots) => [dots.dataset.cluster, dots.className.baseVal])",
        )
        kinds = {int(cluster): kind for cluster, kind in css}
        assert all(kinds[cluster] == kinds[int(groups.of_cluster[cluster])] for cluster in kinds)
        assert len(set(kinds.values())) == level
    # The search for images says the group at this level, and all images of a group are those of its parts.
    script(
        browser,
        "const field = document.querySelector('#find-image'); field.value = 'photo 020';"
        "field.dispatchEvent(new Event('input'))",
    )
    row = next(row for row, name in enumerate(levels[2].sample_ids) if "photo 020" in name)
    press(browser)
    group = int(levels[2].clusters[row])
    assert f"group {group}" in browser.find_element(By.ID, "found-images").text
    script(browser, f"document.querySelector('[data-group=\"{group}\"]').click()")
    assert f": {sizes[group]} images" in browser.find_element(By.ID, "group-title").text
    assert len(visible(browser, "#group-images .tile-button")) == sizes[group]
    script(browser, "document.querySelector('#group-dialog').close(); document.querySelector('#find-image').value = ''")
    # At the finest level again, all is as it was, numbers on the map computed anew.
    assert press(browser, Keys.END) == 4
    script(browser, "document.querySelector('#found-images').replaceChildren()")
    script(browser, "document.querySelector('#image-matches').textContent = ''")
    assert script(browser, "return document.querySelector('#main').innerText") == first
    assert [text.replace(' class=""', "") for text in script(browser, positions)] == before
    assert browser.get_log("browser") == []


def test_a_group_of_several_shows_each_and_links_lead_to_it(browser, levels):
    assert press(browser, Keys.ARROW_LEFT) == 3
    (joined,) = set(levels[4].ids) - set(levels[3].ids)
    kept = int(levels[3].of_cluster[joined])
    script(browser, f"document.querySelector('#cluster-{kept}').scrollIntoView()")
    script(browser, f"location.hash = '#cluster-{joined}'")
    press(browser)
    card = browser.find_element(By.ID, f"cluster-{kept}")
    assert script(browser, "return location.hash") == f"#cluster-{kept}"
    assert f"{joined} (birds)" in card.text
    rows = [int(tile.get_attribute("data-row")) for tile in card.find_elements(By.CSS_SELECTOR, ".union .tile-button")]
    data = script(browser, "return JSON.parse(document.querySelector('#data').textContent).clusters")
    assert {data[row] for row in rows} == {kept, joined}
    assert not [strip for strip in card.find_elements(By.CSS_SELECTOR, ".strips") if strip.is_displayed()]
    # The search for groups takes the name and the number of a part.
    for query in ("birds", str(joined), "animals"):
        script(
            browser,
            "const field = document.querySelector('#find'); field.value = arguments[0];"
            "field.dispatchEvent(new Event('input'))",
            query,
        )
        assert numbers(browser, ".cluster", "data-number") == [kept]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_the_slider(window, page, scheme):  # noqa: F811
    browser = opened(window, page, width=390, height=844, scheme=scheme)
    press(browser, Keys.HOME)
    assert browser.find_element(By.ID, "level").size["width"] > 150
    assert script(browser, "return document.documentElement.scrollWidth <= innerWidth")


def test_without_scripts_the_page_is_the_finest_level(window, page, levels):  # noqa: F811
    window.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        window.get(page.as_uri())
        assert not window.find_element(By.ID, "level").is_displayed()
        assert len(window.find_elements(By.CSS_SELECTOR, ".cluster")) == len(levels[4].ids)
    finally:
        window.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_page_of_a_level(run, tmp_path, levels):
    text = verbs.report(run, umap=False, thumbnails=0, level=2, output=tmp_path / "two.html").read_text()
    assert "60 images in 2 groups" in text
    assert text.count('class="panel cluster"') == 2
    assert 'id="level"' not in text  # nothing is left to join
    assert "known of the groups as fitted" in text
