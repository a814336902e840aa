"""The page of a trace in a browser: it loads, scrubs, and shows the state of the machine."""

import re

import numpy as np
import pytest
from support.needs import CHROMIUM, DRIVER, needs_browser
from support.strategies import int8
from support.traced import CONFIG, network

from etchnet.host.compiler.compile import compile_network
from etchnet.host.importers.load import plain_model
from etchnet.host.trace.page import page
from etchnet.host.trace.trace import gather
from etchnet.sim.state.machine import MachineState

pytestmark = needs_browser
LAPTOP, PHONE = (1366, 768), (390, 844)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Return a trace, the state of its machine in closed form, and the address of its page."""
    random = np.random.default_rng(5)
    model = plain_model("small", network(random))
    trace = gather(model, compile_network(model.network, CONFIG), int8(random, (2, model.network.input_size)))
    path = tmp_path_factory.mktemp("page") / "trace.html"
    path.write_text(page(trace), encoding="utf-8")
    return trace, MachineState(trace.history, CONFIG), path.as_uri()


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
    except WebDriverException as error:
        pytest.skip(f"chromium does not start here: {error.msg}")
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


def open_page(browser, url, size=LAPTOP, *, dark=False):
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get("about:blank")
    browser.get(url)
    assert browser.execute_async_script(
        "etchnet.ready.then(() => requestAnimationFrame(() => requestAnimationFrame(() => arguments[0](true))))"
    )


def complaints(browser):
    return [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_every_displayed_element_equals_the_machine(shown, browser):
    """Operands, weights and sums of the whole array in random cycles equal those of `MachineState`."""
    trace, state, url = shown
    open_page(browser, url)
    random = np.random.default_rng(0)
    for cycle in random.integers(0, trace.cycles, 30).tolist():
        at = trace.run.origin + cycle
        expected = state.array(at)
        frame = browser.execute_script(
            "const f = etchnet.frame(arguments[0]);"
            "return {weight: [...f.weights], sum: [...f.sums], operand: [...f.operands]}",
            cycle,
        )
        assert np.array_equal(np.reshape(frame["weight"], (9, 9)), expected["weight"]), cycle
        assert np.array_equal(np.reshape(frame["sum"], (9, 9)), expected["total"]), cycle
        operands = [[state.explain(row, column, at).operand for column in range(9)] for row in range(9)]
        assert np.array_equal(np.reshape(frame["operand"], (9, 9)), operands), cycle
        row, column = (int(i) for i in random.integers(9, size=2))
        element = browser.execute_script("return etchnet.element(...arguments)", row, column, cycle)
        found = state.explain(row, column, at)
        assert (element["operand"], element["weight"]) == (found.operand, found.weight), cycle
    assert complaints(browser) == []


def test_the_page_loads_only_its_own_file(shown, browser):
    open_page(browser, shown[2])
    names = browser.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [name for name in names if not name.startswith(("data:", "blob:"))] == []
    html = browser.execute_script("return document.documentElement.outerHTML")
    assert re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//|url\(\s*["']?\s*(?:https?:)?//""", html) == []


def test_the_page_scrubs_and_shows_its_cycle(shown, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    trace, _, url = shown
    at = int(trace.issues[0][1])
    open_page(browser, f"{url}#cycle={at}")
    assert browser.execute_script("return etchnet.cycle") == at
    browser.find_element(By.ID, "timeline").send_keys(Keys.ARROW_RIGHT)
    assert browser.execute_script("return etchnet.cycle") == at + 1
    browser.execute_script("etchnet.setCycle(arguments[0])", at + 7)
    shown_cycle = browser.execute_async_script(
        "requestAnimationFrame(() => requestAnimationFrame(() => arguments[0](document.getElementById('cycle').value)))"
    )
    assert int(shown_cycle) == at + 7
    browser.execute_script("location.hash = 'cycle=' + arguments[0]", at + 20)
    assert browser.execute_async_script("setTimeout(() => arguments[0](etchnet.cycle), 50)") == at + 20
    timeline = browser.find_element(By.ID, "timeline")
    timeline.click()
    middle = browser.execute_script("return etchnet.cycle")
    assert 0 < middle < trace.end
    card = browser.find_element(By.ID, "card").text
    assert "partial sum" in card
    assert "weight" in card
    browser.find_element(By.ID, "play").click()
    assert browser.execute_async_script("setTimeout(() => arguments[0](etchnet.cycle), 700)") > middle
    browser.find_element(By.ID, "play").click()
    assert complaints(browser) == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [LAPTOP, PHONE])
def test_the_page_fits_the_window_in_both_themes(shown, browser, size, dark):
    open_page(browser, shown[2], size, dark=dark)
    width, inner, theme = browser.execute_script(
        "return [document.scrollingElement.scrollWidth, window.innerWidth, document.documentElement.dataset.theme]"
    )
    assert width <= inner == size[0]
    assert theme == ("dark" if dark else "light")
    # The contrast of text and background must be at least 4.5 to 1.
    colors = browser.execute_script(
        "const s = getComputedStyle(document.body); const p = getComputedStyle(document.querySelector('section'));"
        "return [s.color, p.backgroundColor, getComputedStyle(document.querySelector('.caption')).color]"
    )
    ink, panel, muted = (luminance(color) for color in colors)
    for text in (ink, muted):
        assert (max(text, panel) + 0.05) / (min(text, panel) + 0.05) >= 4.5
    assert complaints(browser) == []


def luminance(color):
    channels = np.array([int(v) / 255 for v in color[color.index("(") + 1 : color.index(")")].split(",")[:3]])
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
