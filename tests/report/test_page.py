"""The page as a reader's browser gets it."""

import math
import re
from collections.abc import Callable

import pytest

from soup.report import tables
from soup.report.page import Report, page
from tests.report.conftest import Drawn
from tests.report.document import Document

Make = Callable[..., Report]


def test_the_page_is_well_formed_and_the_same_bytes_each_time(
    make: Make, document: Document, drawn: Drawn
) -> None:
    drawn.forget()
    assert document.source == page(make())
    assert document.source.startswith("<!doctype html>")
    assert document.open == []


def test_the_page_asks_for_nothing_from_outside(document: Document) -> None:
    for tag, attrs in document.tags:
        assert tag not in ("script", "img", "iframe", "object", "embed")
        if tag != "a":
            for name in ("src", "href", "xlink:href"):
                assert not (attrs.get(name) or "").startswith(("http", "//"))
    assert "@import" not in document.source
    assert "url(http" not in document.source
    policies = [a["content"] for a in document.all("meta") if "http-equiv" in a]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_each_figure_is_there_with_a_caption_and_a_name(document: Document) -> None:
    assert [figure["id"] for figure in document.all("figure")] == ["plane", "trace", "settings"]
    assert len(document.all("figcaption")) == 3
    drawn = [svg for svg in document.all("svg") if svg.get("role") == "img"]
    assert [svg["aria-label"] for svg in drawn] == [
        "Accuracy of each model on two splits",
        "Greedy soup, candidate by candidate",
        "Held-out accuracy by hyperparameter",
    ]


def test_tables_are_captioned_scoped_and_scroll_under_the_keyboard(document: Document) -> None:
    assert len(document.all("caption")) == len(document.all("table")) == 5
    assert all(th.get("scope") in ("row", "col") for th in document.all("th"))
    regions = [div for div in document.all("div") if div.get("class") == "scroll"]
    assert len(regions) == 8
    assert all(div["tabindex"] == "0" and div["aria-label"] for div in regions)


