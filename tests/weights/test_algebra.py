"""The arithmetic of state dicts, against sums of Python's floats."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from soup.weights import (
    Incompatible,
    NotFinite,
    Weights,
    average,
    combine,
    differences,
    lerp,
    materialize,
    require_compatible,
)
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.running_mean import RunningMean
from soup.weights.streaming_sum import CACHED, CHUNK
from tests import reference
from tests.strategies import alike, numbers, one

Model = dict[str, Tensor]


def same(a: Weights, b: Weights) -> bool:
    """Equal to the last bit, dtypes included."""
    return a.keys() == b.keys() and all(
        torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a
    )


@given(alike())
def test_the_average_is_the_mean_of_each_number(models: list[Model]) -> None:
    assert same(average(models), reference.average(models))


@given(alike(least=2))
def test_a_candidate_is_averaged_in_without_being_counted(models: list[Model]) -> None:
    *counted, candidate = models
    mean = RunningMean()
    for model in counted:
        mean.add(model)
    assert same(mean.value(candidate), reference.average(models))
    assert same(mean.value(), reference.average(counted))


@given(models=alike(), data=st.data())
def test_a_whole_coefficient_counts_a_model_as_often(
    models: list[Model], data: st.DataObject
) -> None:
    times = data.draw(st.lists(st.integers(1, 3), min_size=len(models), max_size=len(models)))
    repeated = [m for m, t in zip(models, times, strict=True) for _ in range(t)]
    expected = reference.average(repeated)
    for name, value in average(models, times).items():
        torch.testing.assert_close(value, expected[name])


@given(alike(least=2, most=2))
def test_lerp_leads_from_the_start_over_the_mean_to_the_end(models: list[Model]) -> None:
    start, end = models
    assert same(lerp(start, end, 0), start)
    assert same(lerp(start, end, 0.5), average([start, end]))
    floats = [name for name in end if end[name].is_floating_point()]
    assert all(torch.equal(lerp(start, end, 1)[name], end[name]) for name in floats)


@given(alike())
def test_what_is_averaged_is_neither_changed_nor_shared(models: list[Model]) -> None:
    before = [{name: tensor.clone() for name, tensor in model.items()} for model in models]
    for tensor in average(models).values():
        tensor.zero_()
    assert all(same(model, copy) for model, copy in zip(models, before, strict=True))


def test_the_sum_is_kept_in_float64_unless_told_otherwise() -> None:
    models = [one(1e8), one(1.0), one(-1e8)]
    assert same(average(models), one(1 / 3))
    assert same(average(models, accumulate=torch.float32), one(0.0))
    assert same(average(models, [1, 1, 1]), one(1 / 3))
    assert same(combine([(1, m) for m in models], torch.float32), one(0.0))


def test_half_precision_does_not_overflow_on_the_way() -> None:
    models = [one(60000.0, dtype=torch.float16)] * 3
    assert same(average(models), models[0])
    assert same(average(models, [2, 1, 1]), models[0])


def test_counters_are_those_of_the_first_model() -> None:
    models = [{"steps": torch.tensor(n), "mask": torch.tensor([True, False])} for n in (3, 10)]
    assert same(average(models), models[0])
    assert same(average(models, [0, 1]), models[0])


def test_a_coefficient_of_zero_leaves_out_even_a_diverged_model() -> None:
    assert same(average([one(2.0), one(math.inf)], [1, 0]), one(2.0))
    assert same(average([one(math.nan), one(2.0)], [0, 1]), one(2.0))


def test_tied_tensors_stay_tied_and_others_do_not_become_so() -> None:
    square = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    model = {"embed": square, "unembed": square, "turned": square.T, "other": square.clone()}
    soup = average([model, model])
    assert soup["embed"] is soup["unembed"]
    assert len({tensor.data_ptr() for tensor in soup.values()}) == 3
    assert torch.equal(soup["turned"], square.T)


def test_a_lazy_mapping_may_give_each_tensor_the_same_address() -> None:
    class Lazy(Mapping[str, Tensor]):
        """Reads every tensor into one buffer, as a file's reader may."""

        def __init__(self, **values: float) -> None:
            self.values_, self.buffer = values, torch.zeros(1)

        def __getitem__(self, name: str) -> Tensor:
            return self.buffer.fill_(self.values_[name])

        def __iter__(self) -> Iterator[str]:
            return iter(self.values_)

        def __len__(self) -> int:
            return len(self.values_)

    soup = average([Lazy(a=1, b=2), Lazy(a=3, b=6)])
    assert {name: float(tensor) for name, tensor in soup.items()} == {"a": 2, "b": 4}


def test_every_difference_is_listed_with_what_to_do() -> None:
    first = {"head": torch.zeros(1000, 512), "norm": torch.zeros(3), "same": torch.zeros(1)}
    second = {"head": torch.zeros(200, 512), "extra": torch.zeros(3), "same": torch.ones(1)}
    with pytest.raises(Incompatible) as error:
        require_compatible(first, second, ("3f2a", "91bc"))
    assert str(error.value) == (
        "cannot average 3f2a with 91bc:\n"
        "  norm is missing from the second\n"
        "  extra is only in the second\n"
        "  head is (1000, 512) in the first and (200, 512) in the second\n"
        "fine-tune both from the same initialisation, head included"
    )


