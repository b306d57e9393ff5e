"""`soup export` writes files that answer as the model does, and says what it cannot write."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from soup.cli import exported
from soup.models import open_model
from soup.models.exporting import NotExported, export
from tests import text_worlds
from tests.cli.conftest import Command
from tests.worlds import COLOURS, draw, put, tiny


@pytest.mark.slow
def test_onnx_answers_as_the_model_on_real_images_and_is_timed_against_another(
    soup: Command, tmp_path: Path
) -> None:
    draw(tmp_path / "images", dict.fromkeys(COLOURS, 3))
    put(tmp_path / "model", tiny())
    put(tmp_path / "single", tiny(1))
    on = ("--on", tmp_path / "images", "--against", tmp_path / "single")
    said = soup("export", tmp_path / "model", "--format", "onnx", *on, "--json")
    assert said.code == 0, said.err
    report = json.loads(said.out)
    assert report["compared"] == 9
    assert report["what"] == "images"
    assert 0 <= report["difference"] < 1e-5
    assert report["largest"] > 0.01
    assert len(report["milliseconds"]) == 2
    assert "largest difference of the logits on 9 images" in said.err
    session = onnxruntime.InferenceSession(str(tmp_path / "model" / "model.onnx"))
    described, model = open_model(tmp_path / "model")
    images = torch.randn(7, 3, 20, 20)  # a batch that it was not traced with
    (found,) = session.run(["logits"], {"images": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model(images).numpy(), atol=1e-5)
    told = session.get_modelmeta().custom_metadata_map["modelsoup"]
    assert json.loads(told)["classes"] == list(described.classes)


@pytest.mark.slow
def test_texts_of_any_length_are_answered_by_the_program_of_torch(
    soup: Command, tmp_path: Path
) -> None:
    folder = text_worlds.soup(tmp_path)
    table = tmp_path / "texts.csv"
    table.write_text("text\nthe cat likes a dog\nthe owl\nthe hen hates the fox then and now\n")
    said = soup("export", folder, "--format", "torch", "--on", table)
    assert said.code == 0, said.err
    assert "largest difference of the logits on 3 texts: 0 " in said.err
    program = torch.export.load(folder / "model.pt2").module()
    ids = torch.full((5, 17), 6)
    assert program(ids, torch.ones_like(ids), torch.zeros_like(ids)).shape == (5, 2)


class ForksOnData(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if bool(torch.nonzero(images).sum().item() > 3) else -images


@pytest.mark.slow
def test_a_model_that_cannot_be_traced_is_refused_with_the_operator(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    with pytest.raises(
        NotExported, match=r"to onnx: at test_export.py, .*nonzero.*\.item\(\) > 3.*Could not guard"
    ):
        export(ForksOnData(), {"images": torch.ones(2, 3)}, file, "onnx", "")
    assert not file.exists()


class Bessel(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(images)


@pytest.mark.slow
def test_an_operator_that_onnx_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotExported, match=r"to onnx: operator prims\.bessel_j0; "):
        export(Bessel(), {"images": torch.ones(2, 3)}, tmp_path / "model.onnx", "onnx", "")


def test_a_file_that_answers_otherwise_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "model", tiny())
    file = tmp_path / "model.onnx"
    monkeypatch.setattr(exported, "export", lambda _model, _inputs, file, *_: file.write_text("x"))
    wrong = torch.full((16, 3), float("nan"))
    monkeypatch.setattr(exported, "opened", lambda *_: lambda _: wrong)
    with pytest.raises(NotExported, match=r"answers otherwise than the model, by nan .* not kept"):
        exported.check(tmp_path / "model", file, "onnx", [])
    assert not file.exists()


def test_what_is_no_model_folder_or_format_is_refused(soup: Command, tmp_path: Path) -> None:
    said = soup("export", tmp_path, "--format", "tflite")
    assert (said.code, "unknown format 'tflite'; known: onnx, torch, open_clip" in said.err) == (
        2,
        True,
    )
    said = soup("export", tmp_path, "--format", "onnx")
    assert (said.code, "has no model.json" in said.err) == (2, True)
    put(tmp_path, tiny())
    said = soup("export", tmp_path, "--format", "open_clip")
    assert (said.code, "is no model of open_clip" in said.err) == (2, True)
