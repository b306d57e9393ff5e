"""The folder of a whole CLIP, which `open_clip.create_model_and_transforms("local-dir:...")` opens.

A classifier of this project is an image tower and a head, and open_clip opens only a CLIP with both
towers, whose file has no other tensors. So the folder has a second file: the classifier's image
tower beside the text tower of the base, which fine-tuning leaves as it was.
"""

import json
from copy import deepcopy
from pathlib import Path
from shutil import copyfile
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from soup.files import atomic_write, write_text
from soup.models.architecture import Architecture
from soup.models.clip_models import CROPS
from soup.models.clip_towers import registered_name
from soup.weights import Weights, specs
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.mapping import LazyWeights

CONFIG_FILE = "open_clip_config.json"
FILE = "open_clip_model.safetensors"
IMAGE_TOWER = "visual."  # how the names of its tensors begin
RESIZES = {crop: resize for resize, crop in CROPS.items()}
# open_clip's tokenizers of other text towers than its own, as transformers writes them.
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def save_whole(whole: nn.Module, name: str, architecture: Architecture, folder: Path) -> str:
    """Write a CLIP into a folder.

    Args:
        whole: the model of open_clip, with both towers.
        name: of the model in open_clip.
        architecture: of the classifier with its image tower; says how an image is prepared.
        folder: gets the configuration, the weights and the tokenizer's files.

    Returns:
        Why open_clip cannot open the folder, in which case nothing is written; '' if it can.
    """
    config = _model_config(name, architecture)
    if tensor := _other_shape(config, whole):
        return f"of its configuration open_clip makes a model with another {tensor}"
    preprocessing = {
        "mean": architecture.mean,
        "std": architecture.std,
        "interpolation": architecture.interpolation,
        "resize_mode": RESIZES[architecture.crop_mode],
    }
    values = {"model_cfg": config, "preprocess_cfg": preprocessing}
    folder.mkdir(parents=True, exist_ok=True)
    if "hf_tokenizer_name" in config["text_cfg"]:
        open_clip.get_tokenizer(name).save_pretrained(folder)
    write_text(folder / CONFIG_FILE, json.dumps(values, indent=2) + "\n")
    save(whole.state_dict(), folder / FILE)
    return ""


def with_text_tower(classifier: Weights, base: Path, folder: Path) -> bool:
    """Write the CLIP of a classifier's image tower and the base's text tower into a folder.

    Args:
        classifier: the weights of a fine-tuned classifier or of a soup of them.
        base: a folder that `save_whole` wrote, or any folder that open_clip opens.
        folder: gets the files.

    Returns:
        Whether it was written; the base may have no text tower.
    """
    remove(folder)
    if not (base / FILE).is_file() or not (base / CONFIG_FILE).is_file():
        return False
    kept = Checkpoint(base / FILE)
    tower = {name for name in kept if name.startswith(IMAGE_TOWER)}
    if tower != {name for name in classifier if name.startswith(IMAGE_TOWER)}:
        return False
    save(_Whole(classifier, kept), folder / FILE)
    for name in (CONFIG_FILE, *TOKENIZER):
        if (base / name).is_file():
            with atomic_write(folder / name) as temporary:
                copyfile(base / name, temporary)
    return True


def remove(folder: Path) -> None:
    """Delete what was written for open_clip; a text tower of an earlier base would not fit."""
    for name in (FILE, CONFIG_FILE):
        (folder / name).unlink(missing_ok=True)


class _Whole(LazyWeights):
    """A classifier's image tower and the rest of a CLIP; a tensor is read when it is written."""

    def __init__(self, classifier: Weights, clip: Checkpoint) -> None:
        self._classifier, self._clip = classifier, clip
        towers = {n: s for n, s in specs(classifier).items() if n.startswith(IMAGE_TOWER)}
        self.specs = {**clip.specs, **towers}

    def __getitem__(self, name: str) -> Tensor:
        return (self._classifier if name.startswith(IMAGE_TOWER) else self._clip)[name]


def _model_config(name: str, architecture: Architecture) -> dict[str, Any]:
    """The configuration of the whole model, with that of the image tower as it was built."""
    config = deepcopy(open_clip.get_model_config(registered_name(name)))
    tower, given = architecture.config, config["vision_cfg"]
    vision = {key: value for key, value in tower["vision_cfg"].items() if key != "output_tokens"}
    vision |= {"output_tokens": given["output_tokens"]} if "output_tokens" in given else {}
    config |= {"embed_dim": tower["embed_dim"], "vision_cfg": vision}
    return config | ({"quick_gelu": True} if tower["quick_gelu"] else {})


def _other_shape(config: dict[str, Any], whole: nn.Module) -> str:
    """A tensor that the model of a configuration has in another shape than a CLIP; '' if none.

    There are such where a tower of timm takes images of another size than its own.
    """
    plain = deepcopy(config)
    plain.pop("custom_text", None)
    plain["vision_cfg"].pop("timm_model_pretrained", None)
    if "hf_model_name" in plain["text_cfg"]:
        plain["text_cfg"]["hf_model_pretrained"] = False
    with torch.device("meta"):
        made = type(whole)(**plain).state_dict()
    have = {name: tensor.shape for name, tensor in whole.state_dict().items()}
    shapes = {name: tensor.shape for name, tensor in made.items()}
    return next((n for n in {**have, **shapes} if have.get(n) != shapes.get(n)), "")
