"""The settings of an adapter, from PEFT's adapter_config.json: scaling, and what is not supported.

A setting that changes what an adapter computes, and is not known here, is refused by its name: an
average that ignores it would be wrong without a word.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from soup.errors import some
from soup.files import BadJson, read_json
from soup.weights.shards import CheckpointError

Number = TypeVar("Number", int, float)
CONFIG_FILE = "adapter_config.json"
MERGE = "merge it by PEFT (model.merge_and_unload(), save_pretrained), and average whole models"
# Methods of PEFT that teach the model by added inputs or layers, so that no weights can be merged.
UNMERGEABLE = frozenset({
    "PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT",
    "CPT", "CARTRIDGE", "POLY", "XLORA",
})  # fmt: skip
# Methods whose changes PEFT itself merges.
OTHERS = frozenset({
    "ADALORA", "BOFT", "OFT", "HRA", "VERA", "PVERA", "FOURIERFT", "LN_TUNING", "VBLORA",
    "RANDLORA", "HIRA", "SHIRA", "C3A", "WAVEFT", "MISS", "BONE", "ROAD", "DELORA", "GRALORA",
    "IA3", "LOHA", "LOKR", "TRAINABLE_TOKENS", "OSF", "GLORA", "LILY", "BEFT", "FROD", "UNILORA",
    "TINYLORA",
    "PSOFT", "PEANUT", "SHADOW", "SUPERTUNING", "DEFT", "ADAMSS",
})  # fmt: skip
# Settings of LoRA that change nothing of what a finished adapter computes.
HARMLESS = frozenset({
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
    "inference_mode", "target_modules", "exclude_modules", "lora_dropout", "layers_to_transform",
    "layers_pattern", "megatron_config", "megatron_core", "loftq_config", "eva_config",
    "corda_config", "lora_ga_config", "runtime_config", "qalora_group_size",
})  # fmt: skip
# Those that are read here; any other that is set is refused.
READ = frozenset({
    "peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora",
    "fan_in_fan_out", "bias", "modules_to_save", "init_lora_weights",
})  # fmt: skip
# Ways to initialise that leave the base's weights as they are; others take a part out of them.
PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "true", "false")


@dataclass(frozen=True)
class AdapterConfig:
    """The settings of a LoRA adapter.

    Attributes:
        r: the rank, for modules that `rank_pattern` does not name.
        alpha: `lora_alpha`, for modules that `alpha_pattern` does not name.
        rank_pattern, alpha_pattern: pattern of a module's name -> its own rank, or alpha.
        rslora: whether a change is scaled by alpha / sqrt(r) instead of alpha / r.
        dora: whether the length of each row is learned apart (DoRA).
        transposed: `fan_in_fan_out`: whether layers hold their weights as (in, out).
        base: the name or path of the base that the adapter was trained on; '' if none is given.
        values: all that the file says.
    """

    r: int = 8
    alpha: float = 8.0
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    rslora: bool = False
    dora: bool = False
    transposed: bool = False
    base: str = ""
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def rank(self, module: str) -> int:
        """The rank of a module's change."""
        return _of_pattern(self.rank_pattern, module, self.r)

    def scaling(self, module: str) -> float:
        """The factor of a module's B A."""
        alpha, rank = _of_pattern(self.alpha_pattern, module, self.alpha), self.rank(module)
        return alpha / (math.sqrt(rank) if self.rslora else rank)


