"""The site of docs/ in a browser, opened from disk."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.ui, pytest.mark.slow]
Open = Callable[..., "Page"]


def test_it_asks_nobody_and_reports_no_error(site: Path, opened: Open, asked: list[str]) -> None:
    page = opened("about:blank")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"{request.url} {request.failure}"))
    files = sorted({*site.rglob("*.html")} - {site / "404.html"})  # which only servers show
    for file in files:
        page.goto(file.as_uri())
        broken = page.locator("img").evaluate_all(
            "all => all.filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)"
        )
        assert broken == [], file
        assert page.evaluate("document.documentElement.scrollWidth") <= 1200, file
    assert len(files) > 30
    assert (said, asked) == ([], [])


def test_the_search_works_from_disk(site: Path, opened: Open, asked: list[str]) -> None:
    page = opened((site / "index.html").as_uri())
    page.keyboard.press("/")
    page.keyboard.type("roll-back")
    page.locator(".md-search-result__link", has_text="champion").first.click()
    page.wait_for_url("**/champion.html*")
    assert asked == []


@pytest.mark.parametrize("width", [320, 1200])
def test_wide_content_scrolls_in_itself(site: Path, opened: Open, width: int) -> None:
    page = opened((site / "limits.html").as_uri(), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
