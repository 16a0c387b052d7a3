"""Chromium, as Debian has it, driven without a window."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
)
WAIT_S = 60.0
PHONE_WIDTH = 390


def missing() -> str:
    """What a browser test lacks here, and how to get it; empty if nothing."""
    if find_spec("selenium") is None:
        return "selenium is not installed: make setup"
    if PROGRAM is None or DRIVER is None:
        return "no Chromium with its driver: apt-get install chromium chromium-driver"
    return ""


@contextmanager
def chromium(profile: Path, width: int = 1280, height: int = 900) -> "Iterator[Chrome]":
    """A browser with a fresh ``profile``, which keeps what its console says."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    for option in (*OPTIONS, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.binary_location = str(PROGRAM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def complaints(driver: "Chrome") -> list[str]:
    """What the console has said since it was last asked."""
    return [entry["message"] for entry in driver.get_log("browser")]


def wait_for(driver: "Chrome", found: Callable[[], object]) -> None:
    """Until ``found`` returns something that is true. A live page may draw anew what is just being looked at."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    waiting = WebDriverWait(driver, WAIT_S, 0.1, ignored_exceptions=[StaleElementReferenceException])
    waiting.until(lambda _: found())


def all_of(driver: "Chrome", selector: str) -> list[Any]:
    """The elements that a CSS selector finds."""
    return driver.find_elements("css selector", selector)


def text_of(driver: "Chrome", selector: str) -> str:
    """The text that the first such element shows."""
    return str(driver.find_element("css selector", selector).text)


def choose(driver: "Chrome", name: str, value: str) -> None:
    """Set a field of the filters, as a person does."""
    driver.execute_script(
        "const f = document.querySelector(`#filters [name=${arguments[0]}]`); f.value = arguments[1];"
        "f.dispatchEvent(new Event('input', { bubbles: true }));",
        name,
        value,
    )


@contextmanager
def on_a_phone(driver: "Chrome") -> Iterator[int]:
    """A window as narrow as a phone's. Gives its width in pixels."""
    size = {"width": PHONE_WIDTH, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield PHONE_WIDTH
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
