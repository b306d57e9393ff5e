"""Model soups: average the weights of fine-tuned models, and prove that it helps.

A name is loaded when it is first used, so that `import soup` itself loads nothing, not even torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soup import errors, files, recipes, weights
    from soup.evaluation import judges as judging
    from soup.evaluation.judges import ErrorJudge
    from soup.recipes import RECIPES, Ingredient, Soup, Trial
    from soup.recipes.greedy import greedy
    from soup.recipes.uniform import uniform
    from soup.weights import Checkpoint, Incompatible, Weights, average, save

    __version__: str

__all__ = [
    "RECIPES", "Checkpoint", "ErrorJudge", "Incompatible", "Ingredient", "Soup", "Trial", "Weights",
    "__version__", "average", "errors", "files", "greedy", "judging", "recipes", "save", "uniform",
    "weights",
]  # fmt: skip
_MODULES = {name: f"soup.{name}" for name in ("errors", "files", "recipes", "weights")}
_MODULES["judging"] = "soup.evaluation.judges"
# A name that is no module is that of the first of these that has it.
_SOURCES = ("soup.weights", "soup.recipes", "soup.evaluation.judges")


def __getattr__(name: str) -> Any:
    """Load a public name: Python calls this for what the package does not have yet (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        value: Any = _version()
    elif name in _MODULES:
        value = import_module(_MODULES[name])
    else:
        modules = (_imported(module, name) for module in _SOURCES)
        value = next(getattr(module, name) for module in modules if hasattr(module, name))
    globals()[name] = value
    return value


def _imported(module: str, name: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        from soup.errors import missing_extra

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
