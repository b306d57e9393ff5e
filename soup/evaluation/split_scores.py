"""Scores of models and of their ensembles, split by split, with one model's logits in memory."""

from collections.abc import Callable, Collection, Mapping, Sequence

from soup.evaluation.ensemble import LogitSum
from soup.evaluation.metrics import Logits, Score, score
from soup.evaluation.prediction_file import to_float16_keeping_argmax
from soup.evaluation.targets import Targets

Scores = dict[str, Score]


def score_splits(
    models: Sequence[str],
    ensembles: Mapping[str, Collection[str]],
    targets: Mapping[str, Targets],
    logits: Callable[[str, str], Logits],
    bins: int,
    advance: Callable[[int], object] = lambda _: None,
) -> dict[str, Scores]:
    """Score models and ensembles on every split.

    A model's logits on a split are asked for once, scored, added to the sums of its ensembles and
    dropped. What stays of a model is a boolean an example and two numbers a split. A split is
    scored by its targets: likelihood and calibration are of its answers, not of all classes.

    Args:
        models: their names.
        ensembles: name -> its members, among the models.
        targets: by split, in the order of the result.
        logits: model, split -> float16 (examples, classes).
        bins: of the calibration error.
        advance: called with 1 for each model and set of images.

    Returns:
        By name of the model or ensemble, its scores by split, in the order of the targets.
    """
    scores: dict[str, Scores] = {name: {} for name in [*models, *ensembles]}

    def judge(name: str, images: str, answers: Logits) -> None:
        for split, target in targets.items():
            if target.of == images:
                scores[name][split] = score(target.project(answers), target.labels, bins)

    for images in dict.fromkeys(target.of for target in targets.values()):
        sums = {name: LogitSum() for name in ensembles}
        for model in models:
            answers = logits(model, images)
            judge(model, images, answers)
            for name, members in ensembles.items():
                if model in members:
                    sums[name].add(answers)
            del answers  # before the next model's take as much again
            advance(1)
        for name in ensembles:
            mean = sums.pop(name).mean()
            judge(name, images, to_float16_keeping_argmax(mean, targets[images].columns))
    return {
        name: {split: by_split[split] for split in targets} for name, by_split in scores.items()
    }
