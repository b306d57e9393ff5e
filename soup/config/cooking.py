"""How the ingredients become a soup, and which soups it is compared with."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from soup.config.recipe import Recipe, RecipeSpec
from soup.config.text import ClassScore, NumberScore
from soup.config.validation import Strict, one_of

UNIFORM_AND_GREEDY = [Recipe(name="uniform"), Recipe(name="greedy")]


class Cook(Strict):
    """How the ingredients become a soup."""

    recipe: RecipeSpec = Field(
        Recipe(name="greedy"),
        description="a name, or a table of the name and options of the recipe: "
        "{name: learned, by: layer}",
    )
    compare: Annotated[list[RecipeSpec], one_of()] = Field(
        UNIFORM_AND_GREEDY,
        description="recipes whose soups evaluate cooks and scores beside the chosen one",
    )
    score: ClassScore | NumberScore | None = Field(
        None,
        description="what is best on held-out: accuracy, mean F1 of all classes, Matthews, or the "
        "mean of accuracy and one class's F1; of numbers the correlation of Pearson, of Spearman, "
        "or the mean of both; default: that of the GLUE task, or accuracy, or that mean",
    )
    tie: Literal["keep", "reject"] = Field(
        "keep", description="an equal score: keep (the paper, >=) or reject (the published code, >)"
    )
    include_probe: bool = Field(
        True,
        description="the LP model is a candidate too, of recipes that do not start from it",
    )
    batchnorm: Literal["average", "recalibrate", "best"] = Field(
        "recalibrate",
        description="BatchNorm statistics of soups: averaged, recomputed on training images, or "
        "both ways, of which the better on held-out is kept. Of no effect on models without "
        "BatchNorm, or whose fine-tunes left its statistics as they were",
    )
    recalibrate: int = Field(
        256,
        ge=0,
        description="training images on which each candidate's BatchNorm statistics are recomputed "
        "before it is judged, a pass over them each; 0 averages the statistics",
    )

    @field_validator("recalibrate")
    @classmethod
    def one_image_has_no_variance(cls, images: int) -> int:
        if images == 1:
            raise ValueError("one image has no variance: give 2 or more, or 0")
        return images

    @model_validator(mode="after")
    def recipes_differ(self) -> Self:
        labels = [recipe.label for recipe in self.compare]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"compare has {', '.join(twice)} twice")
        return self

    @model_validator(mode="after")
    def best_of_two_ways(self) -> Self:
        if self.batchnorm == "best" and not self.recalibrate:
            raise ValueError("batchnorm: best needs training images, and recalibrate is 0")
        return self

    @property
    def recalibrated_on(self) -> int:
        """Training images that BatchNorm statistics are recomputed on; 0: they are averaged."""
        return 0 if self.batchnorm == "average" else self.recalibrate

    @property
    def recipes(self) -> list[Recipe]:
        """All recipes whose soups are evaluated, the chosen one where `compare` has it, or last."""
        if any(recipe == self.recipe for recipe in self.compare):
            return self.compare
        return [*self.compare, self.recipe]

    def with_tie(self, recipe: Recipe) -> Recipe:
        """The recipe with `tie`, if it takes such an option and is given none of its own."""
        return recipe.with_default("tie", self.tie)
