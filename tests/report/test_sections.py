"""The sections of the page: tables, figures, and what they leave out."""

import re
from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from soup.report.page import Report, page
from tests.report.document import Document

Make = Callable[..., Report]


def test_a_zero_shot_baseline_is_in_the_table_and_in_the_figure(
    make: Make, document: Document
) -> None:
    report = make()
    rows = report.results[report.results["model"] == "probe"].assign(
        model="zero-shot", kind="zero-shot"
    )
    rows["accuracy"] -= 0.02
    both = pd.concat([report.results, rows], ignore_index=True)
    shown = Document(page(replace(report, results=both)))
    names = [text for tag, text in shown.texts if tag == "th"]
    assert names.index("zero-shot") < names.index("probe")
    assert "zero-shot" in [text for tag, text in shown.texts if tag == "text"]
    assert "zero-shot" not in document.source


def test_hyperparameters_that_do_not_vary_stand_below_the_table(
    make: Make, document: Document
) -> None:
    plain = make()
    ingredients = plain.ingredients.assign(optimizer="adamw", batch_size=128.0)
    ingredients.loc[ingredients["name"] == "probe", ["optimizer", "batch_size"]] = None
    html = page(replace(plain, ingredients=ingredients))
    text = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    assert "The same for all ingredients: optimizer adamw, batch size 128." in text
    assert '<th scope="col" class="number">optimizer</th>' not in html
    assert '<th scope="col" class="number">mixup</th>' in html
    assert "The same for all" not in document.source


def test_seeds_are_whole_numbers_and_only_failures_have_a_status(make: Make) -> None:
    report = make()
    seeds = [1_724_000_000 + k for k in range(len(report.ingredients) - 1)]
    # The probe has no seed, which turns the column into floats.
    text = Document(
        page(replace(report, ingredients=report.ingredients.assign(seed=[*seeds, None])))
    )
    assert all(str(seed) in text.text("td") for seed in seeds)
    assert "e+09" not in text.source
    assert "Status" in text.text("th")
    fine = report.ingredients[report.ingredients["status"] == "finished"]
    assert "Status" not in Document(page(replace(report, ingredients=fine))).text("th")


def test_candidates_lead_to_their_rows_in_the_sweep(make: Make, document: Document) -> None:
    targets = {attrs["id"] for _, attrs in document.tags if "id" in attrs}
    links = [str(a["href"]) for a in document.all("a") if str(a.get("href")).startswith("#run-")]
    assert links == [f"#run-{name}" for name in make().trace["name"]]
    assert {link.removeprefix("#") for link in links} <= targets


def test_a_candidate_that_saw_all_images_was_not_dropped_early(
    make: Make, document: Document
) -> None:
    report = make()
    seen = report.trace.assign(examples_seen=report.trace["heldout_n"])
    assert "dropped early" in document.text("td")
    text = Document(page(replace(report, trace=seen))).text("td")
    assert "dropped early" not in text
    assert "rejected" in text
    assert "more than 164" in text


def test_the_page_says_how_to_use_the_soup(make: Make, document: Document) -> None:
    use = {"Command": "soup predict out/soup.safetensors", "Python": "a = 1\nb = '<2>'"}
    text = Document(page(replace(make(), use=use)))
    assert [code for tag, code in text.texts if tag == "code"] == [
        "soup predict out/soup.safetensors",
        "a = 1 b = '<2>'",
    ]
    assert "Use the soup" not in document.source


def test_what_a_stage_warned_of_stands_among_the_caveats(make: Make) -> None:
    text = page(replace(make(), warnings=["run-1 is right on 8.3% of 120 images"]))
    aside = text[text.index("<aside") : text.index("</aside>")]
    assert "run-1 is right on 8.3% of 120 images" in aside


def test_what_each_soup_took_is_in_a_table(make: Make, document: Document) -> None:
    costs = {"greedy": {"passes": 3.25, "seconds": 75.0, "memory": 3 * 2**20}}
    text = Document(page(replace(make(), costs=costs))).text("td")
    for told in ("3.2", "1 min 15 s"):
        assert told in text
    assert "What making each soup took" not in document.source


def test_the_searches_of_the_soups_that_are_compared_are_drawn_and_listed(make: Make) -> None:
    report = make()
    others = {"pruned": report.trace, "radin (tried 3)": report.trace[:2]}
    document = Document(page(replace(report, traces=others)))
    assert document.open == []
    drawn = [svg["aria-label"] for svg in document.all("svg") if svg.get("role") == "img"]
    assert drawn[1:4] == [
        "Greedy soup, candidate by candidate",
        "Pruned soup, candidate by candidate",
        "Radin (tried 3) soup, candidate by candidate",
    ]
    told = document.text("summary")
    assert f"The search of the pruned soup ({len(report.trace)} candidates)" in told
    assert "The search of the radin (tried 3) soup (2 candidates)" in told
    ids = [attrs["id"] for _, attrs in document.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert "<span>The candidates of the pruned soup</span>" in document.source


def test_another_recipe_than_greedy_is_not_said_to_go_best_first(make: Make) -> None:
    document = Document(page(make(recipe="removal")))
    assert "How the removal soup was chosen" in document.text("h2")
    assert "best single model first" not in document.source