def test_ids_are_unique(document: Document) -> None:
    ids = [attrs["id"] for _, attrs in document.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_the_first_screen_says_what_won_by_how_much_how_sure_and_at_what_cost(
    make: Make, document: Document
) -> None:
    costs = {"greedy": {"passes": 4.26, "seconds": 12.2, "memory": 2**20}}
    source = page(make(costs=costs, members=8))
    header = Document(source[source.index("<header>") : source.index("</header>")])
    assert header.text("h1") == (
        "The greedy soup beats the best single model on test and on the mean of 2 shifts."
    )
    assert header.text("dt") == "Test Mean of shifts To use To make"
    assert header.text("strong") == "+1.10 points +1.10 points 1 model 4.3 passes, 12 s"
    assert header.text("span").split(" as large")[0] == (
        "91.7% against 90.6% 95% interval +0.50 to +1.70 p = 0.004 "
        "68.6% against 67.1% 95% interval +0.50 to +1.70 p = 0.004"
    )
    assert "the ensemble runs all 8 over 2,000 held-out images after 1 h 10 min" in header.text(
        "span"
    )
    assert header.text("em") == "This is more than noise. This is more than noise."
    assert "unknown" in document.text("strong")
    assert "it was not recorded" in document.text("span")


def test_a_soup_that_gains_nothing_reads_right(make: Make) -> None:
    noise = Document(page(make(gain=0.002, half=0.006, p_value=0.61)))
    assert noise.text("h1").startswith("The greedy soup is within noise of the best single model")
    assert "+0.20 points" in noise.text("strong")
    assert "2,000 images cannot tell them apart" in noise.text("em")
    assert "more than noise" not in noise.text("em")
    lost = Document(page(make(gain=-0.02, half=0.006, p_value=0.0001)))
    assert lost.text("h1").startswith("The greedy soup is worse than the best single model")
    assert "\u22122.00 points" in lost.text("strong")


def test_the_examples_come_first_behind_the_verdict(make: Make) -> None:
    example = {"text": "gone", "label": "a", "soup": "a", "single": "b"}
    chances = {"soup_probability": 0.9, "single_probability": 0.1}
    rows = [{"kind": kind, **example, **chances} for kind in ("mended", "broken") * 3]
    document = Document(page(make(examples=rows)))
    assert [section["id"] for section in document.all("section")][:2] == ["examples", "models"]
    assert document.text("dd").count("(0.90)") + document.text("small").count("(0.90)") == 6


def test_the_first_stop_of_the_keyboard_skips_to_the_results(document: Document) -> None:
    assert document.all("a")[0]["href"] == "#results"
    assert document.all("main") == [{"id": "results", "tabindex": "-1"}]
    style = document.source[: document.source.index("</style>")]
    assert re.search(r"\.skip:focus \{[^}]*transform: none", style)


def test_the_best_of_each_column_is_marked(document: Document) -> None:
    marked = [text for tag, text in document.texts if tag == "strong"]
    assert "92.6" in marked
    assert document.text("span").count("best in this column") == 2 * 5


def test_failures_give_their_reason_and_names_link_to_their_runs(document: Document) -> None:
    assert "failed: the loss diverged at step 131" in document.text("td")
    links = [a["href"] for a in document.all("a")]
    assert f"http://localhost:5000/#/experiments/1/runs/{3:032x}" in links
    assert "http://localhost:5000/#/runs/3f2a" in links  # from the lineage


def test_whatever_a_user_named_is_escaped(make: Make) -> None:
    report = make(title="<script>alert(1)</script>")
    bad = "<script>alert(2)</script>"
    report.ingredients.loc[8, ["name", "reason"]] = bad
    report.ingredients.loc[0, "augment"] = bad
    report.results.loc[report.results["model"] == "sweet-0", "model"] = bad
    report.trace.loc[0, "name"] = bad
    text = page(report)
    assert "<script" not in text
    assert "failed: &lt;script&gt;alert(2)" in text


def test_only_web_addresses_become_links(make: Make) -> None:
    report = make(lineage={"Soup digest": "javascript:alert(1)"})
    report.ingredients.loc[0, "url"] = "javascript:alert(2)"
    report.ingredients["url"] = report.ingredients["url"].where(report.ingredients.index != 1)
    document = Document(page(report))
    assert not any((a["href"] or "").startswith("javascript") for a in document.all("a"))
    assert "javascript:alert(1)" in document.text("dd")


def test_missing_numbers_read_as_dashes(make: Make) -> None:
    report = make()
    report.results.loc[3:40, ["accuracy", "low", "high", "nll", "ece"]] = math.nan
    report.tests.loc[1, ["p_value", "low", "high"]] = math.nan
    document = Document(page(report))
    assert "nan" not in document.text("td", "strong", "small", "p", "li", "dd").lower().split()
    assert "Some accuracies are missing" in document.text("li")


@pytest.mark.parametrize("lacking", ["test", "sketch"])
def test_a_model_that_was_not_scored_on_a_split_has_no_number_there(
    make: Make, lacking: str
) -> None:
    results = make().results
    columns = tables.splits(results)
    scored = results[(results["model"] != "probe") | (results["split"] != lacking)]
    probe, best = tables.accuracies(scored, ["probe", "best single"])
    assert [cell.Index for cell in probe.cells] == columns
    known = [not math.isnan(cell.accuracy) for cell in probe.cells]
    assert known == [split != lacking for split in columns]
    assert math.isnan(probe.nll) == (lacking == "test")
    assert not any(math.isnan(cell.accuracy) for cell in best.cells)


def test_without_shifts_the_page_says_so(make: Make) -> None:
    document = Document(page(make(shifts={})))
    assert document.text("h1") == "The greedy soup beats the best single model on test."
    assert "No shift was evaluated" in document.text("li")
    assert "mean of shifts" not in document.text("th")


def test_a_report_of_next_to_nothing_still_makes_a_page(make: Make) -> None:
    full = make(shifts={})
    report = make(
        results=full.results[full.results["model"].isin(["sweet-0", "best single"])],
        ingredients=full.ingredients[:1],
        trace=full.trace[:0],
        tests=full.tests[:0],
        lineage={},
        stage_seconds={},
    )
    document = Document(page(report))
    assert "could not be compared" in document.text("h1")
    assert "Only one ingredient finished" in document.text("li")
    assert "No paired test was made." in document.text("td")


@pytest.mark.parametrize("empty", ["results", "ingredients", "trace", "tests"])
def test_any_frame_may_be_empty(make: Make, empty: str) -> None:
    report = make(**{empty: getattr(make(), empty)[:0]})
    assert Document(page(report)).open == []
