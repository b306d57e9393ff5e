"""A score as people read it: accuracies in percent, other scores times 100 with their names."""

import math

ACCURACY = "accuracy"


def score_text(name: str, value: float) -> str:
    """'91.20%' of an accuracy; 'matthews 52.10' of another score, which is no percentage."""
    if name == ACCURACY:
        return f"{value:.2%}"
    return f"{name} {'unknown' if math.isnan(value) else f'{100 * value:.2f}'}"
