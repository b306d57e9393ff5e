"""Greedy soup with several judges at once: the same soup as one by one, in a fraction of the time.

Most candidates are rejected. So the next ones are judged against the present soup before it is
known what becomes of the first, each by the next judge that is free (one a device), and decided in
their order. When one is accepted, what was judged after it was judged against a soup that is no
more, and is judged again. No decision differs from `greedy`'s, only the time does
(`benchmarks/simulate_lanes.py`).

One candidate more than there are judges is kept ready, so that with one judge, too, the next
checkpoint is read while the present one is judged.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from threading import Event

import torch

from soup.recipes.greedy import Tie, bound, errors_of, require_tie
from soup.recipes.ingredient import Ingredient, Soup, Trial
from soup.recipes.judge import Judge
from soup.recipes.ranking import ranked
from soup.weights.running_mean import RunningMean


def parallel_greedy(
    ingredients: Sequence[Ingredient],
    judges: Sequence[Judge],
    tie: Tie = "keep",
    accumulate: torch.dtype = torch.float64,
) -> Soup:
    """Cook the greedy soup with several judges of the same held-out set.

    Raises:
        ValueError: no judge, no ingredient was scored, or the tie rule is unknown.
        Incompatible: names or shapes differ.
    """
    require_tie(tie)
    if not judges:
        raise ValueError("no judge was given")
    best, *rest = ranked(ingredients)
    mean = RunningMean(accumulate)
    mean.add(best.weights)
    cost = errors_of(best)
    trace = [Trial(best.name, cost, at_most=None, kept=True)]
    free: SimpleQueue[Judge] = SimpleQueue()
    for judge in judges:
        free.put(judge)

    def judged(
        candidate: Ingredient, at_most: float, stale: Event, turn: Event, after: Event
    ) -> float | None:
        try:
            weights = mean.value(candidate.weights)
            turn.wait()  # those before it are decided first, so they are judged first
            judge = free.get()
        finally:
            after.set()
        try:
            return None if stale.is_set() else judge(weights, at_most)
        finally:
            free.put(judge)

    waiting: deque[tuple[Ingredient, Future[float | None]]] = deque()
    stale = Event()  # set when the soup that is being judged is no more
    turn = Event()
    turn.set()
    done = 0
    with ThreadPoolExecutor(len(judges) + 1) as pool:
        while done < len(rest):
            at_most = bound(cost, tie)
            for candidate in rest[done + len(waiting) : done + len(judges) + 1]:
                after = Event()
                answer = pool.submit(judged, candidate, at_most, stale, turn, after)
                waiting.append((candidate, answer))
                turn = after
            candidate, answer = waiting.popleft()
            found = answer.result()
            done += 1
            kept = found is not None and found <= at_most
            trace.append(Trial(candidate.name, found, at_most, kept))
            if found is not None and kept:
                stale.set()
                # The sum must not change under those that are still reading it.
                wait([late for _, late in waiting])
                waiting.clear()
                mean.add(candidate.weights)
                cost, stale = found, Event()
    return Soup(mean.value(), tuple(t.name for t in trace if t.kept), cost, tuple(trace))
