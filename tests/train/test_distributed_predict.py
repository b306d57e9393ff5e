"""Evaluation by several ranks."""

from pathlib import Path

import numpy as np
import pytest

from soup.data.loading.examples import as_examples
from soup.data.loading.images import Images
from soup.evaluation.metrics import Logits
from soup.evaluation.predict import predict
from soup.models.transforms import image_input
from soup.train.distributed_predict import answers
from soup.train.rank import ALONE, Rank
from tests.train.crowds import together
from tests.worlds import tiny


@pytest.mark.parametrize(
    ("count", "batch", "world"), [(23, 4, 2), (23, 4, 3), (5, 4, 4), (3, 8, 2), (130, 100, 2)]
)
def test_ranks_give_the_same_answers_in_the_same_order_as_one(
    count: int, batch: int, world: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 20, 20, 3), dtype=np.uint8)
    images = Images(pixels, np.arange(count), tuple(Path(f"{n}") for n in range(count)))
    architecture, model = tiny()
    examples = as_examples(images, image_input(architecture))

    def of(share: Rank) -> Logits:
        return answers(model, examples, len(architecture.classes), batch, share)

    expected = predict(model, examples, batch)
    assert np.array_equal(of(ALONE), expected)
    for found in together(world, of):
        assert np.array_equal(found, expected)
