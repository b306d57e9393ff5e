"""How batches are dealt to lanes and computed there, and that an unfit model gets one lane."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from soup.evaluation.predict import predict
from soup.models.lanes import deal, in_lanes
from soup.threads import dealt
from tests.laned import Lanes, Told, pictures, thread_of_batch
from tests.worlds import tiny

CPU = torch.device("cpu")
_held_elsewhere: dict[str, Tensor] = {}


def test_as_many_batches_are_computed_at_once_as_there_are_lanes(lanes: Lanes) -> None:
    lanes(3)
    model, parts = nn.Linear(1, 1), [*torch.arange(9).split(1)]
    [*in_lanes(model, lambda batch: batch, lambda part: part, parts, 3)]  # is found fit
    meeting = threading.Barrier(3, timeout=60)

    def compute(batch: Tensor) -> Tensor:
        meeting.wait()  # for the other two lanes
        return batch

    found = torch.cat([*in_lanes(model, compute, lambda part: part, parts, 3)])
    assert found.tolist() == [*range(9)]


def test_a_pass_that_stops_leaves_no_lane_at_work(lanes: Lanes) -> None:
    lanes(2)
    running: list[int] = []

    def compute(batch: Tensor) -> Tensor:
        running.append(1)
        time.sleep(0.01)
        running.append(-1)
        return batch

    passing = in_lanes(nn.Linear(1, 1), compute, lambda part: part, [*torch.arange(99).split(1)], 2)
    next(passing)
    passing.close()
    at_end = len(running)
    assert sum(running) == 0
    time.sleep(0.05)
    assert len(running) == at_end < 40


def test_two_batches_a_lane_are_dealt_once_it_is_clear_that_the_caller_goes_on(
    lanes: Lanes,
) -> None:
    lanes(3)
    begun: list[int] = []

    def parts() -> Iterator[int]:
        for part in range(20):
            begun.append(part)
            yield part

    def begun_before_each(enough: Callable[[int], bool] | None) -> list[int]:
        begun.clear()
        return [len(begun) for _ in dealt(str, parts(), 3, enough)][:5]

    assert begun_before_each(None) == [6, 7, 8, 9, 10]
    assert begun_before_each(lambda _: False) == [3, 7, 8, 9, 10]
    assert begun_before_each(lambda waiting: waiting == 2) == [2, 3, 4, 5, 6]


def test_an_error_in_a_lane_is_an_error_of_the_pass(lanes: Lanes) -> None:
    lanes(2)

    def compute(batch: Tensor) -> Tensor:
        if 50 in batch:
            raise ValueError("fifty")
        return batch

    parts = [*torch.arange(99).split(3)]
    with pytest.raises(ValueError, match="fifty"):
        [*in_lanes(nn.Linear(1, 1), compute, lambda part: part, parts, 2)]


def test_operators_of_a_lane_use_one_thread(lanes: Lanes) -> None:
    lanes(3)

    def compute(batch: Tensor) -> Tensor:
        square = torch.ones(300, 300)
        (square @ square).softmax(1)
        return torch.tensor([torch.get_num_threads()])

    parts = [*torch.arange(9).split(1)]
    found = torch.cat([*in_lanes(nn.Linear(1, 1), compute, lambda part: part, parts, 3)])
    assert found.tolist() == [1] * 9
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(("cores", "most"), [(1, 4), (4, 1)])
def test_one_lane_too_is_one_thread(
    cores: int, most: int, lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota of less than two cores, where torch sees more; and a model of one lane."""
    lanes(4)
    monkeypatch.setattr("soup.threads.cores", lambda: cores)

    def compute(batch: Tensor) -> Tensor:
        return torch.tensor([torch.get_num_threads()])

    parts = [*torch.arange(4).split(1)]
    found = torch.cat([*in_lanes(nn.Linear(1, 1), compute, lambda part: part, parts, most)])
    assert found.tolist() == [1] * 4


class Keeps(nn.Module):
    """Keeps its input in an attribute while it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, inputs: Tensor) -> Any:
        self.kept = inputs
        time.sleep(0.002)
        return self.kept.flatten(1)[:, :3] * self.weight


class Counts(Keeps):
    """Counts its batches in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, inputs: Tensor) -> Any:
        self.count += 1
        return inputs.flatten(1)[:, :3] * self.weight


class KeepsElsewhere(Keeps):
    """Keeps its input where no module shows it."""

    def forward(self, inputs: Tensor) -> Any:
        _held_elsewhere["input"] = inputs
        time.sleep(0.01)
        return _held_elsewhere["input"].flatten(1)[:, :3] * self.weight


class Prepares(Keeps):
    """Makes a table at the first batch, which it keeps."""

    table: Tensor | None = None

    def forward(self, inputs: Tensor) -> Any:
        if self.table is None:
            self.table = torch.ones(3)
        return inputs.flatten(1)[:, :3] * self.weight * self.table


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Keeps, "Told is computed in one thread, because each batch changes its Keeps.kept"),
        (Counts, "each batch changes its Counts.count"),
        (KeepsElsewhere, "several threads at once give other results"),
        (Prepares, ""),
    ],
)
def test_a_model_that_is_unfit_for_threads_gets_one_lane(
    kind: type[Keeps], told: str, lanes: Lanes, caplog: pytest.LogCaptureFixture
) -> None:
    model, examples = Told(kind()).eval(), pictures(60)
    lanes(1)
    expected = predict(model, examples, 9)
    lanes(3)
    with caplog.at_level(logging.WARNING):
        thread_of_batch.clear()
        assert np.array_equal(predict(model, examples, 9), expected)
        assert np.array_equal(predict(model, examples, 9), expected)
    assert len(caplog.messages) == (1 if told else 0)
    assert told in caplog.text
    if told:
        assert len({*thread_of_batch[-7:]}) == 1


def test_a_model_with_hooks_gets_one_lane(lanes: Lanes) -> None:
    lanes(3)
    model = tiny()[1]
    threads: list[str] = []
    hook = model.register_forward_hook(lambda *_: threads.append(threading.current_thread().name))
    predict(model, pictures(60), 9)
    hook.remove()
    assert len({*threads}) == 1
    assert len(threads) == 7


@pytest.mark.parametrize(
    ("batch_size", "side", "expected"),
    [
        (256, 32, (64, 4)),
        (256, 96, (32, 8)),
        (256, 224, (16, 16)),
        (256, 2000, (16, 16)),
        (256, None, (32, 8)),
        (20, 224, (16, 4)),
        (4, 32, (4, 16)),
        (1, 32, (1, 64)),
    ],
)
def test_batches_depend_on_the_batch_size_and_the_input_alone(
    batch_size: int, side: int | None, expected: tuple[int, int], lanes: Lanes
) -> None:
    for count in (1, 3):
        lanes(count)
        found = deal(batch_size, CPU, None if side is None else 3 * side * side)
        assert (found.size, found.lanes) == expected
