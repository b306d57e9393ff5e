"""What `soup cook` was asked for, checked before anything is read."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import torch

from soup.errors import BadInput
from soup.evaluation.scores import COUNTS, SCORES
from soup.recipes import RECIPES
from soup.recipes.ingredient import Soup

DTYPES = {d: getattr(torch, d) for d in ("float64", "float32", "float16", "bfloat16")}


@dataclass(frozen=True)
class CookOptions:
    """What a person asked for; see `soup cook --help`."""

    models: Sequence[str]
    out: Path
    recipe: str = "greedy"
    options: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    heldout: Path | None = None
    base: str | None = None
    metric: str = "accuracy"
    tie: str | None = None
    accumulate: str = "float64"
    dtype: str | None = None
    recalibrate: Path | None = None
    splits: int = 0
    devices: Sequence[str] = ("cpu",)
    batch_size: int = 256
    mlflow: str | None = None
    experiment: str = "soups"
    as_json: bool = False


def recipe_of(order: CookOptions) -> Callable[..., Soup]:
    if order.recipe not in RECIPES:
        raise BadInput(f"unknown recipe {order.recipe!r}; known: {', '.join(RECIPES)}")
    recipe = RECIPES[order.recipe]
    needs = {n for n, p in parameters_of(recipe).items() if p.default is p.empty}
    problems = []
    if needs & {"judge", "objective", "fishers"} and order.heldout is None:
        problems.append(f"{order.recipe} chooses by held-out images: give --heldout FOLDER")
    if "base" in needs and order.base is None:
        problems.append(f"{order.recipe} needs the models' initialisation: give --base FILE")
    if order.metric not in {*COUNTS, *SCORES}:
        problems.append(f"unknown metric {order.metric!r}; known: {', '.join([*COUNTS, *SCORES])}")
    for name in {order.accumulate, order.dtype or "float32"} - set(DTYPES):
        problems.append(f"unknown dtype {name!r}; known: {', '.join(DTYPES)}")
    if order.recalibrate and order.heldout is None:
        problems.append("--recalibrate needs --heldout, to say which statistics do better")
    if problems:
        raise BadInput("\n".join(problems))
    return recipe


def parameters_of(recipe: Callable[..., Soup]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(recipe).parameters


def options_of(recipe: Callable[..., Soup], order: CookOptions) -> dict[str, Any]:
    """The recipe's own options, each as the type that it has there."""
    given = dict(order.options) | ({"tie": order.tie} if order.tie else {})
    fixed = {"ingredients", "judge", "base", "objective", "fishers", "accumulate"}
    own = {n: p for n, p in parameters_of(recipe).items() if n not in fixed}
    values: dict[str, Any] = {}
    if "accumulate" in parameters_of(recipe):
        values["accumulate"] = DTYPES[order.accumulate]
    for name, text in given.items():
        if name not in own:
            raise BadInput(
                f"{order.recipe} has no option {name!r}; it has {', '.join(own) or 'none'}"
            )
        values[name] = _value(name, text, own[name].annotation)
    return values


def _value(name: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise BadInput(f"{name}: {text!r} is none of {', '.join(get_args(kind))}")
        return text
    numbers = [k for k in (kind, *get_args(kind)) if k in (int, float)]
    try:
        return numbers[0](text) if numbers else text
    except ValueError:
        raise BadInput(f"{name}: {text!r} is no number") from None


def pairs(given: Sequence[str]) -> dict[str, str]:
    """name=value, name=value -> a mapping.

    Raises:
        BadInput: one is none.
    """
    bad = [text for text in given if "=" not in text]
    if bad:
        raise BadInput(f"--set {bad[0]}: give name=value")
    return dict(text.split("=", 1) for text in given)
