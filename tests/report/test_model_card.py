"""A model card says what is known, and its front matter is read by huggingface_hub."""

import html
import math
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from soup.pipeline.soup_card import figures_in
from soup.report.model_card import Card, Figure, card_text
from soup.report.page import Report, page, verdict_of
from tests.report.document import Document

CARD = Card(
    title="shapes",
    library="timm",
    unit="images",
    base="timm:resnet10t, weights: pretrained",
    hub="timm/resnet10t.c3_in1k",
    licence="apache-2.0",
    stated_by="timm",
    recipe="greedy",
    ingredients={"lr 1e-3": "ab" * 32, "a | b: *c*": ""},
    data="shapes",
    figures=[
        Figure("test", "accuracy", 0.9125, 0.88, 0.94, 400),
        Figure("sketch", "accuracy", 0.5, math.nan, math.nan, 80),
    ],
    classes=["circle", "a [link](http://x): 'quoted'\nline"],
)


def test_the_hub_s_library_reads_base_licence_and_scores() -> None:
    read = ModelCard(card_text(CARD))
    assert read.data.library_name == "timm"
    assert read.data.pipeline_tag == "image-classification"
    assert read.data.base_model == "timm/resnet10t.c3_in1k"
    assert read.data.license == "apache-2.0"
    test, sketch = read.data.eval_results
    assert (test.metric_type, test.metric_value, test.dataset_split) == ("accuracy", 0.9125, "test")
    assert test.metric_name == "accuracy, 0.9125 (0.8800 to 0.9400)"
    assert sketch.metric_name == "accuracy, 0.5000"  # no interval is claimed that is not known
    assert "model-soup" in read.data.tags


def test_the_text_lists_ingredients_with_digests_and_the_interval() -> None:
    text = card_text(CARD)
    assert "averaged by the recipe *greedy*" in text
    assert f"| lr 1e-3 | {'ab' * 32} |" in text
    assert "| a \\| b: \\*c\\* | not known |" in text
    assert "| test | accuracy | 0.9125 (0.8800 to 0.9400) | 400 |" in text
    assert "| licence of the base | apache-2.0, as timm states it |" in text
    assert 'timm.create_model("local-dir:FOLDER", pretrained=True)' in text
    assert "\\[link](http://x): 'quoted' line." in text


def test_a_licence_that_is_not_known_is_said_and_not_guessed() -> None:
    text = card_text(replace(CARD, licence="", stated_by="", hub=""))
    assert "| licence of the base | not known: ask the owner of the base |" in text
    read = ModelCard(text)
    assert read.data.license is None
    assert read.data.base_model is None


def test_names_cannot_add_to_the_front_matter() -> None:
    named = replace(CARD, title='x"\nlicense: mit', hub='a"\nlicense: mit', licence="")
    assert ModelCard(card_text(named)).data.license is None


@pytest.mark.parametrize(("gain", "p"), [(0.011, 0.004), (0.002, 0.6), (-0.02, 0.0001)])
def test_the_card_says_what_the_report_says(
    make: Callable[..., Report], gain: float, p: float
) -> None:
    report = make(gain=gain, half=0.006, p_value=p)
    told = verdict_of(report)
    figures = figures_in(report.results, report.recipe, "accuracy")
    sentences = [told.headline, *(comparison.sentence for comparison in told.comparisons)]
    text = html.unescape(card_text(replace(CARD, figures=figures, verdict=sentences)))
    document = Document(page(report))
    assert " ".join(" ".join(sentences).split()) in text
    assert document.text("h1") == told.headline
    for compared, split in zip(told.comparisons, ("test", "shifts"), strict=True):
        value = re.search(rf"\| {split} \| accuracy \| ([\d.]+) ", text)
        said = re.search(rf"{compared.split}: ([\d.]+)% against", text)
        assert value
        assert said
        assert float(said[1]) == pytest.approx(100 * float(value[1]), abs=0.056)  # both rounded
        notes = {" ".join(note.split()) for note in (compared.scores, *compared.evidence)}
        assert notes <= {shown for _, shown in document.texts}
        assert compared.change in document.text("strong")


def test_page_and_card_call_intervals_by_their_confidence(make: Callable[..., Report]) -> None:
    report = make(confidence=0.9)
    scores = report.results["accuracy"]
    bounds = {f"f1_{end}": report.results[end] for end in ("low", "high")}
    columns = {"difference": "difference", "low": "low", "high": "high", "p": "p_value"}
    tests = {f"f1_{name}": report.tests[column] for name, column in columns.items()}
    report = replace(
        report,
        score="f1",
        results=report.results.assign(f1=scores, **bounds),
        tests=report.tests.assign(**tests),
    )
    shown, usual = page(report), page(replace(report, confidence=0.95))
    assert shown == usual.replace("95% interval", "90% interval") != usual
    sentences = [comparison.sentence for comparison in verdict_of(report).comparisons]
    card = card_text(replace(CARD, confidence=report.confidence, verdict=sentences))
    assert "value (90% interval)" in card
    assert card.count("(90% interval") == 3  # in the verdict on test and on the mean of the shifts
    assert "95%" not in shown + card


def test_a_long_list_is_cut_and_says_so() -> None:
    many = {f"model {i}": "" for i in range(250)}
    text = card_text(replace(CARD, ingredients=many, classes=[str(i) for i in range(1000)]))
    assert "| model 199 |" in text
    assert "| model 200 |" not in text
    assert "and 50 more." in text
    assert "and 800 more." in text
