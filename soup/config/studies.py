"""The options of studies of a finished sweep."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt

from soup.config.search_space import Seed
from soup.config.study_names import STUDIES
from soup.config.validation import Strict
from soup.errors import BadInput, near


def known_study(name: str) -> str:
    """The name, if there is a study of it.

    Raises:
        ValueError: there is none; the message lists them.
    """
    if name not in STUDIES:
        raise ValueError(f"no study {name!r}{near(name, STUDIES)}; there are {', '.join(STUDIES)}")
    return name


def require_study(name: str) -> str:
    """As `known_study`, for a command.

    Raises:
        BadInput: there is none.
    """
    try:
        return known_study(name)
    except ValueError as error:
        raise BadInput(f"{error} (soup study --list)") from None


StudyName = Annotated[
    str, AfterValidator(known_study), Field(json_schema_extra={"enum": [*STUDIES]})
]


class StudyOptions(Strict):
    """How a study is made. A study refuses the options that it does not take."""

    images: PositiveInt | None = Field(
        None,
        description="most examples of each split, spread evenly over its classes; default: all, or "
        "what the study's page says",
    )
    points: int | None = Field(
        None, ge=3, description="points on a line, or on each side of the landscape's square"
    )
    models: list[str] = Field(
        [], description="the fine-tunes that are studied, by name; default: chosen by the study"
    )
    pairs: PositiveInt | None = Field(
        None, description="most pairs of models, drawn at random; default: all"
    )
    orders: PositiveInt | None = Field(
        None, description="random orders of the fine-tunes; default: 5"
    )
    examples: Literal["train", "heldout"] | None = Field(
        None, description="what an ensemble is distilled on, without labels; default: train"
    )
    others: list[str] = Field(
        [], description="parameter files of other finished projects, relative to the checkout"
    )
    seed: Seed = Field(0, description="of what is drawn, and of the intervals")
