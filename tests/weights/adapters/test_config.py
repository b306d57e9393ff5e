"""Settings that change what an adapter computes are honoured, or refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from soup.errors import BadInput
from soup.weights.adapters import Adapter, require_one_base
from soup.weights.adapters.config import HARMLESS, OTHERS, READ, UNMERGEABLE, read_config

FACTORS = {
    "base_model.model.q.lora_A.weight": torch.ones(4, 6),
    "base_model.model.q.lora_B.weight": torch.ones(5, 4),
}
PLAIN = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


def put(folder: Path, values: object, tensors: dict[str, torch.Tensor] = FACTORS) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(values))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown type": ({"peft_type": "LORA_3000"}, "peft_type 'LORA_3000' is not known"),
    "no type": ({"peft_type": None}, "peft_type None is not known"),
    "prompts": ({"peft_type": "PREFIX_TUNING"}, "changes no weights of the base"),
    "another method": ({"peft_type": "OFT"}, "'OFT' is not averaged here.*merge_and_unload"),
    "a base without a part": (
        {"init_lora_weights": "pissa_niter_4"},
        "'pissa_niter_4' took a part",
    ),
    "layers twice": ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
    "parameters": ({"target_parameters": ["experts.weight"]}, "target_parameters"),
    "biases of factors": ({"lora_bias": True}, r"lora_bias \(True\)"),
    "tokens": ({"trainable_token_indices": [3]}, "trainable_token_indices"),
    "after some tokens": ({"alora_invocation_tokens": [3]}, "alora_invocation_tokens"),
    "a setting of next year": ({"use_wonder": True}, "use_wonder"),
    "a rank of nothing": ({"r": 0}, "a rank is '0'"),
    "a word for alpha": ({"lora_alpha": "8"}, "an alpha is"),
    "no table": ({"rank_pattern": [1]}, "rank_pattern is no table"),
    "a pattern that repeats": ({"rank_pattern": {"(a.*)*b": 2}}, "at most one"),
}


@pytest.mark.parametrize(("values", "words"), REFUSED.values(), ids=REFUSED)
def test_a_setting_is_refused_by_name(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    put(tmp_path, {**PLAIN, **values})
    with pytest.raises(BadInput, match=words) as raised:
        Adapter.open(str(tmp_path))
    assert str(tmp_path) in str(raised.value)


FILES: dict[str, tuple[Callable[[], dict[str, torch.Tensor]], str]] = {
    "A without B": (lambda: {"m.q.lora_A.weight": torch.ones(4, 6)}, "q has lora_A, and not one A"),
    "another rank": (
        lambda: {"q.lora_A.weight": torch.ones(3, 6), "q.lora_B.weight": torch.ones(5, 3)},
        "says rank 4",
    ),
    "lengths without DoRA": (
        lambda: {**FACTORS, "base_model.model.q.lora_magnitude_vector": torch.ones(5)},
        "q has a magnitude, and use_dora is False",
    ),
    "factors of another method": (
        lambda: {**FACTORS, "m.q.hada_w1_a": torch.ones(4, 4)},
        "hada_w1_a",
    ),
    "integers": (
        lambda: {n: t.to(torch.int8) for n, t in FACTORS.items()},
        "no matrices of real numbers",
    ),
}


@pytest.mark.parametrize(("tensors", "words"), FILES.values(), ids=FILES)
def test_tensors_that_are_no_factors_are_named(
    tmp_path: Path, tensors: Callable[[], dict[str, torch.Tensor]], words: str
) -> None:
    put(tmp_path, PLAIN, tensors())
    with pytest.raises(BadInput, match=words):
        Adapter.open(str(tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        "prompt_embeddings", "base_model.model.h.0.adaption_prompt", "h.0.adaption_gate",
        "base_model.model.q.hada_w2_b", "q.hada_t1", "q.lokr_w1", "q.lokr_w2_a", "q.ia3_l",
        "base_model.vera_A", "q.vera_lambda_d", "q.oft_R.weight", "q.boft_s", "q.lora_E",
        "words.token_adapter.trainable_tokens_delta", "q.lora_mid.default.weight",
    ],
)  # fmt: skip
def test_what_other_methods_write_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, PLAIN, FACTORS | {name: torch.ones(5)})
    with pytest.raises(BadInput, match=rf"{name}: no factors of LoRA that are read here"):
        Adapter.open(str(tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        "prompt_encoder.weight", "encoder.prompt_encoder.layers.0.bias", "prompt_embeddings.bias",
        "adaption_layer.weight", "oft_head.weight", "ia3_net.0.weight", "vera_proj.bias",
    ],
)  # fmt: skip
def test_a_module_that_is_called_as_a_method_begins_is_one_of_the_model(
    tmp_path: Path, name: str
) -> None:
    saved = {"modules_to_save": [name.split(".", maxsplit=1)[0]]}
    put(tmp_path, PLAIN | saved, FACTORS | {f"base_model.model.{name}": torch.ones(5)})
    assert Adapter.open(str(tmp_path)).whole == {name: f"base_model.model.{name}"}


def test_damaged_settings_and_pickles_are_named(tmp_path: Path) -> None:
    put(tmp_path, PLAIN)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(BadInput, match=r"soup import .*adapter_model\.bin --out"):
        Adapter.open(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("[1]")
    with pytest.raises(BadInput, match="not the settings of an adapter"):
        Adapter.open(str(tmp_path))


def test_a_module_has_the_rank_and_scale_that_peft_gives_it(tmp_path: Path) -> None:
    values = {**PLAIN, "rank_pattern": {"q": 2, "a.q": 16}, "alpha_pattern": {"k|v": 3}}
    config = read_config(put(tmp_path, values))
    assert [config.rank(m) for m in ("a.q", "q", "a.xq", "k")] == [
        2,
        2,
        4,
        4,
    ]  # the first that fits
    assert [config.scaling(m) for m in ("a.q", "b.v", "o")] == [4, 3 / 4, 2]


def test_adapters_of_two_bases_are_both_named(tmp_path: Path) -> None:
    for name, base in (("a", "org/one"), ("b", "org/one"), ("c", "org/two"), ("d", None)):
        put(tmp_path / name, {**PLAIN, "base_model_name_or_path": base})
    folders = [str(tmp_path / name) for name in "abdc"]
    require_one_base(folders[:3])
    with pytest.raises(
        BadInput, match=r"a and .*c are adapters of different bases, org/one and org/two"
    ):
        require_one_base(folders)


def test_every_setting_and_method_of_peft_is_known_or_refused() -> None:
    peft = pytest.importorskip("peft")
    refused = {
        "layer_replication", "target_parameters", "lora_bias", "trainable_token_indices",
        "alora_invocation_tokens", "use_qalora", "use_bdlora", "monteclora_config", "arrow_config",
        "kasa_config", "velora_config", "ensure_weight_tying",
    }  # fmt: skip
    assert set(peft.LoraConfig().to_dict()) <= HARMLESS | READ | refused
    assert {kind.value for kind in peft.PeftType} <= OTHERS | UNMERGEABLE | {"LORA"}
