"""How long do the lanes of a CPU take for a greedy search, in times of one batch? A simulation.

    .venv/bin/python benchmarks/simulate_speculation.py --made FOLDER --models 16 --sizes 16 32

The errors of each batch are those of real means: the models and held-out pictures are those of a
folder of `mehl_models.py`, and the examples are in the order in which a judge visits them. A
candidate has all lanes, whose batches are dealt in one of these ways:

- two a lane: always, so that no lane is ever idle, and one more for each lane is begun in vain;
- held: none while those that were dealt will probably show that the candidate is rejected, as
  `soup.evaluation.judges.ErrorJudge` does;
- 2 or more judges: held, at first only as many as the last rejected candidate needed, and lanes
  that are left over compute the next candidates, as if this one were rejected. Each judge has a
  model of its own. This is not implemented on a CPU.

Each candidate costs a share of a batch for loading its weights, and batches do not all take the
same time. A batch of another size is another unit: compare the times of 32 with half those of 16.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from machine import machine
from numpy.typing import NDArray

from soup import Checkpoint, Ingredient
from soup.cli.heldout_folder import open_evaluator
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.foresight import Foresight
from soup.evaluation.judges import FALLING
from soup.evaluation.metrics import margins
from soup.recipes.greedy import Tie, most_errors
from soup.weights.running_mean import RunningMean

LANES = (2, 4, 8, 16, 32)
AHEAD = 16  # candidates that are judged at once, at most


@dataclass(frozen=True)
class Step:
    """What is decided on one candidate.

    Attributes:
        bound: the most errors with which it is accepted.
        wrong: in the order of visiting, which examples are errors of this candidate and of those
            after it, all judged with the present soup.
    """

    bound: float
    wrong: list[NDArray[np.bool_]]

    @property
    def accepted(self) -> bool:
        return bool(self.wrong[0].sum() <= self.bound)


@dataclass
class Candidate:
    """A candidate that is being judged, and how many of its batches are how far."""

    errors: Sequence[int]  # of each batch
    bound: float
    ready: float  # when its weights are loaded
    at_first: int = 0  # batches that are dealt before a result is known, at most
    dealt: int = 0
    begun: int = 0
    seen: int = 0
    found: int = 0  # errors
    done: set[int] = field(default_factory=set)

    @property
    def decided(self) -> bool:
        return self.found > self.bound or self.seen == len(self.errors)

    def deal(self, lanes: int, held: bool) -> None:
        """Deal batches as `soup.threads.dealt` does."""
        while self.dealt < len(self.errors):
            waiting = self.dealt - self.seen
            in_last = self.errors[self.seen - 1] if self.seen else 0
            enough = held and self.found + FALLING * in_last * waiting > self.bound
            if waiting and (enough or waiting >= (2 * lanes if self.seen else self.at_first)):
                return
            self.dealt += 1

    def finish(self, batch: int, lanes: int, held: bool) -> None:
        """Take the result of a batch; results are seen in the order of the batches."""
        self.done.add(batch)
        while self.seen in self.done and not self.decided:
            self.found += self.errors[self.seen]
            self.seen += 1
            if not self.decided:
                self.deal(lanes, held)


def simulated(
    steps: Sequence[Step],
    size: int,
    lanes: int,
    judges: int = 1,
    held: bool = True,
    loading: float = 0.15,
    spread: float = 0.08,
    seed: int = 0,
) -> tuple[float, int]:
    """The time of a search, in batches of one lane, and the batches that were begun in vain.

    Args:
        size: of a batch.
        judges: models, each of which judges one candidate at a time.
        held: whether batches are held back that will probably not be needed.
        loading: of a candidate's weights, in batches.
        spread: standard deviation of the time of a batch.
    """
    rng, now, begun, needed, place = np.random.default_rng(seed), 0.0, 0, 0, 0
    judged: dict[int, Candidate] = {}
    at_first = lanes if held else 2 * lanes
    running: list[tuple[float, int, Candidate, int]] = []  # until when; the number of the batch
    while place < len(steps):
        # A judge whose candidate is decided, or was judged in vain, waits for its last batches.
        waits = {id(c) for _, _, c, _ in running} - {id(c) for c in judged.values()}
        for index in range(place, min(place + len(steps[place].wrong), place + judges)):
            if index not in judged and len(judged) + len(waits) < judges:
                wrong = steps[place].wrong[index - place]
                errors = [int(wrong[i : i + size].sum()) for i in range(0, len(wrong), size)]
                judged[index] = Candidate(errors, steps[place].bound, now + loading)
        decided = place in judged and judged[place].decided
        for _, one in sorted(judged.items()):  # the first have precedence
            # What was dealt is begun before anybody knows of a decision.
            if one.ready <= now and not one.dealt and len(running) < lanes and not decided:
                one.at_first = at_first
                one.deal(lanes, held)
            while one.begun < one.dealt and len(running) < lanes:
                until = now + max(0.1, rng.normal(1, spread))
                heappush(running, (until, begun, one, one.begun))
                one.begun, begun = one.begun + 1, begun + 1
        if decided:
            seen = judged.pop(place).seen
            needed += seen
            if steps[place].accepted:
                judged.clear()
            elif judges > 1:
                at_first = min(lanes, seen)
            place += 1
            continue
        now = min(
            [until for until, *_ in running[:1]]
            + [c.ready for c in judged.values() if c.ready > now]
        )
        while running and running[0][0] <= now:
            _, _, one, batch = heappop(running)
            one.finish(batch, lanes, held)
    return max([now, *(until for until, *_ in running)]), begun - needed


def steps_of(evaluator: Evaluator, models: dict[str, Checkpoint], tie: Tie) -> list[Step]:
    """The steps of a greedy search, from full passes of all means that may be judged."""
    labels = evaluator.examples.labels
    known = {name: margins(evaluator.logits(model), labels) for name, model in models.items()}
    scored = [Ingredient(n, models[n], int((known[n] < 0).sum())) for n in models]
    best, *rest = sorted(scored, key=lambda ingredient: ingredient.errors)
    mean, names, errors = RunningMean(torch.float64), [best.name], best.errors
    mean.add(best.weights)
    foresight, steps = Foresight(known), list[Step]()
    found: dict[str, NDArray[np.float32]] = {}
    for place, candidate in enumerate(rest):
        wrong = []
        for later in rest[place : place + AHEAD]:
            if later.name not in found:
                logits = evaluator.logits(mean.value(later.weights))
                found[later.name] = margins(logits, labels)
            expected = foresight.of([*names, later.name])
            assert expected is not None
            wrong.append(found[later.name][np.argsort(expected, kind="stable")] < 0)
        steps.append(Step(most_errors(errors, tie), wrong))
        if steps[-1].accepted:
            names.append(candidate.name)
            foresight.of(names)
            foresight.learn(found[candidate.name])
            mean.add(candidate.weights)
            errors, found = int(wrong[0].sum()), {}
    return steps


def times(steps: Sequence[Step], size: int, draws: int = 8) -> pd.DataFrame:
    """A row for each number of lanes: the mean time of each way / batches begun in vain."""
    ways = {"two a lane": (1, False), "held": (1, True)}
    ways |= {f"{judges} judges": (judges, True) for judges in (2, 4, 8)}
    rows = []
    for lanes in LANES:
        row: dict[str, object] = {"lanes": lanes}
        for name, (judges, held) in ways.items():
            drawn = [simulated(steps, size, lanes, judges, held, seed=i) for i in range(draws)]
            time, vain = np.mean(drawn, axis=0)
            row[name] = f"{time:.1f} / {vain:.0f}"
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--made", type=Path, required=True, help="what `mehl_models.py` makes")
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32], help="of batches")
    parser.add_argument("--tie", choices=["keep", "reject"], default="reject")
    given = parser.parse_args()
    print(machine(), flush=True)
    paths = [given.made / f"model_{index:02}.safetensors" for index in range(given.models)]
    models = {path.stem: Checkpoint(path) for path in reversed(paths)}  # as in `greedy.py`
    evaluator = open_evaluator(given.made / "heldout", None, models[paths[0].stem])
    steps = steps_of(evaluator, models, given.tie)
    accepted = sum(step.accepted for step in steps)
    print(f"{len(evaluator)} pictures; {accepted} of {len(steps)} candidates are accepted")
    for size in given.sizes:
        print(f"\nbatches of {size}: their time, in batches of one lane / batches begun in vain")
        print(times(steps, size).to_markdown(index=False))


if __name__ == "__main__":
    main()