def test_a_long_list_of_differences_is_cut_and_counted() -> None:
    many = {f"layer{i}": torch.zeros(1) for i in range(25)}
    assert len(differences(many, {})) == 25
    with pytest.raises(Incompatible) as error:
        require_compatible(many, {}, ("a", "b"))
    assert str(error.value).count("is missing") == 20
    assert "and 5 more" in str(error.value)


@pytest.mark.parametrize("other", [{}, one(1.0, 2.0), one(1.0) | {"extra": torch.zeros(1)}])
def test_no_operation_accepts_weights_of_another_model(other: Model) -> None:
    mean = RunningMean()
    mean.add(one(1.0))
    for operation in [
        lambda: average([one(1.0), other]),
        lambda: average([one(1.0), other], [1, 1]),
        lambda: mean.value(other),
        lambda: lerp(one(1.0), other, 0.5),
    ]:
        with pytest.raises(Incompatible):
            operation()


@pytest.mark.parametrize(
    ("models", "coefficients", "problem"),
    [
        ([], None, "nothing to average"),
        ([], [], "nothing to average"),
        ([one(1.0)], [1, 2], "1 models but 2 weights"),
        ([one(1.0), one(2.0)], [1, -1], "finite sum other than 0, got 0"),
        ([one(1.0)], [math.nan], "finite sum other than 0, got nan"),
    ],
)
def test_what_has_no_mean_is_an_error(
    models: list[Model], coefficients: list[float] | None, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        average(models, coefficients)


def test_a_combination_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to average"):
        combine([])


@given(models=alike(), data=st.data())
def test_files_and_dictionaries_have_the_same_average_in_any_dtype(
    tmp_path_factory: pytest.TempPathFactory, models: list[Model], data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for index, model in enumerate(models):
        save(model, folder / f"average{index}")
    pool = [Checkpoint(folder / f"average{index}") for index in range(len(models))]
    factors = data.draw(st.none() | st.lists(st.floats(0.5, 2), min_size=4, max_size=4))
    weights = factors and factors[: len(models)]
    out = data.draw(st.sampled_from([None, torch.float32, torch.float64]))
    lazy, eager = average(pool, weights, dtype=out), average(models, weights, dtype=out)
    assert isinstance(eager, dict)
    assert not isinstance(lazy, dict)
    assert same(materialize(lazy), {name: eager[name] for name in sorted(eager)})
    if out:
        assert all(t.dtype == out for t in eager.values() if t.is_floating_point())


@settings(max_examples=5)
@given(values=st.lists(numbers, min_size=3, max_size=3))
def test_large_tensors_are_averaged_as_small_ones_are(values: list[float]) -> None:
    # More numbers than one thread sums at a time, a last part that is not full, and two threads.
    size = 2 * CHUNK + CACHED + 3
    large = [{"w": torch.arange(size, dtype=torch.float32).mul_(value)} for value in values]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        assert torch.equal(average(large)["w"], plain_mean(large))
    torch.set_num_threads(1)


def plain_mean(models: list[Model]) -> Tensor:
    total = sum(model["w"].double() for model in models)
    assert isinstance(total, Tensor)
    return (total / len(models)).float()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("weights", [None, [1, 2]])
def test_numbers_that_are_none_are_counted_with_their_model_and_tensor(
    tmp_path: Path, value: float, weights: list[float] | None
) -> None:
    good, bad = {"w": torch.zeros(70_000)}, {"w": torch.zeros(70_000)}
    bad["w"][[5, 40_000]] = value
    with pytest.raises(NotFinite, match="model 2: w has 2 NaN or infinite of 70000 numbers"):
        average([good, bad], weights)
    save(bad, tmp_path / "bad.safetensors")
    save(good, tmp_path / "good.safetensors")
    pool = [Checkpoint(tmp_path / "good.safetensors"), Checkpoint(tmp_path / "bad.safetensors")]
    with pytest.raises(NotFinite, match=r"bad.safetensors: w has 2 NaN"):
        save(average(pool, weights), tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_a_mask_of_infinities_that_all_share_is_kept() -> None:
    model = {"mask": torch.tensor([0.0, -math.inf]), "w": torch.ones(2)}
    assert same(average([model, model]), model)


def test_what_rounds_to_the_largest_number_is_no_error() -> None:
    # 65504 is the largest float16; from 65520, halfway to the next, numbers round to infinity.
    models = [{"w": torch.tensor([value])} for value in (65500.0, 65539.0)]
    assert average(models, dtype=torch.float16)["w"].item() == 65504
    models[0]["w"] += 1
    with pytest.raises(NotFinite, match=r"too large for torch\.float16"):
        average(models, dtype=torch.float16)


def test_a_result_too_large_for_its_dtype_is_an_error() -> None:
    model = one(60000.0, dtype=torch.float16)
    with pytest.raises(NotFinite, match=r"w: the result is too large for torch.float16"):
        combine([(2, model)])
