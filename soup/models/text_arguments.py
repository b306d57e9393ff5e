"""What a description of a text model may hold: a configuration that shapes a network, a tokenizer.

`soup.models.arguments` says the same of models of images. A configuration of transformers may also
name code, kernels and files elsewhere, how weights are packed, and where tensors are.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from soup import limits
from soup.errors import some
from soup.models.arguments import wrong_value

# Architectures that this project has tried. Others may need code of their own, or inputs that are
# not told here.
KINDS = (
    "albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "modernbert",
    "mpnet", "roberta", "t5", "xlm-roberta",
)  # fmt: skip
REFUSED = re.compile(
    r"auto_map|quantization_config|custom_pipelines|trust_remote_code|device_map|compression_config"
    r"|base_model_\w+_plan|_?\w*_implementation(_internal)?|_name_or_path|use_kernels?|adapter_\w+"
)
FILES = re.compile(r"(?!config|model)[a-z_]+\.json")  # of a tokenizer


def _unfit_kind(config: Mapping[str, Any]) -> str:
    """Why a configuration is not of a model that is supported; '' if it is."""
    kind = config.get("model_type")
    if kind in KINDS:
        return ""
    return (
        f"config.json is of a model of type {str(kind)[:50]!r}; text classifiers of "
        f"{', '.join(KINDS)} are supported"
    )


def unfit_text(fields: Mapping[str, Any]) -> str:
    """What a description of a text model may not hold; '' if there is nothing.

    Args:
        fields: some or all fields of an `Architecture`.
    """
    config = fields.get("config")
    problems = [f"kwargs.{name[:50]} is of images" for name in fields.get("kwargs") or {}]
    if config is not None:
        kind = _unfit_kind(config)
        problems += [kind] if kind else [*_unfit(config, "config")]
    strange = [name for name in fields.get("tokenizer") or {} if not FILES.fullmatch(name)]
    problems += [f"no file of a tokenizer is named {name[:50]!r}" for name in strange[:5]]
    length = fields.get("max_length", 1)
    if not 0 < length <= limits.WIDTH:
        problems.append(f"max_length {length} is not within 1 to {limits.WIDTH}")
    return some(problems, 5, "; ")


def _unfit(values: Mapping[str, Any], where: str) -> Iterator[str]:
    for name, value in values.items():
        place = f"{where}.{str(name)[:50]}"
        if REFUSED.fullmatch(str(name)) and value:
            yield f"{place} names code, files or devices, not the shape of a network"
        elif name in ("id2label", "label2id"):
            continue  # class names, of any characters, which are not read from here
        elif isinstance(value, Mapping):
            yield from _unfit(value, place)
        elif reason := wrong_value(str(name), value):
            yield f"{place} {reason}"
