"""What the description of a text model may hold: a configuration of a network, and a tokenizer.

`soup.models.arguments` does the same for image models. A configuration of transformers can also
name code, kernels, other files, a packing of weights and devices; all these are refused.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from soup import limits
from soup.errors import some
from soup.models.arguments import wrong_value

# The supported architectures. Others may need their own code, or inputs that this project does not
# give.
KINDS = (
    "albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "modernbert",
    "mpnet", "roberta", "t5", "xlm-roberta",
)  # fmt: skip
REFUSED = re.compile(
    r"auto_map|quantization_config|custom_pipelines|trust_remote_code|device_map|compression_config"
    r"|base_model_\w+_plan|_?\w*_implementation(_internal)?|_name_or_path|use_kernels?|adapter_\w+"
)
FILES = re.compile(r"(?!config|model)[a-z_]+\.json")  # the files of a tokenizer


def unfit_kind(config: Mapping[str, Any]) -> str:
    """Why the kind of model of a configuration is not supported; '' if it is."""
    kind = config.get("model_type")
    if kind in KINDS:
        return ""
    return (
        f"config.json is of a model of type {str(kind)[:50]!r}; text classifiers of "
        f"{', '.join(KINDS)} are supported"
    )


def unfit_text(fields: Mapping[str, Any]) -> str:
    """Why the description of a text model is refused; '' if it is allowed.

    Args:
        fields: some or all fields of an `Architecture`.
    """
    config = fields.get("config")
    problems = [f"kwargs.{name[:50]} is of images" for name in fields.get("kwargs") or {}]
    if config is not None:
        kind = unfit_kind(config)
        problems += [kind] if kind else [*_unfit(config, "config")]
    strange = [name for name in fields.get("tokenizer") or {} if not FILES.fullmatch(name)]
    problems += [f"no file of a tokenizer is named {name[:50]!r}" for name in strange[:5]]
    length = fields.get("max_length", 1)
    if not 0 < length <= limits.WIDTH:
        problems.append(f"max_length {length} is not within 1 to {limits.WIDTH}")
    prompt = fields.get("prompt", "")
    if prompt and ("{text}" not in prompt or len(prompt) > limits.TEXT):
        problems.append(f"prompt {prompt[:50]!r} has no {{text}}, or is longer than {limits.TEXT}")
    return some(problems, 5, "; ")


def _unfit(values: Mapping[str, Any], where: str) -> Iterator[str]:
    for name, value in values.items():
        place = f"{where}.{str(name)[:50]}"
        if REFUSED.fullmatch(str(name)) and value:
            yield f"{place} names code, files or devices, not the shape of a network"
        elif name in ("id2label", "label2id"):
            continue  # class names may have any characters, and are not read from here
        elif isinstance(value, Mapping):
            yield from _unfit(value, place)
        elif reason := wrong_value(str(name), value):
            yield f"{place} {reason}"
