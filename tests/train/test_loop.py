"""The training loop: the schedule, what it logs, when it stops."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from soup.train.loop import Batch, Diverged, fit
from soup.train.optimizer import StepConfig
from soup.train.rank import ALONE, Rank
from soup.train.run_state import RunStateFile
from soup.train.schedule import Schedule
from soup.train.weight_averages import Averages

PLAN = Schedule(epochs=3, steps_per_epoch=7, lr=0.01, warmup=0.2, seed=5)
ADAMW = StepConfig(weight_decay=0.1, clip=1.0)


def batches(epoch: int, skip: int) -> Iterator[Batch]:
    for index in range(skip, PLAN.steps_per_epoch):
        generator = torch.Generator().manual_seed(100 * epoch + index)
        yield torch.randn(4, 6, generator=generator), torch.arange(4) % 3


def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(model(images), labels)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Dropout(0.3), nn.Linear(8, 3))


def test_training_is_adamw_written_out() -> None:
    """An own AdamW: decay of matrices only, clipped gradients, the schedule's rates."""
    trained, plain = model(), model()
    fit(trained, batches, loss, PLAN, ADAMW)
    from soup.models.transforms import seed_all, seeds

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
            g = grad * min(1.0, float(1.0 / (norm + 1e-6)))
            first, second = moments[parameter]
            first.mul_(0.9).add_(0.1 * g)
            second.mul_(0.999).add_(0.001 * g * g)
            rate = PLAN.rate(step)
            with torch.no_grad():
                if parameter.ndim > 1:
                    parameter.mul_(1 - rate * 0.1)
                unbiased = second / (1 - 0.999 ** (step + 1))
                average = first / (1 - 0.9 ** (step + 1))
                parameter.sub_(rate * average / (unbiased.sqrt() + 1e-8))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_loss_and_rate_are_logged_every_few_steps_and_at_the_end() -> None:
    logged: list[tuple[int, dict[str, float]]] = []
    fit(model(), batches, loss, PLAN, ADAMW, log=lambda *entry: logged.append(entry), log_every=4)
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
        ADAMW,
        after_epoch=lambda step: seen.append((step, trained.training)),
    )
    assert seen == [(7, False), (14, False), (21, False)]
    assert not trained.training


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_its_step(value: float) -> None:
    calls = iter(range(100))

    def broken(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return loss(model, images, labels) * (value if next(calls) == 9 else 1)

    with pytest.raises(Diverged, match=f"became {value} at step 9 of 21; lower sweep.space.lr"):
        fit(model(), batches, broken, PLAN, ADAMW)


def test_a_loss_that_is_no_number_before_any_update_is_not_blamed_on_the_rate() -> None:
    def broken(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return loss(model, images, labels) * math.nan

    with pytest.raises(Diverged, match=r"at step 0 of 21; are the base's weights and the images w"):
        fit(model(), batches, broken, PLAN, ADAMW)


def test_what_is_frozen_is_not_trained() -> None:
    trained = model()
    trained[0].weight.requires_grad_(False)  # type: ignore[index]
    before = {n: t.clone() for n, t in trained.state_dict().items()}
    fit(trained, batches, loss, PLAN, ADAMW)
    same = [n for n, t in trained.state_dict().items() if torch.equal(t, before[n])]
    assert same == ["0.weight"]


def test_what_was_drawn_before_does_not_matter() -> None:
    first, second = model(), model()
    fit(first, batches, loss, PLAN, ADAMW)
    torch.rand(17)
    fit(second, batches, loss, PLAN, ADAMW)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_a_last_update_that_overflows_is_a_divergence_though_no_loss_shows_it() -> None:
    one = replace(PLAN, epochs=1, steps_per_epoch=1, lr=1e30, warmup=0.0)
    decay = StepConfig(weight_decay=1e30)
    with pytest.raises(Diverged, match="not finite after the last step, 1"):
        fit(model(), lambda *_: iter([next(batches(0, 0))]), loss, one, decay)


def test_it_pauses_and_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    through, paused, seen = model(), model(), []
    fit(through, batches, loss, PLAN, ADAMW)
    keeper = RunStateFile(tmp_path / "state.safetensors", 1e9)
    for until in (5, 5, 14):
        assert not fit(
            paused, batches, loss, PLAN, ADAMW, until=until, keeper=keeper, after_epoch=seen.append
        )
    again = model()
    assert fit(again, batches, loss, PLAN, ADAMW, keeper=keeper, after_epoch=seen.append)
    assert seen == [7, 14, 21]
    for name, value in through.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_run_that_is_further_than_it_is_to_pause_begins_anew(tmp_path: Path) -> None:
    def to(step: int, folder: str) -> nn.Module:
        trained, keeper = model(), RunStateFile(tmp_path / folder / "state.safetensors", 1e9)
        assert not fit(trained, batches, loss, PLAN, ADAMW, until=step, keeper=keeper)
        return trained

    (tmp_path / "once").mkdir()
    (tmp_path / "twice").mkdir()
    to(14, "twice")
    for name, value in to(5, "once").state_dict().items():
        assert torch.equal(to(5, "twice").state_dict()[name], value), name


@pytest.mark.parametrize("ema", [[0.9], [0.5, 0.99]])
def test_moving_averages_are_those_of_their_recurrence(ema: list[float]) -> None:
    trained = model()
    expected = {decay: {n: t.clone() for n, t in trained.state_dict().items()} for decay in ema}
    averages = Averages(trained, ema)

    def follow(step: int, metrics: dict[str, float]) -> None:
        for decay, each in expected.items():
            for name, value in trained.state_dict().items():
                each[name] = decay * each[name] + (1 - decay) * value

    fit(trained, batches, loss, PLAN, ADAMW, averages=averages, log=follow, log_every=1)
    assert [*averages.models] == [f"ema-{decay:g}" for decay in ema]
    for decay, each in expected.items():
        found = averages.models[f"ema-{decay:g}"].state_dict()
        for name, value in each.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def test_swa_is_the_mean_of_the_weights_at_the_ends_of_epochs_of_the_flat_part() -> None:
    plan = replace(PLAN, epochs=6, flat_from=0.5, flat_lr=0.3)
    trained, ends = model(), []
    averages = Averages(trained, swa=True)
    assert averages.models == {}
    fit(
        trained,
        batches,
        loss,
        plan,
        ADAMW,
        averages=averages,
        after_epoch=lambda step: ends.append(
            {n: t.clone() for n, t in trained.state_dict().items()}
        ),
    )
    found = averages.models["swa"].state_dict()
    for name, value in found.items():
        mean = torch.stack([end[name] for end in ends[3:]]).mean(dim=0)
        torch.testing.assert_close(value, mean)
    assert len(ends) == 6


def test_each_rank_draws_its_own_dropout_and_the_first_that_of_a_run_alone() -> None:
    def trained(share: Rank) -> Tensor:
        one = model()
        fit(one, batches, loss, PLAN, ADAMW, ranks=share)
        return one.state_dict()["0.weight"]

    assert torch.equal(trained(Rank(rank=0)), trained(ALONE))
    assert not torch.equal(trained(Rank(rank=1)), trained(ALONE))
