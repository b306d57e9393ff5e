"""What `soup cook` is asked for, and what is wrong with it before anything is read."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from soup.cli.model_options import ModelOptions
from soup.cli.options import (
    CALIBRATION_IMAGES,
    Base,
    BatchSize,
    CalibrationImages,
    Device,
    Heldout,
    Json,
    Models,
    Recalibrate,
)
from soup.errors import BadInput

if TYPE_CHECKING:
    from soup.recipes.ingredient import Soup

DTYPES = ("float64", "float32", "float16", "bfloat16")
CLASS_METRICS = ("accuracy", "top5", "f1", "matthews", "loss")
METRICS = (*CLASS_METRICS, "pearson-spearman", "pearson", "spearman")  # the last of numbers


def recipe_names() -> list[str]:
    """The keys of `soup.recipes.RECIPES`, read without importing it: that would import torch."""
    import ast

    source = Path(__file__).parents[1] / "recipes" / "__init__.py"
    tables = [
        node.value
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict)
    ]
    return [str(ast.literal_eval(key)) for table in tables for key in table.keys if key]


@dataclass(frozen=True)
class CookOptions:
    """The options of `soup cook`: the command line is made from these fields."""

    context: typer.Context
    models: Models
    model: ModelOptions
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="The safetensors file of the soup."),
    ]
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            "-r",
            help="How models are chosen and weighed; 'soup recipes' lists the recipes.",
            show_default="greedy with --heldout, else uniform",
            autocompletion=recipe_names,
        ),
    ] = ""
    heldout: Heldout = None
    base: Base = None
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="NAME=VALUE", help="An option of the recipe."),
    ] = None
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="2,1,...",
            help="Of the recipe uniform: the weight of each model, which are divided by their sum.",
        ),
    ] = None
    rank: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Of adapters: write the soup as an adapter of rank N (the nearest one, with its "
            "error), or 'sum' (exact, of the ranks' sum), in the folder --out.",
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Leave the tensors of these names (with * and ?) out of all models and the soup.",
        ),
    ] = None
    take: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=HOW",
            help="Take these tensors from the first or last model (first, last) instead of "
            "averaging them, or average them after all (mean).",
        ),
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the models, print what would be read, written and needed, and do nothing.",
        ),
    ] = False
    metric: Annotated[
        str,
        typer.Option(
            help=f"What a soup is to be good at on held-out images: {', '.join(METRICS)}.",
            autocompletion=lambda: list(METRICS),
        ),
    ] = "accuracy"
    tie: Annotated[
        str | None,
        typer.Option(
            help="What greedy does with a model that changes no figure: keep (as the paper does; "
            "the default) or reject.",
            autocompletion=lambda: ["keep", "reject"],
        ),
    ] = None
    accumulate: Annotated[
        str,
        typer.Option(
            help="The type of the sums: float64, or float32, which is faster and less exact.",
            autocompletion=lambda: ["float64", "float32"],
        ),
    ] = "float64"
    dtype: Annotated[
        str | None,
        typer.Option(
            help=f"The type of the soup's tensors: {', '.join(DTYPES)}; by default that of the "
            "first model.",
            autocompletion=lambda: list(DTYPES),
        ),
    ] = None
    recalibrate: Recalibrate = None
    calibration_images: CalibrationImages = CALIBRATION_IMAGES
    splits: Annotated[
        int,
        typer.Option(
            min=0,
            help="Random halvings of the held-out images: a greedy soup is cooked on one half and "
            "scored on the other, which tells how much of its gain is selection. 0 is none.",
        ),
    ] = 0
    device: Device = "auto"
    batch_size: BatchSize = 256
    mlflow: Annotated[
        str | None,
        typer.Option(
            metavar="URI", help="Log the soup and its lineage to this MLflow server or database."
        ),
    ] = None
    experiment: Annotated[str, typer.Option(help="The experiment in MLflow.")] = "soups"
    as_json: Json = False

    def __post_init__(self) -> None:
        if not self.recipe:
            by_default = "uniform" if self.heldout is None else "greedy"
            object.__setattr__(self, "recipe", by_default)

    def says(self, name: str) -> bool:
        """Whether an option stands on the command line, be it with its default."""
        source = self.context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    @property
    def recipe_options(self) -> dict[str, str]:
        """The recipe's own options by name, as given.

        Raises:
            BadInput: one is no NAME=VALUE.
        """
        given = self.settings or []
        wrong = [text for text in given if "=" not in text]
        if wrong:
            raise BadInput(f"--set {wrong[0]}: give name=value")
        return dict(text.split("=", 1) for text in given)


def recipe_of(options: CookOptions) -> "Callable[..., Soup]":
    """The recipe that is asked for.

    Raises:
        BadInput: it is unknown, or lacks what it needs; every problem is listed.
    """
    from soup.recipes import RECIPES

    if options.recipe not in RECIPES:
        raise BadInput(f"unknown recipe {options.recipe!r}; known: {', '.join(RECIPES)}")
    recipe = RECIPES[options.recipe]
    required = {n for n, p in parameters_of(recipe).items() if p.default is p.empty}
    problems = []
    if required & {"judge", "objective", "fishers", "predictions"} and options.heldout is None:
        problems.append(f"{options.recipe} chooses by held-out images: give --heldout FOLDER")
    if "base" in required and options.base is None:
        problems.append(f"{options.recipe} needs the models' initialisation: give --base FILE")
    if options.metric not in METRICS:
        problems.append(f"unknown metric {options.metric!r}; known: {', '.join(METRICS)}")
    for name in {options.accumulate, options.dtype or "float32"} - set(DTYPES):
        problems.append(f"unknown dtype {name!r}; known: {', '.join(DTYPES)}")
    if options.recalibrate and options.heldout is None:
        problems.append("--recalibrate needs --heldout, to say which statistics do better")
    problems += _without_effect(options)
    if options.weights and (options.recipe != "uniform" or options.settings):
        problems.append("--weights are those of the recipe uniform, without --set")
    if problems:
        raise BadInput("\n".join(problems))
    if options.weights:
        from soup.cli.shares import shares_of
        from soup.recipes.uniform import weighted

        return partial(weighted, shares=shares_of(options.weights, len(options.models)))
    return recipe


def _without_effect(options: CookOptions) -> list[str]:
    """The options on the command line that nothing would be done with."""
    needs = {
        "metric": ("heldout", "to score models on its images"),
        "splits": ("heldout", "to halve its images"),
        "batch_size": ("heldout", "to run models on its images"),
        "calibration_images": ("recalibrate", "to take images from its folder"),
        "experiment": ("mlflow", "to log the soup there"),
    }
    problems = [
        f"--{name.replace('_', '-')} needs --{needed}, {why}"
        for name, (needed, why) in needs.items()
        if options.says(name) and not getattr(options, needed)
    ]
    if not options.splits or not options.heldout:
        return problems
    from soup.evaluation.scores import COUNTS

    by_score = options.recipe == "greedy" and options.recipe_options.get("order") != "answers"
    if not by_score or options.metric not in COUNTS:
        problems.append(
            "--splits is of the recipe greedy with models in the order of their scores, and of "
            f"--metric {' or '.join(COUNTS)}"
        )
    return problems


def parameters_of(recipe: "Callable[..., Soup]") -> Mapping[str, inspect.Parameter]:
    """The parameters of a recipe by name."""
    return inspect.signature(recipe).parameters


def ranks_by_logits(options: CookOptions) -> bool:
    """Whether the recipe ranks candidates by the ingredients' held-out logits."""
    from soup.recipes.proposing import asks_for_predictions

    return asks_for_predictions(options.recipe, options.recipe_options)


