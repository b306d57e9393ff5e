"""The best single model of K, beside every subset written out."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from soup.studies.best_of_count import best_of_count, chosen_ranks


def pool(models: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = [f"model_{number}" for number in range(models)]
    heldout = np.round(rng.random(models), 1)  # some are equal
    return pd.DataFrame(
        {"heldout": heldout, "test": rng.random(models), "shifts": rng.random(models)}, index=names
    )


@pytest.mark.parametrize("seed", range(4))
def test_means_and_bands_are_those_of_all_subsets(seed: int) -> None:
    scores = pool(7, seed)
    curve = best_of_count(scores, ["test", "shifts"], band=0.5)
    for row in curve.to_dict("records"):
        values = []
        for subset in combinations(range(7), row["x"]):
            best = subset[0]
            for member in subset:
                if scores["heldout"].iloc[member] > scores["heldout"].iloc[best]:
                    best = member
            values.append(float(scores[row["split"]].iloc[best]))
        values.sort()
        assert row["mean"] == pytest.approx(sum(values) / len(values))
        # The smallest value with a quarter, and with three quarters, of the subsets at or below.
        low = next(v for v in values if sum(w <= v for w in values) >= 0.25 * len(values))
        high = next(v for v in values if sum(w <= v for w in values) >= 0.75 * len(values))
        assert (row["low"], row["high"]) == (low, high)


def test_the_probabilities_of_the_ranks_add_to_one_in_a_pool_of_thousands() -> None:
    for count in (1, 2, 500, 2000):
        chosen = chosen_ranks(2000, count)
        assert chosen.sum() == pytest.approx(1)
        assert chosen[0] == pytest.approx(count / 2000)


def test_of_all_models_the_best_on_held_out_is_chosen_for_sure() -> None:
    scores = pool(5, seed=3)
    last = best_of_count(scores, ["test"]).iloc[-1]
    best = scores["test"].iloc[int(scores["heldout"].argmax())]
    assert (last["mean"], last["low"], last["high"]) == pytest.approx((best, best, best))
