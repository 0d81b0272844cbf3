"""A report in a real browser: Chromium without a window, driven by selenium.

Needs Debian's packages chromium and chromium-driver; `pytest -m browser` runs these tests, and CI does.
"""

import json
import shutil

import pytest
from conftest import PATIENCE
from made_up_runs import make_run

from continual_hackatari import report

pytestmark = pytest.mark.browser
FIGURES = ("returns", "evaluation", "switches", "plasticity", "losses", "speed")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report with every section, and names that are long and would be markup."""
    root = tmp_path_factory.mktemp("browser")
    strings = ("", "a_modification_with_a_rather_long_name and_another_one_that_is_not_short_either", "<b>bold</b>", "")
    settings = {
        "strings": strings,
        "evaluated": lambda string, phase, step: len(string) + phase + step / 1000,
        "held_out": ("held_out_string",),
        "modification_factory_kwargs": {"modifications": list(strings) * 20},
    }
    runs = [make_run(root / "runs", seed=seed, exp_name="one", **settings) for seed in (1, 2, 3)]
    other = make_run(root / "runs", exp_name="<script>document.title='broken'</script>", **settings)
    report.main([*map(str, runs), "-o", str(root / "report.html"), "--against", str(other)])
    return (root / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium with its log of the console and of the network."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "these tests need a browser: apt-get install -y chromium chromium-driver"
    assert driver, "these tests need chromedriver: apt-get install -y chromium-driver"
    options = Options()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.add_argument("--disable-background-networking")
    # The sandbox refuses to work for root and in many containers; the only page shown is the one just written here.
    options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_page_load_timeout(PATIENCE)
    started.set_script_timeout(PATIENCE)
    try:
        yield started
    finally:
        started.quit()


def show(browser, address, width, height=900, scheme="light"):
    """Load the page as a screen of this width shows it, and wait for all pictures; returns what was asked for."""
    browser.get_log("performance")  # forget what was before
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    preferred = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", preferred)
    browser.get(address)
    browser.execute_async_script(
        "const done = arguments[0]; Promise.all([...document.images].map(i => i.decode().catch(() => 0))).then(done)"
    )
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]


def sizes(browser, selector):
    """Width and height of what the browser draws for each element."""
    script = "return [...document.querySelectorAll(arguments[0])].map(e => [e.clientWidth, e.clientHeight])"
    return browser.execute_script(script, selector)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_looks_right(browser, address, width, scheme):
    asked_for = show(browser, address, width, scheme=scheme)
    assert [url for url in asked_for if not url.startswith(("data:", address))] == []
    assert browser.get_log("browser") == []  # no error, no warning, nothing refused by the page's policy

    natural = browser.execute_script(
        "return [...document.images].map(i => [i.closest('figure').id, i.naturalWidth, i.naturalHeight, i.clientWidth])"
    )
    assert [name for name, *_ in natural] == [f"figure-{name}" for name in FIGURES]
    assert all(width > 300 and height > 80 and shown > 300 for _, width, height, shown in natural)

    assert browser.execute_script("return window.innerWidth") == width
    room = browser.execute_script("return document.documentElement.clientWidth")  # without the scroll bar
    assert room >= width - 20
    assert browser.execute_script("return document.documentElement.scrollWidth") <= room
    boxes = "return [...document.querySelectorAll('main > *, .scroll')].map(e => e.getBoundingClientRect().right)"
    assert max(browser.execute_script(boxes)) <= room

    tables = browser.execute_script(
        "document.querySelectorAll('details').forEach(d => d.open = true);"
        "return [...document.querySelectorAll('table')].map(t => [t.rows.length, t.clientWidth])"
    )
    assert len(tables) >= 10
    assert all(rows > 1 and shown > 0 for rows, shown in tables)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= room  # also with all of them open
    assert browser.title == "Continual learning report"


def test_what_is_wider_than_a_telephone_says_so(browser, address):
    script = "return [...document.querySelectorAll('figure .scroll')].map(e => getComputedStyle(e, '::before').content)"
    for width, words in ((390, "scroll sideways"), (1280, "none")):
        show(browser, address, width)
        said = browser.execute_script(script)
        assert len(said) == len(FIGURES)
        assert all(words in each for each in said)
        if width == 1280:  # everything fits
            assert browser.execute_script(
                "return [...document.querySelectorAll('figure .scroll')].every(e => e.scrollWidth <= e.clientWidth)"
            )


def test_pictures_and_page_are_dark_on_dark_screens(browser, address):
    shown = {}
    for scheme in ("light", "dark"):
        show(browser, address, 1280, scheme=scheme)
        shown[scheme] = browser.execute_script(
            "return [getComputedStyle(document.body).backgroundColor, document.images[0].currentSrc.length,"
            " document.images[0].currentSrc]"
        )
    assert shown["light"][0] == "rgb(255, 255, 255)"
    assert shown["dark"][0] == "rgb(22, 24, 28)"
    assert shown["light"][2] != shown["dark"][2]


def test_letters_are_large_enough_on_a_small_screen(browser, address):
    show(browser, address, 360)
    sizes_ = browser.execute_script(
        "return [...document.querySelectorAll('p, td, th, figcaption, li')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes_) >= 12
    # The figures' own letters are 9 points of a width of 8.4 inches.
    widths = [width for width, _ in sizes(browser, "figure img")]
    assert min(widths) * 9 / (8.4 * 72) >= 8.9
