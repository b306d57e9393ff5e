"""The training loop: the schedule, what it logs, when it stops."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from soup.train.loop import Batch, Diverged, Schedule, fit

PLAN = Schedule(
    epochs=3, steps_per_epoch=7, lr=0.01, weight_decay=0.1, warmup=0.2, clip=1.0, seed=5
)


def batches(epoch: int, skip: int) -> Iterator[Batch]:
    for index in range(skip, PLAN.steps_per_epoch):
        generator = torch.Generator().manual_seed(100 * epoch + index)
        yield torch.randn(4, 6, generator=generator), torch.arange(4) % 3


def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(model(images), labels)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Dropout(0.3), nn.Linear(8, 3))


def test_the_rate_rises_linearly_and_falls_as_half_a_cosine() -> None:
    plan = Schedule(
        epochs=10, steps_per_epoch=10, lr=2.0, weight_decay=0.0, warmup=0.1, clip=1.0, seed=0
    )
    rates = [plan.rate(step) for step in range(plan.steps)]
    assert rates[:10] == pytest.approx([0.2 * k for k in range(1, 11)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0)
    assert rates[40] == pytest.approx(1 + math.cos(math.pi * 30 / 90))
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[99] < 2.0 * 1e-3


@pytest.mark.parametrize("warmup", [0.0, 1.0, 0.001])
def test_the_rate_is_positive_at_every_step_of_a_run(warmup: float) -> None:
    plan = replace(PLAN, warmup=warmup)
    rates = [plan.rate(step) for step in range(plan.steps)]
    assert all(0 < rate <= plan.lr + 1e-12 for rate in rates)
    assert max(rates) == pytest.approx(plan.lr)


def test_training_is_adamw_written_out() -> None:
    """An own AdamW: decay of matrices only, clipped gradients, the schedule's rates."""
    trained, plain = model(), model()
    fit(trained, batches, loss, PLAN)
    from soup.data.transforms import seed_all, seeds

    plain.train()
    moments = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in plain.parameters()}
    for step in range(PLAN.steps):
        epoch, index = divmod(step, PLAN.steps_per_epoch)
        images, labels = list(batches(epoch, 0))[index]
        seed_all(int(seeds(PLAN.steps, PLAN.seed, 1)[step]))
        plain.zero_grad()
        loss(plain, images, labels).backward()
        grads = [p.grad for p in plain.parameters() if p.grad is not None]
        norm = torch.stack([g.norm() for g in grads]).norm()
        for parameter, grad in zip(list(plain.parameters()), grads, strict=True):
            g = grad * min(1.0, float(PLAN.clip / (norm + 1e-6)))
            first, second = moments[parameter]
            first.mul_(0.9).add_(0.1 * g)
            second.mul_(0.999).add_(0.001 * g * g)
            rate = PLAN.rate(step)
            with torch.no_grad():
                if parameter.ndim > 1:
                    parameter.mul_(1 - rate * PLAN.weight_decay)
                unbiased = second / (1 - 0.999 ** (step + 1))
                average = first / (1 - 0.9 ** (step + 1))
                parameter.sub_(rate * average / (unbiased.sqrt() + 1e-8))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_loss_and_rate_are_logged_every_few_steps_and_at_the_end() -> None:
    logged: list[tuple[int, dict[str, float]]] = []
    fit(model(), batches, loss, PLAN, lambda *entry: logged.append(entry), log_every=4)
    assert [step for step, _ in logged] == [4, 8, 12, 16, 20, 21]
    for step, metrics in logged:
        assert metrics.keys() == {"train/loss", "train/lr"}
        assert metrics["train/lr"] == PLAN.rate(step - 1)
        assert math.isfinite(metrics["train/loss"])


def test_after_each_epoch_the_model_is_handed_over_for_evaluation() -> None:
    trained, seen = model(), []
    fit(
        trained,
        batches,
        loss,
        PLAN,
        after_epoch=lambda step: seen.append((step, trained.training)),
    )
    assert seen == [(7, False), (14, False), (21, False)]
    assert not trained.training


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_its_step(value: float) -> None:
    calls = iter(range(100))

    def broken(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return loss(model, images, labels) * (value if next(calls) == 9 else 1)

    with pytest.raises(Diverged, match=f"the loss became {value} at step 9 of 21"):
        fit(model(), batches, broken, PLAN)


def test_what_is_frozen_is_not_trained() -> None:
    trained = model()
    trained[0].weight.requires_grad_(False)  # type: ignore[index]
    before = {n: t.clone() for n, t in trained.state_dict().items()}
    fit(trained, batches, loss, PLAN)
    same = [n for n, t in trained.state_dict().items() if torch.equal(t, before[n])]
    assert same == ["0.weight"]


def test_what_was_drawn_before_does_not_matter() -> None:
    first, second = model(), model()
    fit(first, batches, loss, PLAN)
    torch.rand(17)
    fit(second, batches, loss, PLAN)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_a_last_update_that_overflows_is_a_divergence_though_no_loss_shows_it() -> None:
    one = replace(PLAN, epochs=1, steps_per_epoch=1, lr=1e30, weight_decay=1e30, warmup=0.0)
    with pytest.raises(Diverged, match="not finite after the last step, 1"):
        fit(model(), lambda *_: iter([next(batches(0, 0))]), loss, one)
