"""A soup of texts that is asked: whatever the form of the texts, the model's own answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from soup.models import ModelError
from soup.serving import Classifier, TextClassifier
from soup.serving.text_classifier import CHARACTERS

FIRST = ["The cat likes a dog", "an owl", "the bee fears an eel today"]
SECOND = ["a dog is here", "the ant", "a rat"]


@pytest.fixture(scope="module")
def folder(text_soup: Path) -> Path:
    return text_soup


@pytest.fixture(scope="module")
def classifier(folder: Path) -> TextClassifier:
    return TextClassifier(folder)


def by_transformers(folder: Path, *texts: list[str]) -> np.ndarray:
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(*texts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        return model(**tokens).logits.softmax(dim=1).numpy()


@pytest.mark.parametrize(
    "texts",
    [
        FIRST,
        np.array(FIRST),
        pd.DataFrame({"text": FIRST}),
        pd.DataFrame({"text": FIRST, "text_pair": [None, float("nan"), None]}),
        {"text": FIRST},
        [{"text": text} for text in FIRST],
        [[text] for text in FIRST],
    ],
)
def test_every_form_of_texts_gets_the_answers_of_transformers(
    folder: Path, classifier: TextClassifier, texts: Any
) -> None:
    rows = classifier.predict(texts)
    wanted = by_transformers(folder, FIRST)
    shares = np.array([[row["no"], row["yes"]] for row in rows["probabilities"]])
    assert np.abs(shares - wanted).max() < 1e-5
    assert rows["label"].tolist() == [["no", "yes"][i] for i in wanted.argmax(axis=1)]
    assert rows["probability"].tolist() == pytest.approx(wanted.max(axis=1))


@pytest.mark.parametrize(
    "texts",
    [
        pd.DataFrame({"text": FIRST, "text_pair": SECOND}),
        [*zip(FIRST, SECOND, strict=True)],
        np.array([*zip(FIRST, SECOND, strict=True)]),
        [{"text": a, "text_pair": b} for a, b in zip(FIRST, SECOND, strict=True)],
    ],
)
def test_every_form_of_pairs_does(folder: Path, classifier: TextClassifier, texts: Any) -> None:
    shares = [[row["no"], row["yes"]] for row in classifier.predict(texts)["probabilities"]]
    assert np.abs(np.array(shares) - by_transformers(folder, FIRST, SECOND)).max() < 1e-5


def test_a_text_that_cannot_be_used_is_named_and_the_others_are_answered(
    classifier: TextClassifier,
) -> None:
    half = "an owl \ud83e"  # the first half of a pair of surrogates
    texts = ["an owl", " ", 3, ["a", "b", "c"], "a" * (CHARACTERS + 1), ("an owl", ""), half]
    errors = classifier.predict(texts)["error"].tolist()
    assert errors[0] is None
    assert errors[1] == errors[5] == "the text is empty"
    assert errors[2] == "expected a text or two, got int"
    assert errors[3] == "expected a text or two, got list"
    assert "at most 100,000" in errors[4]
    assert errors[6] == "the text holds half a character (a surrogate without its other half)"
    assert classifier.predict([""])["label"].tolist() == [None]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "no texts"),
        ("one text", "expected a list of texts, got str"),
        (pd.DataFrame({"sentence": FIRST}), "expected a column 'text'"),
        ({"text": FIRST, "text_pair": ["one"]}, "3 entries of 'text' and 1"),
    ],
)
def test_requests_of_another_form_are_refused(
    classifier: TextClassifier, texts: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        classifier.predict(texts)


def test_a_model_of_texts_is_not_asked_about_pictures(folder: Path) -> None:
    with pytest.raises(ModelError, match="is a model of texts"):
        Classifier(folder)
