"""How much faster is greedy selection with several judges at once? A simulation, and a check of it.

    .venv/bin/python benchmarks/simulate_lanes.py

`soup.recipes.parallel_greedy` judges the next candidates against the present soup before it is
known what becomes of the first; when one is accepted, those after it are judged again. So it gains
where most candidates are rejected. Time is counted in full passes over the held-out set: a kept
candidate takes one, a rejected one a share of it, as early rejection leaves it. Reading and
averaging are not counted. Then the implementation itself is run with judges that sleep, beside what
was simulated.
"""

import argparse
import heapq
import time
from collections import deque
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from machine import machine

from soup import Ingredient, Weights
from soup.recipes.parallel_greedy import parallel_greedy

LANES = (1, 2, 4, 8)


def simulated(accepted: Sequence[bool], lanes: int, rejected: float) -> float:
    """The time that the search takes, in full passes.

    Args:
        accepted: what becomes of each candidate in their order, whenever it is judged.
        lanes: judges, each of which takes one candidate at a time.
        rejected: what a rejected candidate costs.
    """
    now, done = 0.0, 0
    free = [now] * lanes
    waiting: deque[tuple[float, float]] = deque()  # when each is begun, and finished
    while done < len(accepted):
        # One more than there are judges is kept ready.
        for candidate in range(done + len(waiting), min(done + lanes + 1, len(accepted))):
            begun = max(now, heapq.heappop(free))
            finished = begun + (1 if accepted[candidate] else rejected)
            heapq.heappush(free, finished)
            waiting.append((begun, finished))
        now = max(now, waiting.popleft()[1])
        if accepted[done]:
            # What was begun runs to its end in vain; what was not is never begun.
            now = max([now, *(finished for begun, finished in waiting if begun < now)])
            waiting.clear()
            free = [now] * lanes
        done += 1
    return now


def slept(accepted: Sequence[bool], lanes: int, rejected: float, seconds: float) -> float:
    """The time that the implementation takes with judges that sleep, in full passes."""

    def judge(weights: Weights, at_most: float | None = None) -> float | None:
        # Each model is a one-hot vector: the last place that is not zero is the candidate's.
        candidate = int(weights["place"].nonzero().max()) - 1
        time.sleep(seconds * (1 if accepted[candidate] else rejected))
        return at_most if accepted[candidate] else None

    places = torch.eye(len(accepted) + 1)
    ingredients = [Ingredient(f"{i}", {"place": row}, errors=0) for i, row in enumerate(places)]
    start = time.perf_counter()
    cooked = parallel_greedy(ingredients, [judge] * lanes)
    found = (time.perf_counter() - start) / seconds
    assert [trial.kept for trial in cooked.trace[1:]] == list(accepted)
    return found


def speedups(candidates: int, draws: int, rejected: float, rates: Sequence[float]) -> pd.DataFrame:
    """Acceptance rate -> how many times faster than one lane, a column for each number of lanes."""
    rows = []
    for rate in rates:
        times = dict.fromkeys(LANES, 0.0)
        for draw in range(draws):
            accepted = (np.random.default_rng(draw).random(candidates) < rate).tolist()
            for lanes in LANES:
                times[lanes] += simulated(accepted, lanes, rejected)
        rows.append(
            {"accepted": rate} | {f"{lanes} lanes": times[1] / times[lanes] for lanes in LANES[1:]}
        )
    return pd.DataFrame(rows)


def checked(candidates: int, rejected: float, seconds: float) -> pd.DataFrame:
    """The implementation's time beside the simulated one, in full passes."""
    rows = []
    for rate in (0.05, 0.2, 0.5):
        accepted = (np.random.default_rng(1).random(candidates) < rate).tolist()
        for lanes in LANES:
            expected = simulated(accepted, lanes, rejected)
            measured = slept(accepted, lanes, rejected, seconds)
            row = {"accepted": rate, "lanes": lanes, "simulated": expected, "measured": measured}
            rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--candidates", type=int, default=71, help="after the first")
    parser.add_argument("--draws", type=int, default=200, help="averaged over")
    parser.add_argument("--rejected", type=float, nargs="+", default=[1.0, 0.5, 0.1])
    parser.add_argument("--pass-seconds", type=float, default=0.05, help="that a judge sleeps")
    arguments = parser.parse_args()
    print(machine())
    rates = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
    for rejected in arguments.rejected:
        table = speedups(arguments.candidates, arguments.draws, rejected, rates)
        print(f"\ntimes faster than one lane; a rejected candidate costs {rejected:g} of a pass")
        print(table.to_markdown(index=False, floatfmt=".2f"))
    middle = arguments.rejected[len(arguments.rejected) // 2]
    table = checked(arguments.candidates, middle, arguments.pass_seconds)
    print(f"\nfull passes, judges that sleep; a rejected candidate costs {middle:g} of a pass")
    print(table.to_markdown(index=False, floatfmt=("", ".2f", ".0f", ".1f", ".1f")[1:]))


if __name__ == "__main__":
    main()
