"""A soup that is asked: whatever the form of the images, the answers of the model itself."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from soup.data.loading.examples import as_examples
from soup.data.loading.images import Images
from soup.evaluation.predict import predict
from soup.models import open_model
from soup.models.transforms import image_input
from soup.serving import Classifier
from tests.worlds import COLOURS, picture, put, tiny

PICTURES = [picture(colour, n, (20 + 3 * n, 24)) for n, colour in enumerate(COLOURS.values())]
ARRAYS = [np.asarray(image) for image in PICTURES]


def encoded(image: Image.Image, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


BYTES = [encoded(image) for image in PICTURES]
BASE64 = [base64.b64encode(each).decode() for each in BYTES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put(tmp_path_factory.mktemp("soup"), tiny(seed=4))


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    return Classifier(folder)


@pytest.fixture(scope="module")
def expected(folder: Path) -> np.ndarray:
    architecture, model = open_model(folder)
    inputs = image_input(architecture)
    pixels = np.stack([np.asarray(inputs.resize(image)) for image in PICTURES])
    logits = predict(model, as_examples(Images(pixels, np.zeros(3, np.int64), ()), inputs))
    return torch.from_numpy(logits).softmax(dim=1).numpy()


@pytest.mark.parametrize(
    "images",
    [
        BYTES,
        BASE64,
        ARRAYS,
        [a.tolist() for a in ARRAYS],
        [a.astype(np.float64) for a in ARRAYS],
        [BYTES[0], BASE64[1], ARRAYS[2]],
        tuple(BYTES),
        pd.Series(BYTES),
        pd.DataFrame({"image": BYTES}),
        pd.DataFrame({"image": BASE64, "id": [7, 8, 9]}, index=[3, 1, 2]),
        pd.DataFrame({"image": ARRAYS}),
        {"image": BASE64},
    ],
    ids=[
        "bytes",
        "base64",
        "arrays",
        "lists",
        "floats",
        "mixed",
        "tuple",
        "series",
        "frame of bytes",
        "frame of base64",
        "frame of arrays",
        "dictionary",
    ],
)
def test_images_of_every_form_get_the_model_s_own_answers(
    classifier: Classifier, expected: np.ndarray, images: Any
) -> None:
    found = classifier.predict(images)
    assert list(found.columns) == ["label", "probability", "probabilities", "error"]
    assert not found["error"].any()
    names = list(COLOURS)
    assert found["label"].tolist() == [names[i] for i in expected.argmax(axis=1)]
    np.testing.assert_allclose(found["probability"], expected.max(axis=1), atol=1e-6)
    for row, own in zip(found["probabilities"], expected, strict=True):
        assert list(row) == names
        assert list(row.values()) == pytest.approx(own.tolist(), abs=1e-6)
        assert sum(row.values()) == pytest.approx(1, abs=1e-5)


def test_one_array_may_hold_all_images(classifier: Classifier) -> None:
    stack = np.stack([np.asarray(image.resize((20, 20))) for image in PICTURES])
    one_by_one = pd.concat([classifier.predict([each]) for each in stack], ignore_index=True)
    whole = classifier.predict(stack)
    assert whole["label"].tolist() == one_by_one["label"].tolist()
    np.testing.assert_allclose(whole["probability"], one_by_one["probability"], atol=1e-6)


def test_grey_and_transparent_images_are_seen_as_rgb(classifier: Classifier) -> None:
    grey = PICTURES[0].convert("L")
    as_rgb = classifier.predict([encoded(grey.convert("RGB"))])
    pd.testing.assert_frame_equal(classifier.predict([encoded(grey)]), as_rgb)
    clear = PICTURES[1].convert("RGBA")
    pd.testing.assert_frame_equal(
        classifier.predict([encoded(clear)]), classifier.predict([BYTES[1]])
    )


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (b"not an image", "not an image of a format that is read"),
        (BYTES[0][:200], "truncated"),
        (encoded(Image.new("RGB", (101, 1))), r"too large: 101 x 1 is a shape of 101 to 1"),
        ("not base64!", "base64"),
        (np.zeros((4, 4), np.uint8), r"expected \(height, width, 3\), got \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"got \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"got \(0, 4, 3\)"),
        (np.zeros((1, 101, 3), np.uint8), r"a shape of 101 to 1, of at most 100"),
        (np.full((4, 4, 3), 0.5), "pixels of 0 to 255 in whole numbers"),
        (np.full((4, 4, 3), 256), "pixels of 0 to 255"),
        (np.full((4, 4, 3), -1), "pixels of 0 to 255"),
        (np.full((4, 4, 3), np.nan), "pixels of 0 to 255"),
        (None, "expected"),
        (7, "expected"),
    ],
)
def test_what_is_no_image_is_named_with_its_reason_and_the_others_are_answered(
    classifier: Classifier, wrong: Any, reason: str
) -> None:
    found = classifier.predict([BYTES[0], wrong, BYTES[1]])
    assert re.search(reason, found["error"][1])
    assert [found[name][1] for name in ("label", "probability", "probabilities")] == [None] * 3
    others = found.drop(index=1).reset_index(drop=True).convert_dtypes()
    expected = classifier.predict([BYTES[0], BYTES[1]]).convert_dtypes()
    pd.testing.assert_frame_equal(others, expected)


def test_answers_are_json_whatever_was_refused(classifier: Classifier) -> None:
    """NaN, which pandas makes of None, is no JSON."""
    for images in ([BYTES[0], b"no image"], [b"no image"]):
        rows = classifier.predict(images).to_dict(orient="records")
        assert json.loads(json.dumps(rows, allow_nan=False))[-1]["probability"] is None


def test_no_more_than_a_batch_is_decoded_at_once(
    classifier: Classifier, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, read = [], classifier.read
    monkeypatch.setattr("soup.serving.classifier.BATCH", 2)
    monkeypatch.setattr(
        classifier, "read", lambda images: sizes.append(len(images)) or read(images)
    )
    found = classifier.predict(BYTES)
    assert sizes == [2, 1]
    np.testing.assert_allclose(found["probability"], expected.max(axis=1), atol=1e-6)


def test_a_frame_without_the_column_or_without_rows_is_refused(classifier: Classifier) -> None:
    with pytest.raises(ValueError, match=r"expected a column 'image', got \['picture'\]"):
        classifier.predict(pd.DataFrame({"picture": BYTES}))
    with pytest.raises(ValueError, match="no images were given"):
        classifier.predict(pd.DataFrame({"image": []}))
    for no_list in ("text", b"bytes", 7, {"image": "text"}, {"image": {"b64": "text"}}):
        with pytest.raises(ValueError, match="expected a list of images, got"):
            classifier.predict(no_list)


def test_a_model_whose_logits_are_not_numbers_gives_no_label(tmp_path: Path) -> None:
    architecture, model = tiny(seed=4)
    with torch.no_grad():
        [*model.parameters()][-1][1] = float("nan")
    answers = Classifier(put(tmp_path, (architecture, model))).predict(BYTES)
    assert answers["label"].tolist() == [None] * 3
    assert answers["probability"].tolist() == [None] * 3
    assert set(answers["error"]) == {"the model's output is not a number"}
