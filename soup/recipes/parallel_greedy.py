"""Greedy soup with several judges at once (one for each device): the same soup in less time.

Most candidates are rejected. Therefore several candidates are evaluated at once, each averaged with
the present soup, as if none of them would be accepted; decisions are made in the order of `greedy`.
When a candidate is accepted, the soup has changed, so the candidates after it are evaluated again.
All decisions are those of `greedy` (`benchmarks/simulate_lanes.py` shows the time saved).

One more mean is prepared than there are judges. With a single judge, too, the next checkpoint is
read while the present one is judged.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from threading import Event

import torch
from torch import Tensor

from soup.recipes.greedy import Tie, most_errors, recorded_errors, require_tie
from soup.recipes.ingredient import Ingredient, Soup, Trial, Unusable
from soup.recipes.judge import Judge, as_judged, foresee
from soup.recipes.ranking import ranked
from soup.weights.running_mean import RunningMean


def parallel_greedy(
    ingredients: Sequence[Ingredient],
    judges: Sequence[Judge],
    tie: Tie = "keep",
    accumulate: torch.dtype = torch.float64,
) -> Soup:
    """Make the greedy soup with several judges of the same held-out set.

    Args:
        ingredients, tie, accumulate: see `greedy`.
        judges: each is called by one thread at a time.

    Raises:
        Unusable: there is no judge, two ingredients have the same name, none was scored, or the
            tie rule is unknown.
        Incompatible: names or shapes differ.
    """
    require_tie(tie)
    if not judges:
        raise Unusable("no judge was given")
    best, *rest = ranked(ingredients)
    mean = RunningMean(accumulate)
    mean.add(best.weights)
    errors = recorded_errors(best)
    trace = [Trial(best.name, errors, at_most=None, kept=True)]
    free_judges: SimpleQueue[Judge] = SimpleQueue()
    for judge in judges:
        free_judges.put(judge)

    def evaluate(
        names: Sequence[str], prepared: Future[dict[str, Tensor]], at_most: float, stale: Event
    ) -> float | None:
        weights = prepared.result()
        judge = free_judges.get()
        try:
            if stale.is_set():
                return None
            foresee(judge, names)
            return judge(weights, at_most)
        finally:
            free_judges.put(judge)

    pending: deque[tuple[Ingredient, Future[float | None]]] = deque()
    stale = Event()  # set when the soup changes, so that the pending answers are of no use
    decided = 0
    # Each pool starts its tasks in the order of the decisions.
    with ThreadPoolExecutor(len(judges) + 1) as means, ThreadPoolExecutor(len(judges)) as answers:
        while decided < len(rest):
            at_most = most_errors(errors, tie)
            for candidate in rest[decided + len(pending) : decided + len(judges) + 1]:
                prepared = means.submit(mean.value, candidate.weights)
                names = [*(trial.name for trial in trace if trial.kept), candidate.name]
                future = answers.submit(evaluate, names, prepared, at_most, stale)
                pending.append((candidate, future))
            candidate, answer = pending.popleft()
            errors_with = answer.result()
            decided += 1
            kept = errors_with is not None and errors_with <= at_most
            trace.append(Trial(candidate.name, errors_with, at_most, kept))
            if errors_with is not None and kept:
                stale.set()
                # Other threads still read the sum, which must not change meanwhile.
                wait([outdated for _, outdated in pending])
                pending.clear()
                mean.add(candidate.weights)
                errors, stale = errors_with, Event()
    kept_names = tuple(trial.name for trial in trace if trial.kept)
    weights = mean.result() if len(kept_names) == 1 else as_judged(mean.result(), judges[0])
    return Soup(weights, kept_names, errors, tuple(trace))
