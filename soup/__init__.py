"""Model soups: average the weights of fine-tuned models, and prove that it helps.

A name is loaded when it is first used, so that `import soup` itself loads nothing, not even torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soup import errors, files, recipes, weights
    from soup.evaluation import judges as judging
    from soup.evaluation.judges import ErrorJudge
    from soup.recipes import RECIPES
    from soup.recipes.greedy import greedy
    from soup.recipes.ingredient import Ingredient, Soup, Trial
    from soup.recipes.uniform import uniform
    from soup.weights import Incompatible, Weights, average
    from soup.weights.checkpoint import Checkpoint, save

    __version__: str

_MODULE_OF = {
    "RECIPES": "soup.recipes",
    "Checkpoint": "soup.weights.checkpoint",
    "ErrorJudge": "soup.evaluation.judges",
    "Incompatible": "soup.weights",
    "Ingredient": "soup.recipes.ingredient",
    "Soup": "soup.recipes.ingredient",
    "Trial": "soup.recipes.ingredient",
    "Weights": "soup.weights",
    "average": "soup.weights",
    "greedy": "soup.recipes.greedy",
    "save": "soup.weights.checkpoint",
    "uniform": "soup.recipes.uniform",
}
_MODULES = {
    "errors": "soup.errors",
    "files": "soup.files",
    "judging": "soup.evaluation.judges",
    "recipes": "soup.recipes",
    "weights": "soup.weights",
}

__all__ = [
    "RECIPES",
    "Checkpoint",
    "ErrorJudge",
    "Incompatible",
    "Ingredient",
    "Soup",
    "Trial",
    "Weights",
    "__version__",
    "average",
    "errors",
    "files",
    "greedy",
    "judging",
    "recipes",
    "save",
    "uniform",
    "weights",
]


def __getattr__(name: str) -> Any:
    """Load a public name: Python calls this for what the package does not have yet (PEP 562)."""
    if name == "__version__":
        value: Any = _version()
    elif name in _MODULES:
        value = import_module(_MODULES[name])
    elif name in _MODULE_OF:
        value = getattr(_imported(_MODULE_OF[name], name), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _imported(module: str, name: str) -> Any:
    from soup.errors import missing_extra

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        remedy = missing_extra(error)
        if remedy is None:
            raise
        raise ImportError(f"soup.{name} needs {remedy}", name=error.name) from error


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("modelsoup")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
