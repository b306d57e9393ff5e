"""The score that an experiment selects by."""

from pathlib import Path

import pytest

from soup.config.params import parse
from soup.evaluation.number_scores import NUMBER_SCORES
from soup.pipeline.task_score import score_of, score_settings
from tests import checkouts, text_worlds


@pytest.mark.parametrize("classes", [("cat",), ("cat", "dog")])
def test_that_labels_are_numbers_is_known_from_the_parameters(
    tmp_path: Path, classes: tuple[str, ...]
) -> None:
    """Not from how many classes there are."""
    assert score_of(parse(checkouts.parameters(tmp_path)), classes) == ("accuracy", None)
    raw = text_worlds.parameters(tmp_path, tmp_path)
    raw["data"]["text"] = {"numbers": True}
    name = "pearson-spearman"
    assert score_of(parse(raw), classes) == (name, NUMBER_SCORES[name])
    assert score_settings(parse(raw), classes) == (name, 1)
