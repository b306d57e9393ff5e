"""What a study is: its needs, the options that it takes, and what it finds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from soup.config.studies import StudyOptions
from soup.errors import BadInput, some
from soup.studies.bench import Bench

BASE = "probe"  # the model that all fine-tunes start from


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Attributes:
        table: all numbers, a row for each thing that was measured.
        figure: drawn from the table.
        sentence: the answer to the question, computed from the table: with counts and intervals,
            and plain where the paper's finding does not show.
    """

    table: pd.DataFrame
    figure: Figure
    sentence: str


@dataclass(frozen=True)
class Study:
    """A question that a finished sweep answers.

    Attributes:
        run: makes the study; gets options that `require` has checked.
        takes: names of the options that it takes, beside images and seed.
        fine_tunes: fewest fine-tunes that it can be made of.
        base: whether it needs the initialisation.
        shifts: whether it needs distribution shifts.
        transplants: whether it gets models of other projects under this one's text classifier.
        images: most examples of each split, unless the options say another number; None for all.
    """

    run: Callable[[Bench, StudyOptions], Findings]
    takes: tuple[str, ...] = ()
    fine_tunes: int = 3
    base: bool = False
    shifts: bool = False
    images: int | None = None
    transplants: bool = False

    def require(
        self, name: str, options: StudyOptions, models: Sequence[str], shifts: int, file: str
    ) -> None:
        """Check that a sweep has what the study needs, before anything is read or computed.

        Args:
            name: of the study.
            models: names of the sweep's models.
            shifts: how many distribution shifts the parameters name.
            file: the parameter file, for the command that would make what is missing.

        Raises:
            BadInput: it lacks something, or an option is not one of the study's.
        """
        again = f"python -m flows finetune --params {file}"
        fine_tunes = [model for model in models if model != BASE]
        takes = [*self.takes, "images", "seed"]
        usual = StudyOptions()
        given = sorted(
            name for name, value in options if value != getattr(usual, name) and name not in takes
        )
        if given:
            raise BadInput(
                f"study {name} takes no option {some(given, 5)}; it takes {', '.join(takes)}"
            )
        if len(fine_tunes) < self.fine_tunes:
            raise BadInput(
                f"study {name} needs {self.fine_tunes} fine-tunes, and this sweep has "
                f"{len(fine_tunes)}: raise sweep.runs in {file}, then {again}"
            )
        if self.base and BASE not in models:
            raise BadInput(
                f"study {name} needs the initialisation that the fine-tunes share, and this sweep "
                f"has no linear probe: python -m flows probe --params {file}, then {again}"
            )
        if self.shifts and not shifts:
            raise BadInput(
                f"study {name} needs distribution shifts, and {file} names none: add data.shifts, "
                f"then python -m flows pipeline --params {file}"
            )
        unknown = [model for model in options.models if model not in fine_tunes]
        if unknown:
            raise BadInput(
                f"study {name}: this sweep has no fine-tune {some(unknown, 5)}; it has "
                f"{some(fine_tunes, 10)}"
            )
