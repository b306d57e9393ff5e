"""The report in a browser: from disk, without a network, by keyboard, on a phone."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from soup.pipeline.stages.examples import thumbnail
from soup.report.page import Report, page
from tests.checkouts import REPO

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.ui, pytest.mark.slow]
Open = Callable[..., "Page"]

# The contrast of every piece of text with what is behind it (WCAG 2: 4.5 for text of usual size).
CONTRAST = """() => {
  const light = c => c <= 10.31 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
  const parts = s => s.match(/[\\d.]+/g).map(Number);
  const luminance = c => 0.2126 * light(c[0]) + 0.7152 * light(c[1]) + 0.0722 * light(c[2]);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = parts(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c;
  } return [255, 255, 255] };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), e = walk.currentNode.parentElement;
    if (!text || !e.checkVisibility()) continue;
    const style = getComputedStyle(e);
    const ink = e.closest("svg") ? style.fill : style.color;
    if (!ink.startsWith("rgb")) continue;
    const [a, b] = [luminance(parts(ink)), luminance(behind(e))].sort((x, y) => y - x);
    found.push([text, (a + 0.05) / (b + 0.05)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def report(make: Callable[..., Report], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report where all is there."""
    picture = {"image": thumbnail(Image.new("RGB", (200, 150), "#347"))}
    answers = {"label": "ring", "soup": "ring", "single": "disc"}
    chances = {"soup_probability": 0.91, "single_probability": 0.1}
    examples = [{"kind": k, **picture, **answers, **chances} for k in ("mended", "broken") * 3]
    costs = {"greedy": {"passes": 4.26, "seconds": 12.2, "memory": 2**29}}
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page(make(examples=examples, costs=costs, members=8)))
    return path.as_uri()


def bottoms(opening: "Page", what: str) -> list[float]:
    return opening.locator(what).evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().bottom)"
    )


def test_the_first_screen_has_the_verdict_the_cost_and_six_pictures(
    report: str, opened: Open
) -> None:
    opening = opened(report, width=1280, height=900)
    assert len(bottoms(opening, ".facts > div")) == 4
    assert len(bottoms(opening, ".pictures img")) == 6
    assert max(bottoms(opening, ".facts > div, .pictures li")) <= 900
    phone = opened(report, width=390, height=844)
    assert max(bottoms(phone, "h1, .facts > div")) <= 844


def test_printed_from_a_dark_screen_it_is_dark_on_white_and_nothing_is_cut(
    report: str, opened: Open
) -> None:
    opening = opened(report, width=680, color_scheme="dark")  # A4 less its margins
    opening.emulate_media(media="print")
    ground = opening.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    assert [(text, ratio) for text, ratio in opening.evaluate(CONTRAST) if ratio < 4.5] == []
    wide = opening.locator("#sweep").evaluate("e => getComputedStyle(e).page")
    assert wide == "wide"  # on paper that is turned, which has 1,009 pixels
    right = opening.locator("table, svg, pre, img").evaluate_all(
        """all => all.filter(e => e.checkVisibility() && !e.closest('#sweep'))
        .map(e => e.getBoundingClientRect().right)"""
    )
    assert max(right) <= 680
    opening.set_viewport_size({"width": 1009, "height": 680})
    assert opening.locator("#sweep table").evaluate("e => e.getBoundingClientRect().right") <= 1009
    assert not opening.locator("nav").is_visible()
    avoided = opening.locator("table, tr, figure, h2").evaluate_all(
        "all => all.map(e => getComputedStyle(e).breakInside)"
    )
    assert {*avoided} == {"avoid"}


def test_the_skip_link_shows_when_it_is_reached_and_leads_past_the_header(
    report: str, opened: Open
) -> None:
    opening = opened(report)
    skip = opening.get_by_text("Skip to the results")
    box = skip.bounding_box()
    assert box
    assert box["y"] + box["height"] <= 0
    opening.keyboard.press("Tab")
    box = skip.bounding_box()
    assert box
    assert box["y"] >= 0
    opening.keyboard.press("Enter")
    opening.keyboard.press("Tab")
    assert opening.evaluate("document.activeElement.closest('main') !== null")


def test_it_opens_from_disk_and_asks_for_nothing(
    report: str, opened: Open, asked: list[str]
) -> None:
    said: list[str] = []
    opening = opened("about:blank")
    requests: list[str] = []
    opening.on("request", lambda request: requests.append(request.url))
    opening.on("console", lambda message: said.append(message.text))
    opening.on("pageerror", lambda error: said.append(str(error)))
    opening.goto(report)
    opening.wait_for_load_state("networkidle")
    assert requests[0] == report
    assert {url.split(":")[0] for url in requests[1:]} <= {"data"}
    assert asked == said == []


def test_a_page_cannot_ask_even_if_something_in_it_wanted_to(report: str, opened: Open) -> None:
    opening = opened(report)
    refused: list[str] = []
    opening.on("console", lambda message: refused.append(message.text))
    with opening.expect_console_message(lambda said: "Content Security Policy" in said.text):
        opening.evaluate(
            "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))"
        )
    assert any("Content Security Policy" in text for text in refused)


def test_every_figure_is_drawn(report: str, opened: Open) -> None:
    opening = opened(report)
    figures = opening.locator("figure svg[role=img]")
    assert figures.count() == 3
    for figure in figures.all():
        box = figure.bounding_box()
        assert box
        assert min(box["width"], box["height"]) > 200
        # Marks and text that take up room inside of it, not only tags.
        seen = figure.evaluate(
            """svg => [...svg.querySelectorAll("path, use, text")]
            .map(e => e.getBoundingClientRect())
            .filter(r => r.width + r.height > 2).length"""
        )
        assert seen > 20
        assert figure.get_attribute("aria-label")
    for picture in opening.locator("img").all():
        assert picture.evaluate("i => i.naturalWidth") > 0
        assert picture.get_attribute("alt")


def test_all_that_can_be_used_is_reached_by_keyboard_in_order_and_seen(
    report: str, opened: Open
) -> None:
    opening = opened(report)
    usable = "a[href], summary, [tabindex='0']"
    count = opening.locator(usable).evaluate_all(
        "(all) => all.filter(e => e.checkVisibility()).length"
    )
    reached: list[dict[str, Any]] = []
    for _ in range(count):
        opening.keyboard.press("Tab")
        reached.append(
            opening.evaluate(
                """usable => { const e = document.activeElement, s = getComputedStyle(e);
                const all = [...document.querySelectorAll(usable)];
                return {at: all.indexOf(e), tag: e.tagName, name: e.getAttribute("aria-label")
                    || e.textContent.trim(), outline: s.outlineStyle, width: s.outlineWidth} }""",
                usable,
            )
        )
    assert [r["at"] for r in reached] == sorted({r["at"] for r in reached})
    assert -1 not in [r["at"] for r in reached]
    for element in reached:
        assert element["name"]
        assert (element["outline"], element["width"]) == ("solid", "2px"), element
    assert {"A", "SUMMARY", "DIV"} <= {r["tag"] for r in reached}


def test_what_is_folded_opens_by_keyboard(report: str, opened: Open) -> None:
    opening = opened(report)
    folded = opening.locator("details")
    assert not folded.locator("table").is_visible()
    folded.locator("summary").focus()
    opening.keyboard.press("Enter")
    assert folded.locator("table").is_visible()


@pytest.mark.parametrize("width", [320, 375, 390, 768])
def test_on_a_narrow_screen_only_tables_and_figures_scroll_sideways(
    report: str, opened: Open, width: int
) -> None:
    opening = opened(report, width=width)
    opening.locator("summary").click()
    assert opening.evaluate("document.documentElement.scrollWidth") <= width
    for scrolling in opening.locator(".scroll").all():
        box = scrolling.bounding_box()
        assert box
        assert box["x"] + box["width"] <= width
        moved = scrolling.evaluate(
            "e => { e.scrollLeft = 1e6; return [e.scrollLeft, e.scrollWidth - e.clientWidth] }"
        )
        assert moved[0] >= moved[1] - 1
    if width >= 375:
        smallest = opening.locator("figure svg text").evaluate_all(
            "all => Math.min(...all.map(e => e.getBoundingClientRect().height))"
        )
        assert smallest > 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(report: str, opened: Open, scheme: str) -> None:
    opening = opened(report, color_scheme=scheme)
    opening.locator("summary").click()
    found = opening.evaluate(CONTRAST)
    assert len(found) > 100
    faint = [(text, round(ratio, 2)) for text, ratio in found if ratio < 4.5]
    assert faint == []


def test_a_screen_reader_finds_its_way(report: str, opened: Open) -> None:
    opening = opened(report)
    assert opening.locator("html").get_attribute("lang") == "en"
    assert opening.locator("h1").count() == 1
    levels = opening.locator("h1, h2, h3").evaluate_all("all => all.map(e => +e.tagName[1])")
    assert all(b - a <= 1 for a, b in pairwise(levels))
    for table in opening.locator("table").all():
        assert table.locator("caption").count() == 1
        assert table.locator("thead th[scope=col]").count() > 1
        rows = table.locator("tbody tr")
        assert table.locator("tbody th[scope=row]").count() == rows.count()
    tree = opening.locator("body").aria_snapshot()
    assert re.search("banner", tree)
    assert re.search("main", tree)
    assert 'navigation "Sections"' in tree
    unnamed = opening.locator("svg:not([role=img])").evaluate_all(
        "all => all.filter(e => !e.closest('[aria-hidden]')).length"
    )
    assert unnamed == 0
    for link in opening.locator("nav a").all():
        assert opening.locator(link.get_attribute("href") or "?").count() == 1


def test_the_readme_shows_the_demos_report(opened: Open, shoot: Callable[..., None]) -> None:
    demo = REPO / "out/shapes/report.html"
    if not demo.exists():
        pytest.skip("out/shapes/report.html is not there: run `make demo`")
    opening = opened(demo.as_uri(), width=1160, height=1280)
    assert opening.locator("figure svg[role=img]").count() == 3
    shoot(opening, "report")
