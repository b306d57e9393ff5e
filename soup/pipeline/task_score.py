"""The score by which the soups of an experiment are selected."""

from collections.abc import Sequence

from soup.config.params import Params
from soup.data.text.glue import TASKS
from soup.errors import BadInput
from soup.evaluation.number_scores import NUMBER_SCORES, NumberScore
from soup.evaluation.scores import ConfusionScore, task_score
from soup.pipeline.project import score_name


def score_of(
    params: Params, classes: Sequence[str]
) -> tuple[str, ConfusionScore | NumberScore | None]:
    """The score's name, and the score; None for accuracy, of which errors are counted.

    The score is that of `soup.score`, or that of the GLUE task, or accuracy (of predicted numbers
    the mean of two correlations).

    Args:
        classes: class names; the position of a name is its label.

    Raises:
        BadInput: the score is defined for two classes, and the data have others.
    """
    name, positive = score_settings(params, classes)
    if name in NUMBER_SCORES:
        return name, NUMBER_SCORES[name]
    score = task_score(name, positive)
    assert score is None or isinstance(score, ConfusionScore)
    return name, score


def score_settings(params: Params, classes: Sequence[str]) -> tuple[str, int]:
    """The score's name, and the index of the class that the F1 score of 'f1-accuracy' is of.

    Arguments and errors are those of `score_of`.
    """
    text, name = params.data.text, score_name(params)
    task = TASKS[text.task] if text and text.task else None
    if text and text.predicts_numbers:
        return name, 1
    if name == "f1-accuracy" and len(classes) != 2:
        raise BadInput(f"soup.score: f1-accuracy is of two classes, and there are {len(classes)}")
    positive = classes.index(task.positive) if task and task.positive in classes else 1
    return name, positive
