"""Models that are asked the same: each answers as it does alone, an ensemble as their mean."""

import base64
import io
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from soup.errors import BadInput
from soup.models import Architecture, build
from soup.serving.classifier import Classifier
from soup.serving.side_by_side import Entry, SideBySide, open_folder
from soup.serving.text_classifier import TextClassifier
from soup.weights.checkpoint import Checkpoint, save
from tests import text_worlds
from tests.serving.worlds import A
from tests.worlds import COLOURS, architecture, picture, put, tiny

PICTURE = base64.b64decode(A)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [put(root / f"run{seed}", tiny(seed=seed)) for seed in range(3)]


def of_classes(*names: str) -> tuple[Architecture, nn.Module]:
    made = architecture(classes=names)
    return made, build(made)


def entries(folders: list[Path]) -> list[Entry]:
    first, *others = folders
    return [Entry("single", "", (first,)), Entry("ensemble", "", tuple(others))]


def logits_of(folder: Path) -> Tensor:
    classifier = Classifier(folder)
    return torch.from_numpy(classifier.logits(classifier.read([PICTURE])))


def test_a_single_model_answers_as_it_is_served_and_an_ensemble_by_the_mean_logits(
    folders: list[Path],
) -> None:
    models = SideBySide(entries(folders))
    single, ensemble = models.ask(PICTURE)
    [served] = Classifier(folders[0]).predict([PICTURE]).to_dict("records")
    assert single.shares == pytest.approx(served["probabilities"])
    assert single.label == served["label"] == next(iter(single.shares))
    mean = (logits_of(folders[1]) + logits_of(folders[2])) / 2
    expected = dict(zip(architecture().classes, mean.softmax(1)[0].tolist(), strict=True))
    assert ensemble.shares == pytest.approx(expected, abs=1e-6)
    shares = [*ensemble.shares.values()]
    assert shares == sorted(shares, reverse=True)
    assert single.seconds > 0
    assert not models.of_text


def test_each_model_sees_the_picture_in_its_own_size_and_crop(tmp_path: Path) -> None:
    made: list[Path] = []
    for size, crop_pct in ((32, 1.0), (64, 1.0), (32, 0.5)):
        described = replace(architecture(size), crop_pct=crop_pct)
        torch.manual_seed(0)  # the same weights: only the input differs
        made.append(put(tmp_path / str(len(made)), (described, build(described))))
    file = io.BytesIO()
    picture(COLOURS["red"], 1, (90, 70)).save(file, "PNG")
    told = SideBySide([Entry(folder.name, "", (folder,)) for folder in made]).ask(file.getvalue())
    shares = [answer.shares for answer in told]
    for folder, shown in zip(made, shares, strict=True):
        [alone] = Classifier(folder).predict([file.getvalue()]).to_dict("records")
        assert shown == pytest.approx(alone["probabilities"])
    assert all(a != pytest.approx(b) for a, b in itertools.combinations(shares, 2))


def test_what_models_read_alike_is_read_once(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    models, reads = SideBySide(entries(folders)), []
    read = Classifier.read

    def counted(self: Classifier, images: list[bytes]) -> list[Any]:
        reads.append(images)
        return read(self, images)

    monkeypatch.setattr(Classifier, "read", counted)
    models.ask(PICTURE)
    assert reads == [[PICTURE]]


def test_no_more_than_five_classes_are_told(tmp_path: Path) -> None:
    [answer] = SideBySide(
        [Entry("single", "", (put(tmp_path / "m", of_classes(*"abcdefg")),))]
    ).ask(PICTURE)
    assert len(answer.shares) == 5


def test_a_model_without_an_answer_says_so_and_the_others_answer(
    folders: list[Path], tmp_path: Path
) -> None:
    broken = put(tmp_path / "broken", tiny())
    weights = {name: t.clone() for name, t in Checkpoint(broken).items()}
    weights["fc.bias"][0] = float("nan")
    save(weights, broken / "model.safetensors")
    asked = [Entry("single", "", (broken,)), Entry("soup", "", (folders[0],))]
    single, soup = SideBySide(asked).ask(PICTURE)
    assert (single.label, single.error) == ("", "the model's output is not a number")
    assert soup.label


@pytest.mark.parametrize("example", [b"no picture", b""])
def test_what_is_no_picture_is_refused_with_the_reason(folders: list[Path], example: bytes) -> None:
    with pytest.raises(BadInput, match="this picture cannot be used: "):
        SideBySide(entries(folders)).ask(example)


def test_texts_are_answered_and_a_picture_is_no_text(tmp_path: Path) -> None:
    folder = text_worlds.soup(tmp_path / "text")
    models = SideBySide([Entry("soup", "", (folder,))])
    assert models.of_text
    [answer] = models.ask("the cat loves a dog")
    [served] = TextClassifier(folder).predict(["the cat loves a dog"]).to_dict("records")
    assert answer.shares == pytest.approx(served["probabilities"])
    with pytest.raises(BadInput, match="this text cannot be used: expected a text or two"):
        models.ask(PICTURE)


def test_models_of_pictures_and_of_texts_are_not_compared(
    folders: list[Path], tmp_path: Path
) -> None:
    text = text_worlds.soup(tmp_path / "text")
    with pytest.raises(BadInput, match=r"run0 is a model of pictures and .* one of texts"):
        SideBySide([Entry("single", "", (folders[0],)), Entry("soup", "", (text,))])


def test_models_of_other_classes_are_not_compared(folders: list[Path], tmp_path: Path) -> None:
    other = put(tmp_path / "other", of_classes("red", "green", "blue"))
    with pytest.raises(BadInput, match=r"have other classes.*3 \(blue, green, red\) and 3 \(red"):
        SideBySide([Entry("single", "", (folders[0],)), Entry("soup", "", (other,))])


def test_a_folder_as_timm_or_transformers_writes_it_is_opened_too(
    folders: list[Path], tmp_path: Path
) -> None:
    timm = tmp_path / "timm"
    timm.mkdir()
    for name in ("config.json", "model.safetensors"):
        (timm / name).symlink_to(folders[0] / name)
    opened, ours = open_folder(timm), Classifier(folders[0])
    assert opened.architecture.classes == ours.architecture.classes
    pixels = ours.read([PICTURE])
    assert np.array_equal(opened.logits(pixels), ours.logits(pixels))

    from transformers import AutoModelForSequenceClassification

    theirs = text_worlds.tiny(tmp_path / "encoder")
    labels = {0: "no", 1: "yes"}
    model = AutoModelForSequenceClassification.from_pretrained(
        theirs, id2label=labels, label2id={name: key for key, name in labels.items()}
    )
    model.save_pretrained(tmp_path / "text")
    text_worlds.write_tokenizer(tmp_path / "text")
    assert open_folder(tmp_path / "text").architecture.classes == ("no", "yes")


def test_a_folder_that_does_not_say_what_model_it_holds_is_refused(tmp_path: Path) -> None:
    save({"w": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match="does not say what model it belongs to"):
        open_folder(tmp_path)
