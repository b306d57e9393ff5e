"""The Fisher information of ingredients, in files: it is as large as the models."""

from collections.abc import Callable, Sequence
from pathlib import Path

from soup.evaluation.evaluator import Evaluator
from soup.recipes.ingredient import Ingredient
from soup.weights import Weights
from soup.weights.checkpoint import Checkpoint, save

FISHER_EXAMPLES = 512


def fishers(
    evaluator: Evaluator,
    ingredients: Sequence[Ingredient],
    folder: Path,
    count: Callable[[int], None],
) -> list[Weights]:
    """The Fisher information of each ingredient, on at most `FISHER_EXAMPLES` examples.

    Args:
        folder: that the files are written to.
        count: called with the number of examples of each pass.
    """
    files = []
    for number, ingredient in enumerate(ingredients):
        files.append(folder / f"fisher-{number}.safetensors")
        save(evaluator.fisher(ingredient.weights, FISHER_EXAMPLES), files[-1])
        count(min(FISHER_EXAMPLES, len(evaluator)))
    return [Checkpoint(file) for file in files]
