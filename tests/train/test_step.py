"""One step: parts of a batch, sharpness-aware gradients, precision, and too little memory."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from soup.train.optimizer import StepConfig
from soup.train.step import PROVEN, Step
from tests.train.crowds import Threaded, together


def network(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))


def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(model(images), labels)


IMAGES = torch.randn(10, 6, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(10) % 3


def after(method: StepConfig, model: nn.Module | None = None, lossy: object = loss) -> nn.Module:
    model = model or network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    torch.manual_seed(7)
    Step(model, optimizer, lossy, method)(IMAGES, LABELS)  # type: ignore[arg-type]
    return model


def equal(one: nn.Module, other: nn.Module, **tolerance: float) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("parts", [2, 3, 10])
def test_a_batch_in_parts_gives_the_step_of_the_whole(parts: int) -> None:
    equal(after(StepConfig(accumulate=parts)), after(StepConfig()))


def test_the_loss_is_the_mean_over_the_batch_before_the_step() -> None:
    model = network()
    expected = loss(model, IMAGES, LABELS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    value = Step(model, optimizer, loss, StepConfig(accumulate=3))(IMAGES, LABELS)
    torch.testing.assert_close(value, expected.detach())


def test_the_gradient_is_clipped_to_its_norm() -> None:
    tight, start = after(StepConfig(clip=1e-3)), network()
    moved = [a - b for a, b in zip(tight.parameters(), start.parameters(), strict=True)]
    norm = torch.stack([m.norm() for m in moved]).norm()
    assert float(norm) == pytest.approx(0.5 * 1e-3, rel=1e-3)


@pytest.mark.parametrize("parts", [1, 2])
def test_sam_is_algorithm_1_of_its_paper(parts: int) -> None:
    rho = 0.3
    found = after(StepConfig(sam=rho, clip=None, accumulate=parts))
    start, moved = network(), network()
    loss(start, IMAGES, LABELS).backward()
    norm = torch.stack([p.grad.norm() for p in start.parameters()]).norm()  # type: ignore[union-attr]
    with torch.no_grad():
        for p, q in zip(moved.parameters(), start.parameters(), strict=True):
            p.add_(rho * q.grad / norm)  # type: ignore[operator]
    loss(moved, IMAGES, LABELS).backward()
    with torch.no_grad():
        for p, q in zip(start.parameters(), moved.parameters(), strict=True):
            p.sub_(0.5 * q.grad)  # type: ignore[operator]
    equal(found, start)


def test_both_passes_of_sam_drop_the_same_units() -> None:
    seen: list[Tensor] = []

    def seeing(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        seen.append(torch.rand(4))
        return loss(model, images, labels)

    after(StepConfig(sam=0.1), lossy=seeing)
    assert len(seen) == 2
    assert torch.equal(*seen)


def test_in_bfloat16_passes_are_and_weights_are_not() -> None:
    seen: list[torch.dtype] = []

    def seeing(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        seen.append(model(images).dtype)
        return loss(model, images, labels)

    model = after(StepConfig(precision="bfloat16"), lossy=seeing)
    assert seen == [torch.bfloat16]
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    equal(model, after(StepConfig()), rtol=0.1, atol=0.02)


class Memory:
    """A loss that has room for so many examples at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        self.sizes.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(model, images, labels)


def test_out_of_memory_the_batch_is_halved_once_and_it_is_said() -> None:
    model, said, memory = network(0.5), [], Memory(room=5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    step = Step(model, optimizer, memory, StepConfig(), said.append)
    torch.manual_seed(7)
    step(IMAGES, LABELS)
    step(IMAGES, LABELS)
    assert memory.sizes == [10, 5, 5, 5, 5]
    assert len(said) == 1
    assert "a batch of 10 is now computed in 2 parts of 5" in said[0]
    assert "sweep.accumulate: 2" in said[0]

    expected = network(0.5)
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.5)
    step = Step(expected, optimizer, loss, StepConfig(accumulate=2))
    torch.manual_seed(7)
    step(IMAGES, LABELS)
    step(IMAGES, LABELS)
    equal(model, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("room", "tried"), [(4, [10, 5]), (0, [10, 5])])
def test_out_of_memory_again_is_an_error(room: int, tried: list[int]) -> None:
    memory = Memory(room)
    with pytest.raises(torch.OutOfMemoryError):
        after(StepConfig(), lossy=memory)
    assert memory.sizes == tried


@pytest.mark.parametrize("sam", [0.0, 0.3])
def test_one_rank_out_of_memory_makes_all_halve_and_the_step_is_that_of_one(sam: float) -> None:
    """Ranks of 6 and 4 examples, the second with room for 3."""
    method = StepConfig(sam=sam, clip=0.1)
    expected = network()
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.5)
    alone = Step(expected, optimizer, loss, method)
    memories = [Memory(6), Memory(3)]
    models = [network(), network()]  # made here: threads draw from one generator

    def rank(given: Threaded) -> tuple[nn.Module, list[str], list[Tensor]]:
        own = slice(0, 6) if given.rank == 0 else slice(6, 10)
        share = replace(given, weight=(0.6, 0.4)[given.rank] * 2)
        model, said = models[given.rank], []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        step = Step(model, optimizer, memories[given.rank], method, said.append, share)
        return model, said, [step(IMAGES[own], LABELS[own]) for _ in range(PROVEN)]

    first, second = together(2, rank)
    losses = [alone(IMAGES, LABELS) for _ in range(PROVEN)]
    for model, said, values in (first, second):
        equal(model, expected)
        assert len(said) == 1
        assert len(values) == PROVEN
    for ours, theirs, value in zip(first[2], second[2], losses, strict=True):
        torch.testing.assert_close((ours + theirs) / 2, value)
    assert memories[0].sizes[:3] == [6, 3, 3]
    assert memories[1].sizes[:3] == [4, 2, 2]


@pytest.mark.parametrize(
    ("split", "room"),
    [(5, 0), (9, 5)],  # halved once already; or another rank's one example cannot be
)
def test_a_rank_that_cannot_halve_ends_the_run_on_all(split: int, room: int) -> None:
    def rank(share: Threaded) -> str:
        own = slice(split, 10) if share.rank else slice(0, split)
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        step = Step(model, optimizer, Memory(10 if share.rank else room), StepConfig(), ranks=share)
        with pytest.raises(torch.OutOfMemoryError) as caught:
            step(IMAGES[own], LABELS[own])
        return str(caught.value)

    assert together(2, rank) == ["CUDA out of memory", "another rank is out of memory"]
