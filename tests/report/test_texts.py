"""The page of texts that are scored by Matthews, and its examples."""

from collections.abc import Callable
from typing import Any

import pytest

from soup.report.page import Report, page
from tests.report.document import Document

Make = Callable[..., Report]
TEXTS = [
    {
        "kind": kind, "text": f"<b>{kind}</b> one two", "pair": "\u202eright to left",
        "label": "no", "soup": "no", "single": "yes & no", "soup_probability": 0.912,
        "single_probability": 0.1,
    }
    for kind in ("mended", "broken")
]  # fmt: skip
PICTURE = "data:image/jpeg;base64,/9j/4AAQ"


def of_texts(make: Make) -> Report:
    report = make()
    results = report.results.assign(
        matthews=report.results["accuracy"] / 2,
        matthews_low=report.results["low"] / 2,
        matthews_high=report.results["high"] / 2,
    )
    columns = {"difference": -0.03, "low": -0.05, "high": -0.01, "p": 0.002}
    tests = report.tests.assign(**{f"matthews_{name}": v for name, v in columns.items()})
    return make(results=results, tests=tests, score="matthews", unit="texts", examples=TEXTS)


@pytest.fixture(scope="module")
def document(make: Make) -> Document:
    return Document(page(of_texts(make)))


def test_the_verdict_is_by_the_score(document: Document) -> None:
    told = document.text("h1", "p")
    assert "The greedy soup is worse than the best single model" in told  # better by accuracy
    assert "matthews (times 100) 45.9 against 45.3" in document.text("span")
    assert "\u22123.00 points" in document.text("strong")
    assert "45.9%" not in document.text()


def test_nothing_is_said_of_images(document: Document) -> None:
    everything = document.text()
    assert "images" not in everything.lower()
    assert "Texts (%)" in everything
    assert "Held-out matthews (times 100)" in everything
    assert "Matthews required" in everything
    assert "Errors allowed" not in everything


def test_candidates_are_told_by_the_score(document: Document) -> None:
    cells = document.text("td")
    assert "less 91.80" in cells  # dropped early; at most 164 of 2,000
    assert "more than" not in cells


def test_the_examples_are_escaped_and_apart(document: Document) -> None:
    assert "Only the soup is right" in document.text("span")
    text = document.text("bdi")
    assert "<b>mended</b> one two" in text
    assert "\u202eright to left" in text  # within bdi: it turns nothing else around
    assert "yes & no" in text
    assert "&lt;b&gt;mended" in document.source
    assert "(0.91)" in document.text("small")


def test_images_are_shown_from_the_page_alone(make: Make) -> None:
    rows: list[dict[str, Any]] = []
    for kind in ("mended", "broken"):
        rows.append({**TEXTS[0], "kind": kind, "image": PICTURE})
    rows.append({**TEXTS[1], "image": "http://127.0.0.1/x.jpg", "text": "a file is gone"})
    shown = Document(page(make(examples=rows)))
    assert [image["src"] for image in shown.all("img")] == [PICTURE, PICTURE]
    assert all(image["alt"] == "A test image of no" for image in shown.all("img"))
    assert "a file is gone" in shown.text("p")


def test_without_examples_there_is_no_section(make: Make) -> None:
    assert 'id="examples"' not in page(make())


def test_a_score_that_is_not_known_claims_nothing(make: Make) -> None:
    report = of_texts(make)
    tests = report.tests.assign(
        **{f"matthews_{c}": float("nan") for c in ("difference", "low", "high", "p")}
    )
    text = page(make(results=report.results, tests=tests, score="matthews", unit="texts"))
    assert "could not be compared with the best single model" in text
