"""The `config.json` by which timm opens a folder: `timm.create_model("local-dir:FOLDER")`."""

import json
import tempfile
from pathlib import Path

from timm.models._hub import save_config_for_hf

from soup.files import read_json
from soup.models.architecture import Architecture
from soup.models.building import outline_of

# What timm says of the weights that it has for a model of this name, which are not these weights.
ORIGINAL = (
    "tag", "license", "origin_url", "paper_ids", "paper_name", "notes", "label_names",
    "label_descriptions", "test_input_size", "test_pool_size", "test_crop_pct",
)  # fmt: skip


def library_files(architecture: Architecture) -> dict[str, str]:
    """Name -> content of timm's configuration of a model, written by timm.

    It holds the arguments of the network, the class names, and how an image becomes the input.

    Raises:
        ModelError: timm does not know the model, or it is too large.
    """
    channels = architecture.kwargs.get("in_chans", 3)
    given = {
        "architecture": architecture.model.partition(".")[0],
        "custom_load": False,  # of the original weights, which may be of another format
        "input_size": (channels, architecture.image_size, architecture.image_size),
        "mean": architecture.mean,
        "std": architecture.std,
        "interpolation": architecture.interpolation,
        "crop_pct": architecture.crop_pct,
        "crop_mode": architecture.crop_mode,
    }
    model_config = {
        "num_classes": len(architecture.classes),
        "label_names": list(architecture.classes),
        "pretrained_cfg": given | dict.fromkeys(ORIGINAL),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        save_config_for_hf(
            outline_of(architecture),
            str(file),
            model_config=model_config,
            model_args=dict(architecture.kwargs),
        )
        config = read_json(file)
    kept = {key: value for key, value in config["pretrained_cfg"].items() if key not in ORIGINAL}
    return {file.name: json.dumps(config | {"pretrained_cfg": kept}, indent=2) + "\n"}
