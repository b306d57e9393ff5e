"""A recipe and its options, as a parameter file gives them: a name, or a mapping with a name."""

from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_serializer,
    model_validator,
)

from soup.config.recipe_signatures import recipe_names, signature
from soup.config.validation import Strict, explain, short_for


def _form(schema: dict[str, Any]) -> None:
    """Add the options of all recipes to the schema, from which forms are made."""
    schema["properties"] |= deepcopy(_options_of_all())
    schema["additionalProperties"] = False


@cache
def _options_of_all() -> dict[str, Any]:
    """The JSON schema of each option, which says the recipes that have it."""
    found: dict[str, Any] = {}
    owners: dict[str, list[str]] = {}
    for recipe in recipe_names():
        for option, described in options_of(recipe).model_json_schema()["properties"].items():
            owners.setdefault(option, []).append(recipe)
            of = {"description": f"of {', '.join(owners[option])}"}
            found[option] = found.get(option, described) | of
    return found


class Recipe(Strict):
    """How models are chosen and weighed, with options of that recipe.

    The options are the parameters of the recipe's function in `soup/recipes`.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra=_form)

    name: str = Field(
        description="a recipe; 'soup recipes' lists them with their options",
        json_schema_extra={"enum": [*recipe_names()]},
    )

    @model_validator(mode="before")
    @classmethod
    def _checked(cls, given: Any) -> Any:
        """Check the options by their recipe, and convert them."""
        if isinstance(given, cls) or not isinstance(given, dict):
            return given
        name = given.get("name")
        if name not in recipe_names():
            near = get_close_matches(str(name), recipe_names(), n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"unknown recipe {name!r}{meant}; known: {', '.join(recipe_names())}"
                if "name" in given
                else f"a recipe needs a name, one of {', '.join(recipe_names())}"
            )
        options = {key: value for key, value in given.items() if key != "name"}
        known = signature(name).options
        for option in options:
            if option not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise ValueError(f"{name} has no option {option!r}; {has}")
        model = options_of(name)
        try:
            checked = model.model_validate(options)
        except ValidationError as error:
            problems = [explain(model, dict(e)) for e in error.errors(include_url=False)]
            raise ValueError(f"{name}: {'; '.join(problems)}") from None
        return {"name": name, **checked.model_dump(exclude_none=True)}

    @model_serializer
    def _as_given(self) -> str | dict[str, Any]:
        return {"name": self.name, **self.options} if self.options else self.name

    @property
    def options(self) -> dict[str, Any]:
        """The options that are given, by name, each of the type that the recipe declares."""
        return dict(self.model_extra or {})

    @property
    def label(self) -> str:
        """The recipe and the options that are given: 'learned (by layer, epochs 3)'."""
        return f"{self.name}{self._given}"

    @property
    def soup(self) -> str:
        """What its soup is called: 'learned soup (by layer, epochs 3)'."""
        return f"{self.name} soup{self._given}"

    @property
    def _given(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in sorted(self.options.items()))
        return f" ({options})" if options else ""

    def with_default(self, option: str, value: Any) -> Self:
        """The recipe with an option, if it has that option and it is not given."""
        if option not in signature(self.name).options or option in self.options:
            return self
        return self.model_validate({"name": self.name, **self.options, option: value})


# A recipe without options may be given as its name alone.
RecipeSpec = Annotated[
    Recipe, short_for("name", json_schema_input_type=Literal[recipe_names()] | Recipe)
]


@cache
def options_of(recipe: str) -> type[Strict]:
    """The options of a recipe as a model; None stands for the recipe's own default."""
    fields: dict[str, Any] = {
        name: (kind | None, None) for name, kind in signature(recipe).options.items()
    }
    model: type[Strict] = create_model(recipe, __base__=Strict, **fields)
    return model
