"""The options that say what model the weights are of, and how an image becomes its input."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from soup.errors import BadInput

if TYPE_CHECKING:
    from soup.models.by_name import Resolved
    from soup.weights.checkpoint import Checkpoint

PANEL = "Input of the model (by default as the weights say, or else as its library does)"

REMEDY = "give the size that the weights were trained at: --image-size, or --kwargs img_size=PIXELS"


@dataclass(frozen=True)
class ModelOptions:
    """The model, and what goes before what the weights or its library say of it."""

    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The architecture of the weights: timm:NAME, open_clip:NAME, or a model.json. "
            "Not needed where the weights say it, as soups do that this command wrote.",
        ),
    ] = None
    image_size: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="PIXELS", rich_help_panel=PANEL,
            help="Height and width. It must be the size that the models were fine-tuned at.",
        ),
    ] = None  # fmt: skip
    crop_pct: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", rich_help_panel=PANEL,
            help="Share of the shorter side that the centre crop keeps, above 0 to 1.",
        ),
    ] = None  # fmt: skip
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B", rich_help_panel=PANEL, help="Subtracted from pixels of 0 to 1."
        ),
    ] = None
    std: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", rich_help_panel=PANEL, help="Then divided by."),
    ] = None
    kwargs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", rich_help_panel=PANEL,
            help="An argument of the library's create_model, such as global_pool=max.",
        ),
    ] = None  # fmt: skip

    def given(self) -> dict[str, Any]:
        """Fields of `Architecture` by name: those that were given.

        Raises:
            BadInput: a value cannot be used; all such are listed.
        """
        values: dict[str, Any] = {"image_size": self.image_size, "crop_pct": self.crop_pct}
        problems = []
        if self.crop_pct is not None and not 0 < self.crop_pct <= 1:
            problems.append(f"--crop-pct {self.crop_pct}: give a share above 0, at most 1")
        for name, text in (("mean", self.mean), ("std", self.std)):
            if text is not None:
                values[name] = _three_numbers(text)
                if not values[name] or (name == "std" and 0 in values[name]):
                    problems.append(f"--{name} {text}: give three numbers, such as 0.5,0.5,0.5")
        pairs = [text.partition("=") for text in self.kwargs or []]
        problems += [f"--kwargs {name}: give NAME=VALUE" for name, equals, _ in pairs if not equals]
        if problems:
            raise BadInput("\n".join(problems))
        values["kwargs"] = {name: _value(text) for name, _, text in pairs} or None
        return {name: value for name, value in values.items() if value is not None}


def with_model(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of `ModelOptions` in the place of its parameter `model`."""
    hints = get_type_hints(verb, include_extras=True)
    own = inspect.signature(ModelOptions).parameters
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(verb).parameters.items():
        hinted = parameter.replace(annotation=hints[name])
        parameters += own.values() if name == "model" else [hinted]

    @wraps(verb)
    def run(**given: Any) -> None:
        options = ModelOptions(**{name: given.pop(name) for name in own})
        options.given()  # wrong values are told before anything is read
        verb(model=options, **given)

    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def tell_input(checkpoints: "Mapping[str, Checkpoint]", resolved: "Resolved") -> None:
    """Print the model and its input; warn of checkpoints that say otherwise."""
    from soup.cli.terminal import say, warn
    from soup.errors import some
    from soup.models.by_name import disagreements

    say(str(resolved))
    problems = disagreements(resolved, checkpoints)
    if problems:
        warn(
            f"not all models are of this input: {some(problems, 5, '; ')}; models of different "
            "inputs make no good soup, and an option says which is right where a file is wrong"
        )


def _three_numbers(text: str) -> tuple[float, ...]:
    """Three numbers from 0 to 1 with commas between them; none if the text is no such thing."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        return ()
    return numbers if len(numbers) == 3 and all(0 <= number <= 1 for number in numbers) else ()


def _value(text: str) -> Any:
    """A value as in YAML: a number, true, a list in square brackets; or the text itself."""
    from soup.config.yaml_text import parse_yaml

    return parse_yaml(text, f"--kwargs {text}")
