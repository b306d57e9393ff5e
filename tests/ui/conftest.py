"""A real browser: Debian's Chromium, driven by Playwright.

    MODELSOUP_SCREENSHOTS=docs python -m pytest -m ui

also makes the README's screenshots.
"""

import os
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import pytest

from tests.report.conftest import make  # noqa: F401  # the made-up report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

Open = Callable[..., "Page"]
# MLflow opens a panel over a third of its page when a browser sees it first.
CLOSED = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
OURS = ("127.0.0.1", "localhost", "")  # "": a file, or data in the page itself


@pytest.fixture(
    scope="module"
)  # it keeps an event loop running, which others of a session trip over
def browser() -> "Iterator[Browser]":
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    pytest.importorskip("playwright", reason="playwright is not installed: pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A container gives no namespaces to a sandbox, and little shared memory.
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader"]
        launched = playwright.chromium.launch(
            executable_path=chromium, args=options, timeout=180_000
        )
        yield launched
        launched.close()


@pytest.fixture
def asked() -> list[str]:
    """What the pages of a test asked for outside of this machine; it never got there."""
    return []


@pytest.fixture
def opened(browser: "Browser", asked: list[str]) -> Iterator[Open]:
    """Opens an address in a fresh browser: `opened(url, width=1200, **context options)`.

    With `auth`, Prefect's pages find user:password as their login form leaves it.
    """
    contexts = []

    def watch(route: "Route") -> None:
        if (urlparse(route.request.url).hostname or "") in OURS:
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    def open_page(
        url: str, width: int = 1200, height: int = 900, auth: str = "", **options: Any
    ) -> "Page":
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_default_timeout(120_000)
        context.route("**/*", watch)
        context.add_init_script(CLOSED)
        if auth:
            known = b64encode(auth.encode()).decode()
            context.add_init_script(f"localStorage.setItem('prefect-password', '{known}')")
        page = context.new_page()
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def shoot(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Saves a screenshot where MODELSOUP_SCREENSHOTS says, if it says so."""
    folder = os.environ.get("MODELSOUP_SCREENSHOTS")

    def save(page: "Page", name: str, **options: Any) -> None:
        if folder is None:
            return
        from PIL import Image

        path = Path(folder) / f"{name}.png"
        page.screenshot(path=path, **options)
        # A palette is a third of the size, and pages have few colours.
        with Image.open(path) as image:
            image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)

    return save
