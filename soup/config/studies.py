"""The studies of a finished sweep: the question that each answers, and the options there are."""

from typing import Annotated

from pydantic import AfterValidator, Field, PositiveInt

from soup.config.search_space import Seed
from soup.config.validation import Strict
from soup.errors import BadInput, near

# Name -> question. The study is the module of this name in soup/studies/ ('-' is '_' there), and
# docs/studies/NAME.md is its page.
STUDIES: dict[str, str] = {
    "number-of-models": "How do soups, ensembles and the best single model grow with the number of "
    "fine-tunes?",
    "calibration": "Are the confidences of soups and ensembles better calibrated than those of the "
    "best single model, before and after temperature scaling?",
    "landscape": "Where in the plane through the initialisation and two fine-tunes are loss and "
    "error lowest?",
    "angle": "Does averaging two fine-tunes gain more if they moved in more different directions?",
    "soup-ensemble": "How far is the average of two fine-tunes from their ensemble, and does the "
    "paper's approximation tell?",
    "large-rates": "From which learning rate on does a barrier stand between two fine-tunes?",
    "wise-ft": "On the way from the initialisation to the best single model, the soups and the "
    "ensemble: which curve is highest on test and under shift?",
}


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
    seed: Seed = Field(0, description="of what is drawn, and of the intervals")
