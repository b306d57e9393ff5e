"""T5 that writes labels: logits are log-probabilities of the labels' tokens."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSeq2SeqLM

from soup.config.params import Base
from soup.config.validation import ParamsError, check
from soup.data.text.examples import as_text_examples
from soup.data.text.texts import Text
from soup.evaluation.predict import predict
from soup.models import ModelError, build
from soup.models.inputs import text_input_of
from soup.models.text_input import filled
from soup.models.transformers_init import make_base
from soup.train.losses import label_likelihood
from tests import text_worlds

CLASSES = ("now", "now then")  # the first is the beginning of the second
END = 3
PAIRS = [Text("the cat loves a dog", "the cow"), Text("a fox hates the bee", "an ant likes a rat")]
PROMPT = "today {text_pair} and {text}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_worlds.tiny(tmp_path_factory.mktemp("writer") / "t5", "t5")


def base_of(folder: Path, **changes: object) -> Base:
    raw = {"library": "transformers", "model": str(folder), "head": "text", **changes}
    return check(Base, raw, "base")


def test_logits_are_the_log_probabilities_of_the_labels_tokens(folder: Path) -> None:
    architecture, model, note = make_base(base_of(folder), CLASSES, PROMPT)
    assert note == ""
    examples = as_text_examples(PAIRS, text_input_of(architecture))
    logits = predict(model, examples, 2)  # texts of different lengths, padded
    theirs = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for row, pair in enumerate(PAIRS):
        ids = torch.tensor([tokenizer.encode(f"today {pair.pair} and {pair.text}").ids])
        for column, label in enumerate(CLASSES):
            target = [*tokenizer.encode(label, add_special_tokens=False).ids, END]
            with torch.inference_mode():
                loss = theirs(input_ids=ids, labels=torch.tensor([target])).loss  # a mean
            assert logits[row, column] == pytest.approx(-float(loss) * len(target), abs=1e-4)


def test_the_loss_is_the_likelihood_of_the_examples_own_label(folder: Path) -> None:
    architecture, model, _ = make_base(base_of(folder), CLASSES, PROMPT)
    inputs = as_text_examples(PAIRS, text_input_of(architecture)).compact(torch.arange(2).numpy())
    logits, labels = model(inputs.long()), torch.tensor([1, 0])
    loss = label_likelihood(model, inputs.long(), labels)
    assert loss.item() == pytest.approx(-(logits[0, 1] + logits[1, 0]).item() / 2, abs=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_saved_description_builds_the_same_model(folder: Path, tmp_path: Path) -> None:
    architecture, model, _ = make_base(base_of(folder), CLASSES, PROMPT)
    architecture.save(tmp_path / "model.json")
    again = type(architecture).load(tmp_path / "model.json")
    assert again == architecture
    built = build(again, model.state_dict())
    assert built.lm_head.weight is built.shared.weight  # tied, as they were
    examples = as_text_examples(PAIRS, text_input_of(again))
    assert (predict(built, examples) == predict(model, examples)).all()


def test_places_in_a_text_are_not_filled() -> None:
    assert filled("a {text} b {text_pair}", "{text_pair}", "x") == "a {text_pair} b x"
    assert filled("cola sentence: {text}", "One.", None) == "cola sentence: One."


def test_what_cannot_write_labels_is_refused(folder: Path, tmp_path: Path) -> None:
    bert = text_worlds.tiny(tmp_path / "bert", "bert")
    with pytest.raises(ModelError, match="is of type bert, which writes no text"):
        make_base(base_of(bert), CLASSES, PROMPT)
    with pytest.raises(ModelError, match="no tokens for the label 'maybe'"):
        make_base(base_of(folder), ("now", "maybe"), PROMPT)
    with pytest.raises(ModelError, match="'now' and 'NOW' have the same tokens"):
        make_base(base_of(folder), ("now", "NOW"), PROMPT)
    with pytest.raises(ParamsError, match="prompt goes with head: text"):
        base_of(folder, head="new", prompt="x {text}")
    with pytest.raises(ParamsError, match="prompt goes with head: text, and holds"):
        base_of(folder, prompt="no place")
