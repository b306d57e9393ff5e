"""When the champion moves: only for a version that is better on the same held-out set."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scored:
    """A registered version by its held-out result."""

    number: str
    errors: int
    split: str


@dataclass(frozen=True)
class Decision:
    promote: bool
    reason: str


def decide(
    challenger: Scored, champion: Scored | None, rescore: Callable[[], int | None]
) -> Decision:
    """Compare two versions by held-out errors.

    Args:
        champion: the present one, if any.
        rescore: errors of the champion on the challenger's held-out set, for when it was scored on
            another; None if it cannot answer for these classes.
    """
    if champion is None:
        return Decision(True, "the first version")
    if champion.number == challenger.number:
        return Decision(False, f"version {champion.number} is the champion already")
    errors = champion.errors if champion.split == challenger.split else rescore()
    if errors is None:
        return Decision(
            False,
            f"champion {champion.number} knows other classes: move the alias by hand if meant",
        )
    told = f"{challenger.errors} held-out errors against {errors} of champion {champion.number}"
    return Decision(challenger.errors < errors, told)
