"""A text model's head made from the names of the classes."""

from pathlib import Path

import pytest
import torch

from soup.config.params import Base
from soup.config.validation import check
from soup.data.text.examples import as_text_examples
from soup.data.text.texts import Text
from soup.models import ModelError
from soup.models.inputs import text_input_of
from soup.models.transformers_init import make_base
from soup.models.transformers_models import features, head
from tests import text_worlds

CLASSES = ("the cat", "a_very_much", "dog")


def base_of(folder: Path, **changes: object) -> Base:
    raw = {"library": "transformers", "model": str(folder), "head": "zeroshot", **changes}
    return check(Base, raw, "base")


def test_a_row_is_the_names_pooled_output_less_the_mean_of_all(tmp_path: Path) -> None:
    architecture, model, _ = make_base(base_of(text_worlds.tiny(tmp_path / "bert")), CLASSES)
    names = ["the cat", "a very much", "dog"]
    rows = []
    for name in names:  # one by one, without padding
        examples = as_text_examples([Text(name)], text_input_of(architecture))
        with torch.no_grad():
            rows.append(features(model, examples.compact(torch.arange(1).numpy()).long())[0])
    centred = torch.stack(rows) - torch.stack(rows).mean(dim=0)
    wanted = centred / centred.norm(dim=1, keepdim=True)
    assert torch.allclose(head(model).weight, wanted, atol=1e-4)
    assert not head(model).bias.any()


def test_given_names_go_before_those_of_the_classes(tmp_path: Path) -> None:
    folder = text_worlds.tiny(tmp_path / "bert")
    given = make_base(base_of(folder, class_names=[*CLASSES]), ("0", "1", "2"))[1]
    named = make_base(base_of(folder), CLASSES)[1]
    assert torch.equal(head(given).weight, head(named).weight)


def test_where_it_makes_no_sense_it_is_refused_with_the_reason(tmp_path: Path) -> None:
    for kind, reason in (
        ("roberta", r"the weights lack classifier\.dense"),
        ("t5", "an encoder-decoder writes its labels: take head: text"),
    ):
        with pytest.raises(ModelError, match=reason):
            make_base(base_of(text_worlds.tiny(tmp_path / kind, kind)), CLASSES)
    with pytest.raises(ModelError, match="its weights are random"):
        make_base(base_of(text_worlds.tiny(tmp_path / "bert"), weights="random"), CLASSES)
    with pytest.raises(ModelError, match="2 class_names for 3 classes"):
        make_base(base_of(tmp_path / "bert", class_names=["a", "b"]), CLASSES)
