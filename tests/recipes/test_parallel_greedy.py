"""Several judges at once make the soup that one makes, whatever the order they answer in."""

import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient
from soup.recipes.judge import Judge
from soup.recipes.parallel_greedy import parallel_greedy
from soup.weights import Weights
from soup.weights.checkpoint import save
from tests.strategies import NAN, Problem, problems
from tests.waiting import PATIENCE


class Busy:
    """Stops early, and takes its time, now more and now less; used by one thread at a time."""

    def __init__(self, problem: Problem, delays: list[int]) -> None:
        self.problem, self.delays, self.calls, self.lock = problem, delays, 0, threading.Lock()

    def __call__(self, weights: Weights, at_most: float | None = None) -> int | None:
        assert self.lock.acquire(blocking=False), "one model, two candidates"
        time.sleep(self.delays[self.calls % len(self.delays)] / 5000)
        self.calls += 1
        errors = int(self.problem.wrong(weights).sum())
        self.lock.release()
        return None if at_most is not None and errors > at_most else errors


@pytest.mark.parametrize("tie", ["keep", "reject"])
@settings(max_examples=40)
@given(
    problem=problems(),
    delays=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=4, max_size=4),
)
def test_one_two_and_four_judges_make_the_same_bytes_and_the_same_trace(
    tmp_path_factory: pytest.TempPathFactory, tie: str, problem: Problem, delays: list[list[int]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    one_by_one = greedy(problem.ingredients, Busy(problem, [0]), tie)
    save(one_by_one.weights, folder / "greedy")
    for count in (1, 2, 4):
        judges: list[Judge] = [Busy(problem, delays[index]) for index in range(count)]
        soup = parallel_greedy(problem.ingredients, judges, tie)
        save(soup.weights, folder / "parallel")
        assert (folder / "parallel").read_bytes() == (folder / "greedy").read_bytes()
        assert (soup.kept, soup.errors) == (one_by_one.kept, one_by_one.errors)
        assert soup.trace == one_by_one.trace


def pool(count: int) -> list[Ingredient]:
    return [Ingredient(f"model {i}", {"w": torch.tensor(float(i))}, float(i)) for i in range(count)]


def test_the_next_candidates_are_judged_while_the_first_is() -> None:
    # Each judge waits for the other: one at a time would wait for ever.
    together = threading.Barrier(2, timeout=PATIENCE)

    def judge(weights: Weights, at_most: float | None = None) -> int:
        together.wait()
        return 9

    soup = parallel_greedy(pool(5), [judge, judge])
    assert soup.kept == ("model 0",)
    assert len(soup.trace) == 5


def test_with_one_judge_the_next_checkpoint_is_read_meanwhile() -> None:
    read = threading.Event()

    class Watched(dict[str, torch.Tensor]):
        def __getitem__(self, name: str) -> torch.Tensor:
            read.set()
            return super().__getitem__(name)

    def judge(weights: Weights, at_most: float | None = None) -> int:
        assert read.wait(PATIENCE), "the next was not read before this one was judged"
        return 9

    ingredients = pool(3)
    late = Ingredient("late", Watched(w=torch.tensor(9.0)), 5.0)
    parallel_greedy([ingredients[0], ingredients[1], late], [judge])


def test_what_a_judge_raises_is_raised() -> None:
    def judge(weights: Weights, at_most: float | None = None) -> int:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        parallel_greedy(pool(3), [judge, judge])


def test_no_judge_an_unknown_tie_rule_and_no_score_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no judge was given"):
        parallel_greedy(pool(2), [])
    with pytest.raises(ValueError, match="unknown tie rule 'toss'"):
        parallel_greedy(pool(2), [lambda w, at_most=None: 0], tie="toss")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no ingredient with a held-out score"):
        parallel_greedy([Ingredient("a", {}, NAN)], [lambda w, at_most=None: 0])