def _of_pattern(patterns: Mapping[str, Number], module: str, default: Number) -> Number:
    """The value of the first pattern that fits the end of a module's name, as PEFT matches them."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def read_config(folder: Path) -> AdapterConfig:
    """Read the settings of an adapter.

    Raises:
        CheckpointError: the file cannot be read, or the adapter is of a kind or has settings that
            are not supported; all of those are named.
    """
    path = folder / CONFIG_FILE
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise BadJson("no JSON object")
    except (OSError, BadJson) as error:
        raise CheckpointError(f"{path}: not the settings of an adapter: {error}") from None
    _require_lora(path, values)
    _require_known(path, values)
    try:
        config = AdapterConfig(
            r=_whole(values.get("r", 8)),
            alpha=_number(values.get("lora_alpha", 8)),
            rank_pattern={_pattern(k): _whole(v) for k, v in _table(values, "rank_pattern")},
            alpha_pattern={_pattern(k): _number(v) for k, v in _table(values, "alpha_pattern")},
            rslora=bool(values.get("use_rslora")),
            dora=bool(values.get("use_dora")),
            transposed=bool(values.get("fan_in_fan_out")),
            base=named(values),
            values=values,
        )
    except (TypeError, ValueError, re.error) as error:
        raise CheckpointError(f"{path}: {error}") from None
    return config


def named(values: Mapping[str, Any]) -> str:
    """The base that an adapter says it was trained on, with its revision; '' if it says none."""
    base, revision = values.get("base_model_name_or_path"), values.get("revision")
    if not isinstance(base, str) or not base:
        return ""
    return f"{base} at {revision}" if revision not in (None, "", "main") else base


def _require_lora(path: Path, values: Mapping[str, Any]) -> None:
    kind = values.get("peft_type")
    if kind == "LORA":
        return
    title = f"{path}: peft_type {kind!r}"
    if not isinstance(kind, str) or kind not in OTHERS | UNMERGEABLE:
        raise CheckpointError(
            f"{title} is not known; LORA is, with rsLoRA and DoRA. If it is a newer method: {MERGE}"
        )
    if kind in UNMERGEABLE:
        raise CheckpointError(
            f"{title} changes no weights of the base (it adds inputs or layers), so that there is "
            "no mean of such models; combine their predictions instead"
        )
    raise CheckpointError(f"{title} is not averaged here, LORA is; {MERGE}")


def _require_known(path: Path, values: Mapping[str, Any]) -> None:
    problems = []
    start = values.get("init_lora_weights", True)
    if not str(start).lower().startswith(PLAIN_STARTS) and start is not None:
        problems.append(
            f"init_lora_weights {start!r} took a part out of the base's weights (save the adapter "
            "with path_initial_model_for_weight_conversion, which makes it a plain one)"
        )
    unknown = [
        f"{key} ({str(value)[:60]})"
        for key, value in values.items()
        if key not in HARMLESS | READ and value not in (None, False, [], {}, "", 0)
    ]
    if unknown:
        problems.append(f"what these settings compute is not supported: {some(unknown, 8)}")
    if problems:
        raise CheckpointError(f"{path}: {'; '.join(problems)}; {MERGE}")


def _whole(value: object) -> int:
    if type(value) is not int or not 1 <= value <= 1 << 20:
        raise ValueError(f"a rank is {str(value)[:40]!r}, and no whole number from 1 on")
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError(f"an alpha is {str(value)[:40]!r}, and no number")
    return float(value)  # type: ignore[arg-type]


def _table(values: Mapping[str, Any], key: str) -> list[tuple[str, object]]:
    table = values.get(key) or {}
    if not isinstance(table, dict):
        raise ValueError(f"{key} is no table of modules")
    return [*table.items()]


# A pattern comes from somebody else's file: one that repeats a repetition may take for ever.
PATTERN = re.compile(r"[\w.\\^$|()\[\]-]*(?:\.\*|\\d\+)?[\w.\\^$|()\[\]-]*")
LONGEST_PATTERN = 200


def _pattern(text: str) -> str:
    if len(text) > LONGEST_PATTERN or not PATTERN.fullmatch(text):
        raise ValueError(
            f"the pattern {text[:60]!r} of modules is none that is read: names of at most "
            f"{LONGEST_PATTERN} characters, with at most one .* or \\d+"
        )
    re.compile(text)
    return text
