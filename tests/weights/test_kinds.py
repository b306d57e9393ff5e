"""What becomes of each kind of tensor: averaged, the first model's, or refused by name."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import soup
from soup.weights import Incompatible, MergeWarning, average, gram
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.kinds import BECOMES, KINDS, kind_of
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
        "dequantise",
    ),
    "a scale beside float8": (
        lambda: {"fc.weight": float8(4, 4), "fc.scale_weight": torch.rand(())},
        ["fc.scale_weight"],
        "dequantise",
    ),
    "a scale of a tensor": (
        lambda: {"fc.weight": float8(4, 4), "fc.weight.absmax": torch.rand(4)},
        ["fc.weight.absmax"],
        "dequantise",
    ),
    "a scale under the module's name": (
        lambda: {"w1.weight": float8(4, 4), "w1_scale": torch.rand(4)}, ["w1_scale"], "dequantise",
    ),
    "spectral norm of BigGAN": (
        lambda: {f"conv.{n}": torch.randn(1, 3) for n in ("u0", "sv0")}, ["conv.u0"], "spectral",
    ),
    "spectral norm with a bar": (
        lambda: {f"conv.weight_{n}": torch.randn(3) for n in ("bar", "u", "v")},
        ["conv.weight_bar", "conv.weight_u", "conv.weight_v"],
        "spectral",
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
        "soup cook --base BASE A B",
    ),
    "diffusers": (
        lambda: {f"q_lora.{f}.weight": torch.randn(2, 2) for f in ("down", "up")},
        ["q_lora.down.weight"],
        "soup cook --base BASE A B",
    ),
    "LoHa": (
        lambda: {f"q.hada_w{i}_{f}": torch.randn(2, 2) for i in "12" for f in "ab"},
        ["q.hada_w1_a", "q.hada_w2_b"],
        "soup cook --base BASE A B",
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


def test_the_parts_of_kinds_are_not_seen_where_they_are_not() -> None:
    plain = [
        "text.logit_scale", "layer_scale.gamma",
        "soft_mask.weight", "attn.u0", "q_bar", "scale_shift_table",
        "lora.weight", "w_g", "b_v",
        "relative_position_bias_table", "u", "mask_token", "floor_a", "encoder.original.weight",
    ]  # fmt: skip
    tensors = specs({name: torch.ones(2, 2) for name in plain})
    assert {kind_of(name, tensors).name for name in plain} == {"real numbers"}


def test_every_kind_is_in_the_table_of_the_docs() -> None:
    text = (REPO / "docs" / "checkpoints.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    for kind in KINDS:
        assert (kind.name, kind.recognized, BECOMES[kind.rule]) in rows
