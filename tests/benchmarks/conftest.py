"""Benchmarks are scripts: they find each other in their own folder, and so do the tests."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
KWARGS = {"channels": [8, 8, 8, 8], "norm_layer": "groupnorm1", "stem_width": 4}


@pytest.fixture(scope="module", autouse=True)
def scripts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS / "peers"))
        patch.syspath_prepend(str(BENCHMARKS))
        yield


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data` with darker and lighter noise as JPEG, and `base`, an untrained model."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (folder / "data" / "train" / name).mkdir(parents=True)
        for index in range(60):
            shade = rng.integers(40) + 15 * label  # which the classes share in part
            pixels = rng.integers(shade, 190 + shade, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "data" / "train" / name / f"{index:02}.jpg")
    torch.manual_seed(0)
    (folder / "base").mkdir()
    model = timm.create_model("resnet10t", num_classes=3, **KWARGS)
    save_file(model.state_dict(), folder / "base" / "model.safetensors")
    described = {"name": "resnet10t", "kwargs": KWARGS, "input_size": [3, 32, 32]}
    described |= {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (folder / "base" / "model.json").write_text(json.dumps(described))
    return folder
