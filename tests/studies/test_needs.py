"""What a sweep lacks for a study is said at once, with the command that makes it."""

import pytest

from soup.config.studies import StudyOptions
from soup.config.study_names import STUDIES
from soup.errors import BadInput
from soup.studies import study_of

FINE_TUNES = ["ft-000", "ft-001", "ft-002"]


def require(name: str, models: list[str], shifts: int) -> None:
    study_of(name).require(name, StudyOptions(), models, shifts, "mine.yaml")


@pytest.mark.parametrize("name", STUDIES)
def test_three_fine_tunes_a_base_and_a_shift_are_enough(name: str) -> None:
    require(name, ["probe", *FINE_TUNES], 1)


@pytest.mark.parametrize("name", STUDIES)
def test_fewer_fine_tunes_than_needed_are_refused(name: str) -> None:
    needed = study_of(name).fine_tunes
    if needed:  # `other-data` is of other projects' models
        told = f"^study {name} needs {needed} fine-tunes, and this sweep has {needed - 1}: raise "
        with pytest.raises(BadInput, match=f"{told}sweep.runs in mine.yaml, then python -m flows"):
            require(name, ["probe", *FINE_TUNES[: needed - 1]], 1)


def test_a_study_of_shifts_is_refused_without() -> None:
    told = r"study wise-ft needs distribution shifts, and mine\.yaml names none: add data\.shifts"
    with pytest.raises(BadInput, match=told):
        require("wise-ft", ["probe", *FINE_TUNES], 0)


def test_a_study_of_the_initialisation_is_refused_without() -> None:
    for name in STUDIES:
        if study_of(name).base:
            with pytest.raises(BadInput, match=f"study {name} needs the initialisation"):
                require(name, FINE_TUNES, 1)
