"""The HTML report in a real browser: it sorts, filters, opens layers, fits a phone, and sends no request.

Run by pytest with BITFOLD_TOOL and BITFOLD_DATA as in test_onnxruntime.py. Needs Debian's chromium and chromium-driver
(`./dev test` installs them). BITFOLD_SCREENSHOTS names a folder in which to keep the screenshots.
"""

import base64
import json
import os
import pathlib
import shutil
import subprocess

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = pathlib.Path(os.environ.get("BITFOLD_TOOL", ROOT / "build" / "bitfold"))
DATA = pathlib.Path(os.environ.get("BITFOLD_DATA", ROOT.parent / "shared"))
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
DESK = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}

pytestmark = pytest.mark.skipif(not (DATA / "models").exists(), reason=f"needs the models and data in {DATA}")


def bitfold(*arguments):
    done = subprocess.run([str(TOOL), *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Reports of a depthwise network and of a search for a mix, with their JSON."""
    folder = tmp_path_factory.mktemp("report")
    bitfold("analyze", DATA / "models/vww-mobilenetv1.onnx", "--calibrate", DATA / "data/imagenet/calib", "--resize", "96x96",
            "--limit", 24, "--samples", 4, "--granularity", "per_tensor", "--report", folder / "analyze.html",
            "--json", folder / "analyze.json")
    bitfold("quantize", DATA / "models/lenet-bn.onnx", "--calibrate", DATA / "data/mnist/calib", "--mean", "0.1307", "--std",
            "0.3081", "--limit", 64, "--samples", 8, "--eval", DATA / "data/mnist/test", "--eval-limit", 500, "--max-drop", 0.3,
            "-o", folder / "mixed.onnx", "--report", folder / "mixed.html", "--json", folder / "mixed.json")
    return folder


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def show(browser, path, screen=DESK, scheme="light"):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.get(path.as_uri())


def screenshot(browser, name):
    """The whole page as PNG bytes."""
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    image = base64.b64decode(shot["data"])
    if folder := os.environ.get("BITFOLD_SCREENSHOTS"):
        (pathlib.Path(folder) / f"{name}.png").write_bytes(image)
    return image


def background(browser):
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


def sideways(browser):
    """Pixels by which the page is wider than the screen."""
    return browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")


def rows(browser):
    return [row for row in browser.find_elements(By.CSS_SELECTOR, "#layers tr.layer") if row.is_displayed()]


def column(browser, number):
    return browser.execute_script(
        "return [...document.querySelectorAll('#layers tr.layer')].map(r => r.children[arguments[0]].textContent)", number)


def sqnr_column(browser):
    return [float(text.replace("\u2212", "-")) for text in column(browser, 2) if text != "\u2013"]


def click(browser, element):
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def test_the_page_shows_the_figures_of_the_json(browser, pages):
    report = json.loads((pages / "analyze.json").read_text())
    show(browser, pages / "analyze.html")
    assert len(rows(browser)) == len(report["layers"]) > 20
    shown = browser.find_element(By.ID, "summary").text
    assert f"{report['sqnr_db']:.1f} dB" in shown
    assert f"{100 * report['agreement']:.2f} %" in shown
    assert column(browser, 0) == [layer["name"] for layer in report["layers"]]


def test_the_table_sorts_both_ways(browser, pages):
    show(browser, pages / "analyze.html")
    head = browser.find_element(By.CSS_SELECTOR, "#layers th[data-key=sqnr] button")
    click(browser, head)
    up = sqnr_column(browser)
    assert len(up) > 5 and up == sorted(up) and up != sorted(up, reverse=True)
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    click(browser, head)
    assert sqnr_column(browser) == sorted(up, reverse=True)


def test_the_filters_narrow_the_table(browser, pages):
    report = json.loads((pages / "analyze.json").read_text())
    show(browser, pages / "analyze.html")
    everything = len(rows(browser))
    browser.find_element(By.ID, "filter-weights").click()
    assert len(rows(browser)) == sum(layer["has_weights"] for layer in report["layers"]) < everything
    browser.find_element(By.ID, "filter-weights").click()
    browser.find_element(By.ID, "filter-findings").click()
    assert len(rows(browser)) == sum(bool(layer["findings"]) for layer in report["layers"]) > 0
    browser.find_element(By.ID, "filter-findings").click()
    browser.find_element(By.ID, "filter-text").send_keys("no such layer")
    assert not rows(browser)
    assert browser.find_element(By.ID, "count").text == f"0 of {everything} layers"


def test_a_click_opens_a_layer_with_both_charts(browser, pages):
    show(browser, pages / "analyze.html")
    button = browser.find_element(By.CSS_SELECTOR, "#layers tr.layer .toggle")
    click(browser, button)
    detail = browser.find_element(By.CSS_SELECTOR, "#layers tr.detail")
    assert button.get_attribute("aria-expanded") == "true"
    assert len(detail.find_elements(By.CSS_SELECTOR, "svg")) == 2
    assert len(detail.find_elements(By.CSS_SELECTOR, "svg .limit")) == 2
    assert len(detail.find_elements(By.CSS_SELECTOR, "svg .bar")) > 10
    click(browser, button)
    assert not browser.find_elements(By.CSS_SELECTOR, "#layers tr.detail")


def test_light_and_dark_follow_the_system(browser, pages):
    backgrounds, images = {}, {}
    for scheme in ("light", "dark"):
        show(browser, pages / "analyze.html", scheme=scheme)
        browser.find_element(By.CSS_SELECTOR, "#layers tr.layer .toggle").click()
        backgrounds[scheme] = background(browser)
        images[scheme] = screenshot(browser, f"analyze-{scheme}")
        assert sideways(browser) == 0
    luminance = {scheme: sum(map(int, color[4:-1].split(","))) for scheme, color in backgrounds.items()}
    assert luminance["light"] > 600 and luminance["dark"] < 150
    assert images["light"] != images["dark"]


def test_the_page_fits_a_phone(browser, pages):
    for name in ("analyze", "mixed"):
        for scheme in ("light", "dark"):
            show(browser, pages / f"{name}.html", PHONE, scheme)
            click(browser, browser.find_element(By.CSS_SELECTOR, "#layers tr.layer .toggle"))
            assert sideways(browser) == 0
            screenshot(browser, f"{name}-phone-{scheme}")
    # A narrow page has no table head; a list selects the order.
    select = browser.find_element(By.ID, "sort-select")
    assert select.is_displayed()
    select.find_element(By.CSS_SELECTOR, "option[value=sqnr]").click()
    assert sqnr_column(browser) == sorted(sqnr_column(browser))


def test_the_search_is_drawn_with_its_limit(browser, pages):
    mixed = json.loads((pages / "mixed.json").read_text())["mixed"]
    show(browser, pages / "mixed.html")
    chart = browser.find_element(By.ID, "mixed-chart")
    assert len(chart.find_elements(By.CSS_SELECTOR, "circle")) == len(mixed["points"])
    assert "limit" in chart.text and "chosen" in chart.text
    assert mixed["points"][mixed["best"]]["drop"] <= 0.3 + 1e-9
    assert sideways(browser) == 0
    screenshot(browser, "mixed-light")


def test_no_request_leaves_the_page_and_no_error_is_logged(browser, pages):
    browser.get_log("browser"), browser.get_log("performance")
    for name in ("analyze", "mixed"):
        show(browser, pages / f"{name}.html")
        for button in browser.find_elements(By.CSS_SELECTOR, "#layers .toggle")[:5]:
            click(browser, button)
    requested = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            requested.append(message["params"]["request"]["url"])
    assert sorted(url.rsplit("/", 1)[-1] for url in requested if not url.startswith("data:")) == ["analyze.html", "mixed.html"]
    assert all(url.startswith(("file:", "data:")) for url in requested)
    assert browser.get_log("browser") == []
