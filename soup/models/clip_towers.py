"""The image towers of open_clip's models: their configuration, and building one without text."""

from collections.abc import Mapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
from open_clip.factory import _get_hf_config
from open_clip.model import _build_vision_tower
from torch import nn

from soup.files import read_json
from soup.models.architecture import ModelError

SCHEMAS = ("hf-hub:", "local-dir:")
NEEDED = ("embed_dim", "vision_cfg", "text_cfg")


def registered_name(name: str) -> str:
    """The name of a model in open_clip; a config file is first registered there by its stem.

    Args:
        name: a name in open_clip, with or without a schema ('hf-hub:', 'local-dir:'), or the path
            of a config file.

    Raises:
        ModelError: the name is unknown, or the file is missing or is no config of open_clip.
    """
    path = Path(name)
    if name.startswith(SCHEMAS):
        return name
    if path.suffix == ".json":
        lacking = [key for key in NEEDED if key not in _read(path)]
        if lacking:
            raise ModelError(
                f"base.model: {name} is no model config of open_clip: it lacks "
                f"{', '.join(lacking)}; for a folder with an open_clip_config.json give "
                "local-dir:FOLDER"
            )
        open_clip.add_model_config(path)
        return path.stem
    if name not in open_clip.list_models():
        near = get_close_matches(name, open_clip.list_models(), n=5)
        raise ModelError(
            f"base.model: open_clip does not know {name!r}; near: {', '.join(near) or 'none'}"
        )
    return name


def folder_config(name: str) -> Mapping[str, Any]:
    """The open_clip_config.json of a model whose name has a schema ('hf-hub:', 'local-dir:')."""
    schema, place = name.split(":", 1)
    if schema == "hf-hub":
        fetched: Mapping[str, Any] = _get_hf_config(place)
        return fetched
    return _read(Path(place) / "open_clip_config.json")


def tower_config(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a model's image tower, as values that JSON can hold.

    The keys embed_dim, quick_gelu and vision_cfg are as in open_clip; input_size is an image size
    other than the default of a timm tower, or None.

    Args:
        name: of the model.
        kwargs: of open_clip.create_model; those that change the image tower are applied.
    """
    config = deepcopy(open_clip.get_model_config(registered_name(name)))
    config |= {
        key: kwargs[key] for key in ("embed_dim", "quick_gelu", "vision_cfg") if key in kwargs
    }
    vision = dict(config["vision_cfg"])
    for key, option in (
        ("image_size", "force_image_size"),
        ("patch_dropout", "force_patch_dropout"),
    ):
        if kwargs.get(option) is not None:
            vision[key] = kwargs[option]
    vision["output_tokens"] = False  # CoCa's towers would return tokens besides the features
    vision.pop("timm_model_pretrained", None)
    quick = bool(config.get("quick_gelu") or kwargs.get("force_quick_gelu"))
    return {
        "embed_dim": config["embed_dim"],
        "quick_gelu": quick,
        "vision_cfg": vision,
        "input_size": kwargs.get("force_image_size") if "timm_model_name" in vision else None,
    }


def build_tower(config: Mapping[str, Any]) -> nn.Module:
    """An image tower with random weights; nothing is fetched.

    Args:
        config: the result of `tower_config`.

    Raises:
        ModelError: open_clip or timm does not take the configuration.
    """
    vision = {k: v for k, v in config["vision_cfg"].items() if k != "timm_model_pretrained"}
    try:
        tower: Any = _build_vision_tower(
            config["embed_dim"], vision, config.get("quick_gelu", False)
        )
        if config.get("input_size") is not None:
            tower.set_input_size(config["input_size"])
    except Exception as error:  # open_clip and timm raise many kinds; all mean the same here
        raise ModelError(
            f"open_clip cannot build an image tower of {dict(config)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    built: nn.Module = tower
    return built


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ModelError(f"base.model: {path} is not a file")
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"base.model: {path} cannot be read: {error}") from None
    return config if isinstance(config, dict) else {}
