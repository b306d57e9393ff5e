"""What a checkpoint says of its model: in its metadata, in a file beside it, or as timm trained it.

All of it is brought to the fields of `Architecture`, of which any may be missing.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from soup.files import BadJson, read_bytes, read_json
from soup.models.architecture import DESCRIPTION_FILE, ModelError, fields_of, known_fields
from soup.weights.checkpoint import Checkpoint

NOTE = "architecture"  # key in the metadata of weights files: the JSON of some or all fields
TIMM_FILE = "config.json"  # of timm's save_for_hf; other libraries have files of this name too


# What odd types in a configuration of timm raise, where it is brought to our fields.
DAMAGE = (OSError, ValueError, AttributeError, TypeError, KeyError, OverflowError)


class Stored(NamedTuple):
    """Fields of `Architecture` by name, and where they were read."""

    fields: Mapping[str, Any] = {}
    source: str = ""


def note(fields: Mapping[str, Any]) -> str:
    """The text of `NOTE` for the metadata of a weights file."""
    return json.dumps(dict(fields), sort_keys=True)


def stored(weights: Checkpoint) -> Stored:
    """What a checkpoint says of its model; nothing if it says nothing.

    Raises:
        ModelError: a description is damaged; the message names the file.
    """
    if NOTE in weights.metadata:
        return Stored(fields_of(weights.metadata[NOTE], weights.path), "in the file")
    return beside(Path(weights.files[0]).parent)


def beside(folder: Path) -> Stored:
    """What a folder of weights says of its model: our model.json, or timm's config.json.

    Raises:
        ModelError: a description is damaged; the message names the file.
    """
    if (folder / DESCRIPTION_FILE).is_file():
        return Stored(read(folder / DESCRIPTION_FILE), DESCRIPTION_FILE)
    if not (folder / TIMM_FILE).is_file():
        return Stored()
    try:
        config = read_json(folder / TIMM_FILE)
        fields = of_timm_config(config) if isinstance(config.get("architecture"), str) else {}
    except ModelError as error:
        raise ModelError(f"{folder / TIMM_FILE}: {error}") from None
    except DAMAGE as error:
        raise ModelError(f"{folder / TIMM_FILE} is not what timm writes: {error}") from None
    if not fields:
        return Stored()
    return Stored(known_fields(fields, str(folder / TIMM_FILE)), f"timm's {TIMM_FILE}")


def read(path: Path) -> Mapping[str, Any]:
    """The fields in a model.json.

    Raises:
        ModelError: it cannot be read, or is no JSON of such fields.
    """
    try:
        return fields_of(read_bytes(path), str(path))
    except (OSError, BadJson) as error:
        raise ModelError(f"{path} does not describe a model: {error}") from None


def of_timm_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in the config.json of `timm.models.save_for_hf`.

    Raises:
        ModelError: the input is not square.
        AttributeError, KeyError, TypeError: it is no such file.
    """
    inner = config.get("pretrained_cfg") or config  # at the top in files of old versions of timm
    kwargs = dict(config.get("model_args") or {})
    if isinstance(config.get("global_pool"), str):
        kwargs.setdefault("global_pool", config["global_pool"])
    fields = {"library": "timm", "model": config["architecture"], "kwargs": kwargs}
    names = config.get("label_names") or inner.get("label_names")
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    if names and len(names) == config.get("num_classes", len(names)):
        fields["classes"] = tuple(map(str, names))
    return fields | _input(inner)


def of_timm_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in the command line of timm's train.py, which its checkpoints hold as `args`.

    Raises:
        ModelError: the input is not square.
    """
    kwargs = dict(arguments.get("model_kwargs") or {})
    if arguments.get("gp"):
        kwargs.setdefault("global_pool", arguments["gp"])
    fields = {"library": "timm", "model": arguments["model"], "kwargs": kwargs}
    return fields | _input(arguments)


def _input(config: Mapping[str, Any]) -> dict[str, Any]:
    """The preprocessing in a configuration of timm, which `timm.data.resolve_data_config` reads."""
    fields: dict[str, Any] = {}
    if config.get("input_size"):
        _, height, width = map(int, config["input_size"])
        if height != width:
            raise ModelError(
                f"the model takes images of {width} x {height}, and only square ones are supported"
            )
        fields["image_size"] = int(height)
    elif config.get("img_size"):
        fields["image_size"] = int(config["img_size"])
    for name in ("mean", "std"):
        if config.get(name):
            values = tuple(map(float, config[name]))
            fields[name] = values * 3 if len(values) == 1 else values
    for name in ("interpolation", "crop_pct", "crop_mode"):
        if config.get(name):
            fields[name] = config[name]
    return fields
