"""What becomes of each kind of tensor: averaged, the first model's, or refused by name."""

import math
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import soup
from soup.weights import Incompatible, MergeWarning, NotFinite, average, cast, combine, gram
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.kinds import KINDS, kind_of
from soup.weights.mapping import specs
from soup.weights.mixer import Mixer
from soup.weights.running_mean import RunningMean
from tests.checkouts import REPO

Model = dict[str, Tensor]
FLOAT8 = [
    torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
]  # fmt: skip


def layer(wrap: Callable[[nn.Module], nn.Module], module: nn.Module) -> Model:
    return dict(wrap(module).state_dict())


def two(make: Callable[[], Model]) -> tuple[Model, Model]:
    return make(), make()


def ints(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randint(1, 100, shape).to(dtype)


def float8(*shape: int) -> Tensor:
    return torch.randn(shape).to(torch.float8_e4m3fn)


LINEAR = {"weight": torch.ones(3, 3)}
# What differs between two models and has no mean: the models, the tensors that are named, a word of
# the remedy.
REFUSED: dict[str, tuple[Callable[[], Model], list[str], str]] = {
    "int8 codes": (lambda: {"fc.weight_q": ints(torch.int8, 8, 8)}, ["fc.weight_q"], "quantise"),
    "4-bit packs": (lambda: {"fc.qweight": ints(torch.int32, 4)}, ["fc.qweight"], "quantise"),
    "bytes": (lambda: {"fc.weight": ints(torch.uint8, 32, 1)}, ["fc.weight"], "quantise"),
    "a zero point": (lambda: {"fc.zero_point": ints(torch.int32)}, ["fc.zero_point"], "quantise"),
    "scales of float8": (
        lambda: {"fc.weight": float8(4, 4), "fc.weight_scale_inv": torch.rand(1)},
        ["fc.weight_scale_inv"],
        "dequantised",
    ),
    "a scale beside float8": (
        lambda: {"fc.weight": float8(4, 4), "fc.scale_weight": torch.rand(())},
        ["fc.scale_weight"],
        "dequantised",
    ),
    "a mask": (lambda: {"mask": torch.rand(64) < 0.5}, ["mask"], "mask"),
    "pruning": (
        lambda: layer(lambda m: prune.random_unstructured(m, "weight", 0.5), nn.Linear(9, 9)),
        ["weight_mask"],
        "prune.remove",
    ),
    "peft": (
        lambda: {f"base_model.model.q.lora_{f}.weight": torch.randn(2, 2) for f in "AB"},
        ["q.lora_A.weight", "q.lora_B.weight"],
        "merge_and_unload",
    ),
    "an embedding of peft": (
        lambda: {"e.lora_embedding_A.default": torch.randn(2, 2)}, ["e.lora_embedding_A"], "merge",
    ),
    "kohya": (
        lambda: {f"lora_unet_q.lora_{f}.weight": torch.randn(2, 2) for f in ("down", "up")},
        ["lora_unet_q.lora_down.weight"],
        "merge each adapter",
    ),
    "diffusers": (
        lambda: {f"q_lora.{f}.weight": torch.randn(2, 2) for f in ("down", "up")},
        ["q_lora.down.weight"],
        "merge each adapter",
    ),
    "LoHa": (
        lambda: {f"q.hada_w{i}_{f}": torch.randn(2, 2) for i in "12" for f in "ab"},
        ["q.hada_w1_a", "q.hada_w2_b"],
        "merge each adapter",
    ),
    "weight norm": (
        lambda: layer(parametrizations.weight_norm, nn.Conv1d(2, 3, 3)),
        ["parametrizations.weight.original0", "parametrizations.weight.original1"],
        "remove_parametrizations",
    ),
    "weight norm, as it was": (
        lambda: layer(nn.utils.weight_norm, nn.Conv1d(2, 3, 3)),
        ["weight_g", "weight_v"],
        "remove_weight_norm",
    ),
    "weight norm of the whole": (
        lambda: layer(lambda m: nn.utils.weight_norm(m, dim=None), nn.Linear(2, 3)),
        ["weight_g", "weight_v"],
        "remove_weight_norm",
    ),
    "spectral norm": (
        lambda: layer(parametrizations.spectral_norm, nn.Linear(4, 3)),
        ["parametrizations.weight.0._u", "parametrizations.weight.0._v"],
        "remove_parametrizations",
    ),
    "spectral norm, as it was": (
        lambda: layer(nn.utils.spectral_norm, nn.Conv2d(2, 3, 3)),
        ["weight_orig", "weight_u", "weight_v"],
        "remove_spectral_norm",
    ),
    "an orthogonal layer": (
        lambda: layer(parametrizations.orthogonal, nn.Linear(4, 4)),
        ["parametrizations.weight.0.base"],
        "remove_parametrizations",
    ),
    "the state of a module": (
        lambda: {"fc._extra_state": ints(torch.uint8, int(torch.randint(200, 900, ())))},
        ["fc._extra_state"],
        "leave it out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_what_has_no_mean_is_refused_by_name_with_what_to_do(case: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, names, remedy = REFUSED[case]
    one, other = ({"w": torch.ones(2)} | make() for _ in range(2))
    for number, model in enumerate([one, other]):
        save(model, tmp_path / f"{number}.safetensors")
    files = [Checkpoint(tmp_path / f"{number}.safetensors") for number in range(2)]
    mean = RunningMean()
    mean.add(one)
    for merge in [
        lambda: average([one, other]),
        lambda: average(files),
        lambda: mean.value(other),
        lambda: mean.add(other),
        lambda: gram([one, other]),
        lambda: Mixer([one, other]),
        lambda: soup.recipes.RECIPES["task"]([soup.Ingredient("a", one, 1)], other),
    ]:
        with pytest.raises(Incompatible) as error:
            merge()
        assert remedy in str(error.value)
        assert all(name in str(error.value) for name in names)
        assert "initialisation" not in str(error.value)
    alone = average([one])
    assert all(torch.equal(bits(alone[n]), bits(one[n])) for n in one)
    twice = average([one, {n: t.clone() for n, t in one.items()}])
    assert all(torch.equal(bits(twice[n]), bits(one[n])) for n in one)


def bits(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in FLOAT8 else tensor


def test_placeholders_of_zero_3_are_no_weights() -> None:
    model = {"fc.weight": torch.empty(0), "fc.bias": torch.empty(0), "norm": torch.ones(3)}
    for models in ([model], [model, model], [{"fc.weight": torch.ones(2, 2)}, model]):
        with pytest.raises(Incompatible, match=r"fc.weight: placeholders.*zero_to_fp32"):
            average(models)
    empty = {"cache": torch.empty(0), "head.weight": torch.empty(0, 4), "head.bias": torch.empty(0)}
    assert average([empty, empty]).keys() == empty.keys()


def test_what_is_no_plain_tensor_is_refused() -> None:
    plain, meta = {"w": torch.ones(2, 2)}, {"w": torch.ones(2, 2, device="meta")}
    for other in (meta, {"w": torch.eye(2).to_sparse()}):
        with pytest.raises(Incompatible, match="model 2 cannot be averaged:\n  w: no dense tensor"):
            average([plain, other])


def test_counters_that_differ_are_said_but_for_those_of_batches() -> None:
    def model(n: int) -> Model:
        return {"bn.num_batches_tracked": torch.tensor(n), "steps": torch.tensor([n])}

    with pytest.warns(MergeWarning) as said:
        assert average([model(3), model(9)])["steps"] == 3
    assert [str(w.message) for w in said] == [
        "steps: integers that differ between the models; the first model's stay"
    ]


def test_dtypes_that_differ_are_said_unless_one_is_given() -> None:
    models = [{"w": torch.ones(1).half()}, {"w": torch.ones(1)}]
    with pytest.warns(MergeWarning, match="dtypes differ: w is torch.float16 in the first"):
        average(models)
    assert average(models, dtype=torch.float64)["w"].dtype == torch.float64


def mean(tensors: list[Tensor]) -> list[Fraction]:
    columns = zip(*(tensor.double().flatten().tolist() for tensor in tensors), strict=True)
    return [sum(map(Fraction, column)) / len(tensors) for column in columns]


@pytest.mark.parametrize("dtype", FLOAT8)
@pytest.mark.parametrize("count", [2, 3, 7])
def test_float8_is_averaged_and_rounded_once(
    dtype: torch.dtype, count: int, tmp_path: Path
) -> None:
    torch.manual_seed(count)
    tensors = [torch.randn(200).mul(20).to(dtype) for _ in range(count)]
    grid = torch.arange(256, dtype=torch.uint8).view(dtype).double()
    grid = grid[grid.isfinite()]
    found = average([{"w": t} for t in tensors])["w"]
    assert found.dtype == dtype
    for value, exact in zip(found.double().tolist(), mean(tensors), strict=True):
        nearest = min(abs(Fraction(x) - exact) for x in grid.tolist())
        assert abs(Fraction(value) - exact) == nearest
    for number, tensor in enumerate(tensors):
        save({"w": tensor}, tmp_path / str(number))
    files = average([Checkpoint(tmp_path / str(n)) for n in range(count)])
    assert torch.equal(files["w"].float(), found.float())


@pytest.mark.parametrize("dtype", FLOAT8)
def test_float8_that_is_too_large_is_an_error_and_no_448(dtype: torch.dtype) -> None:
    model = {"w": torch.tensor([torch.finfo(dtype).max]).to(dtype)}
    assert float(average([model, model])["w"]) == torch.finfo(dtype).max
    with pytest.raises(NotFinite, match=r"w: the result is too large for torch\.float8"):
        combine([(2, model)])
    with pytest.raises(NotFinite, match="too large"):
        cast({"w": torch.tensor([1e6])}, dtype)
    running = RunningMean()
    running.add(model)
    assert not running.value({"w": torch.tensor([math.inf])})["w"].float().isfinite()


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_numbers_are_averaged(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(shape, dtype=dtype).conj() for _ in range(3)]
    found = average([{"w": tensor} for tensor in tensors])["w"]
    wanted = torch.stack([t.to(torch.complex128) for t in tensors]).mean(dim=0).to(dtype)
    torch.testing.assert_close(found, wanted, rtol=2e-7, atol=0)
    running = RunningMean()
    running.add({"w": tensors[0]})
    running.add({"w": tensors[1]})
    assert torch.equal(running.value({"w": tensors[2]})["w"], found)
    products = gram([{"w": tensor} for tensor in tensors])["w"]
    inner = (tensors[0].conj() * tensors[1]).sum().real
    torch.testing.assert_close(products[0, 1], inner.double(), rtol=1e-5, atol=1e-12)


def test_a_complex_tensor_and_a_real_one_are_not_alike() -> None:
    with pytest.raises(Incompatible, match=r"w is torch\.complex64 in the first"):
        average([{"w": torch.ones(1, dtype=torch.complex64)}, {"w": torch.ones(1)}])


def test_complex_numbers_come_from_files_in_parts(tmp_path: Path) -> None:
    tensors = [torch.randn(70_001, dtype=torch.complex64) for _ in range(2)]
    for number, tensor in enumerate(tensors):
        save({"w": tensor, "v": torch.ones(3)}, tmp_path / str(number))
    save(average([Checkpoint(tmp_path / str(n)) for n in range(2)]), tmp_path / "out")
    wanted = (tensors[0].to(torch.complex128) + tensors[1].to(torch.complex128)) / 2
    assert torch.equal(Checkpoint(tmp_path / "out")["w"], wanted.to(torch.complex64))


def test_the_parts_of_kinds_are_not_seen_where_they_are_not() -> None:
    plain = [
        "text.logit_scale", "layer_scale.gamma", "soft_mask.weight", "lora.weight", "w_g", "b_v",
        "relative_position_bias_table", "u", "mask_token", "floor_a", "encoder.original.weight",
    ]  # fmt: skip
    tensors = specs({name: torch.ones(2, 2) for name in plain})
    assert {kind_of(name, tensors).name for name in plain} == {"real numbers"}


def test_every_kind_is_in_the_table_of_the_docs() -> None:
    text = (REPO / "docs" / "checkpoints.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    for kind in KINDS:
        assert (kind.name, kind.recognized, kind.becomes) in rows
