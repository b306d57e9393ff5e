"""The signature of a registered model: MLflow shows it, and takes all inputs that it takes."""

import base64
import io
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from soup.models import Architecture
from soup.tracking import save_pyfunc
from soup.tracking.model_files import signature_of
from tests.worlds import architecture, put, tiny

PIXELS = np.full((20, 20, 3), 200, dtype=np.uint8)


def encoded() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return file.getvalue()


TEXT = base64.b64encode(encoded()).decode()
INPUTS = {
    "bytes": [encoded(), encoded()],
    "base64": [TEXT, TEXT],
    "an array": np.stack([PIXELS, PIXELS]),
    "arrays of different sizes": [PIXELS, np.full((9, 30, 3), 200, dtype=np.uint8)],
    "bytes and arrays": [encoded(), PIXELS],
    "a frame": pd.DataFrame({"image": [encoded(), PIXELS]}),
    "a dictionary": {"image": [encoded(), TEXT]},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("model")
    (folder / "soup").mkdir()
    save_pyfunc(put(folder / "soup", tiny()), folder / "model")
    return mlflow.pyfunc.load_model(str(folder / "model"))


@pytest.mark.parametrize("name", INPUTS)
def test_an_image_is_taken_as_bytes_and_as_an_array(model: Any, name: str) -> None:
    rows = model.predict(INPUTS[name])
    assert len(rows) == 2
    assert rows["error"].isna().all()
    one = model.predict([encoded()])["probability"][0]
    assert rows["probability"].tolist() == pytest.approx([one, one], abs=1e-5)


def test_mlflow_knows_what_it_takes_and_answers(model: Any) -> None:
    signature = model.metadata.signature
    assert [(spec.name, str(spec.type)) for spec in signature.inputs.inputs] == [("image", "Any")]
    rows = model.predict([encoded(), b"no image"])
    assert signature.outputs.input_names() == [*rows.columns]
    assert rows.notna().to_numpy().tolist() == [[True, True, True, False], [False] * 3 + [True]]
    assert not any(spec.required for spec in signature.outputs.inputs)  # an error has no label


def test_a_text_may_have_a_second_one_and_numbers_have_no_label() -> None:
    texts = Architecture(**{**vars(architecture()), "library": "transformers"})
    assert texts.of_text
    inputs = signature_of(texts).inputs
    assert {spec.name: spec.required for spec in inputs.inputs} == {
        "text": True,
        "text_pair": False,
    }