def arguments_of(recipe: "Callable[..., Soup]", options: CookOptions) -> dict[str, Any]:
    """The recipe's own options, each converted to the type that the recipe declares.

    Raises:
        BadInput: the recipe has no such option, or the value is not of its type.
    """
    import torch

    given = options.recipe_options | ({"tie": options.tie} if options.tie else {})
    fixed = {"ingredients", "judge", "base", "objective", "fishers", "predictions", "accumulate"}
    fixed |= {"depth", "shares"}
    parameters = {n: p for n, p in parameters_of(recipe).items() if n not in fixed}
    arguments: dict[str, Any] = {}
    if "accumulate" in parameters_of(recipe):
        arguments["accumulate"] = getattr(torch, options.accumulate)
    for name, text in given.items():
        if name not in parameters:
            names = ", ".join(parameters) or "none"
            raise BadInput(f"{options.recipe} has no option {name!r}; it has {names}")
        arguments[name] = _value(name, text, parameters[name].annotation)
    return arguments


def _value(name: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        choices: Sequence[str] = get_args(kind)
        if text not in choices:
            raise BadInput(f"{name}: {text!r} is none of {', '.join(choices)}")
        return text
    numbers = [number for number in (kind, *get_args(kind)) if number in (int, float)]
    try:
        return numbers[0](text) if numbers else text
    except ValueError:
        raise BadInput(f"{name}: {text!r} is no number") from None
