"""Folders that this project writes are opened by the library of the model, without this project."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from torch import nn

import soup
from soup.config.params import Base
from soup.models import Architecture, build, clip_init, open_model, write_description
from soup.models.clip_folder import with_text_tower
from soup.models.stored_description import beside
from soup.models.transforms import image_input
from soup.weights.checkpoint import Checkpoint, save
from tests import text_worlds
from tests.worlds import CLIP, COLOURS, architecture, picture, put, tiny, tiny_clip

CLASSES = tuple(COLOURS)
# Run by a Python that has the libraries and not us.
PLAIN = """
import importlib.abc, json, sys
import torch
from safetensors.torch import load_file, save_file

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("soup", "flows"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refuse())
torch.set_num_threads(1)
root = sys.argv[1]
given = load_file(f"{root}/inputs.safetensors")
with torch.no_grad():
    import timm
    model = timm.create_model(f"local-dir:{root}/timm", pretrained=True).eval()
    labels = {"timm": model.pretrained_cfg["label_names"]}
    # The order of numbers in memory that the models of this project have.
    answers = {"timm": model.to(memory_format=torch.channels_last)(given["images"])}

    import open_clip
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{root}/clip")
    model = model.to(memory_format=torch.channels_last).eval()
    features = model.encode_image(given["small"], normalize=True)
    head = load_file(f"{root}/clip/model.safetensors")
    answers["clip"] = torch.nn.functional.linear(features, head["head.weight"], head["head.bias"])
    answers["words"] = model.encode_text(open_clip.get_tokenizer(f"local-dir:{root}/clip")(["red"]))

    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    model = AutoModelForSequenceClassification.from_pretrained(f"{root}/bert").eval()
    labels["bert"] = [*model.config.id2label.values()]
    tokenizer = AutoTokenizer.from_pretrained(f"{root}/bert")
    tokens = tokenizer(["the cat likes a dog"], return_tensors="pt")
    answers["bert"] = model(**tokens).logits
    answers |= {"ids": tokens["input_ids"], "types": tokens["token_type_ids"]}
answers = {name: tensor.contiguous() for name, tensor in answers.items()}
save_file(answers, f"{root}/answers.safetensors", {"labels": json.dumps(labels)})
"""


def soup_of_three(architecture: Architecture, model: nn.Module, target: Path) -> nn.Module:
    """A model folder with the uniform soup of three models around a model; the soup, built."""
    tuned = []
    for seed in range(3):
        torch.manual_seed(seed)
        near = {n: t + 0.05 * torch.randn_like(t) for n, t in model.state_dict().items()}
        save(near, target.parent / f"{target.name}-{seed}.safetensors")
        tuned.append(Checkpoint(target.parent / f"{target.name}-{seed}.safetensors"))
    save(soup.average(tuned), target / "model.safetensors")
    write_description(architecture, target)
    return open_model(target)[1]


@pytest.mark.slow
def test_soups_of_three_models_are_opened_by_timm_open_clip_and_transformers_alone(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    images, small = torch.randn(4, 3, 20, 20), torch.randn(4, 3, 16, 16)
    save({"images": images, "small": small}, tmp_path / "inputs.safetensors")
    by_timm = soup_of_three(*tiny(), tmp_path / "timm")
    config, weights = tiny_clip(tmp_path / "original")
    base = Base(library="open_clip", model=config, weights=weights, head="zeroshot")
    described, tower, _ = clip_init.make_base(base, CLASSES, tmp_path / "base")
    by_clip = soup_of_three(described, tower, tmp_path / "clip")
    cooked = Checkpoint(tmp_path / "clip" / "model.safetensors")
    assert with_text_tower(cooked, tmp_path / "base", tmp_path / "clip")
    by_bert = soup_of_three(*open_model(text_worlds.soup(tmp_path)), tmp_path / "bert")

    command = [sys.executable, "-I", "-c", PLAIN, str(tmp_path)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    theirs = Checkpoint(tmp_path / "answers.safetensors")
    with torch.no_grad():
        assert torch.equal(theirs["timm"], by_timm(images))
        assert torch.equal(theirs["clip"], by_clip(small))
        # Our text models multiply by another kernel (soup.models.onednn).
        tokens = torch.stack([theirs["ids"], theirs["types"] + 1], dim=1)
        torch.testing.assert_close(theirs["bert"], by_bert(tokens), rtol=0, atol=1e-6)
    words = open_clip.create_model(Path(config).stem, pretrained=weights).eval()
    tokens = open_clip.get_tokenizer(Path(config).stem)(["red"])
    assert torch.equal(theirs["words"], words.encode_text(tokens).detach())
    assert json.loads(theirs.metadata["labels"]) == {
        "timm": list(CLASSES),
        "bert": ["no", "yes"],
    }


def test_timm_prepares_images_as_the_description_says(tmp_path: Path) -> None:
    made = replace(
        architecture(24),
        crop_pct=0.8,
        crop_mode="squash",
        interpolation="bilinear",
        mean=(0.1,) * 3,
    )
    put(tmp_path, (made, build(made)))
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    config = timm.data.resolve_model_data_config(theirs)
    prepare = timm.data.create_transform(**config)
    image = picture((40, 60, 200), seed=1, size=(50, 30))
    ours = image_input(made)
    pixels = torch.from_numpy(np.array(ours.resize(image))).permute(2, 0, 1)[None]
    torch.testing.assert_close(ours.prepare(pixels)[0], prepare(image))


def test_a_timm_model_of_its_own_size_and_arguments_is_opened_by_its_folder(tmp_path: Path) -> None:
    made = Architecture(
        "timm", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", CLASSES, 32,
        kwargs={"img_size": 32, "depth": 1, "embed_dim": 24, "drop_path_rate": 0.1},
    )  # fmt: skip
    put(tmp_path, (made, build(made)))
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert theirs.default_cfg["input_size"] == (3, 32, 32)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), open_model(tmp_path)[1](images))
    config = json.loads((tmp_path / "config.json").read_text())
    # The weights are not those that timm has under this tag and licence.
    assert not {"tag", "license", "label_names"} & config["pretrained_cfg"].keys()


def test_a_folder_that_lost_our_description_is_still_known_by_timm_s(tmp_path: Path) -> None:
    put(tmp_path, tiny())
    (tmp_path / "model.json").unlink()
    told = beside(tmp_path)
    assert told.source == "timm's config.json"
    ours = architecture()
    for name in ("classes", "image_size", "mean", "std", "crop_pct", "crop_mode"):
        assert told.fields[name] == getattr(ours, name)


def test_a_folder_of_an_earlier_release_without_timm_s_config_is_opened(tmp_path: Path) -> None:
    put(tmp_path, tiny())
    (tmp_path / "config.json").unlink()
    assert open_model(tmp_path)[0] == architecture()


def test_without_the_text_tower_the_files_for_open_clip_are_not_left_from_another_base(
    tmp_path: Path,
) -> None:
    config, weights = tiny_clip(tmp_path / "original")
    base = Base(library="open_clip", model=config, weights=weights, head="zeroshot")
    _, model, _ = clip_init.make_base(base, CLASSES, tmp_path / "base")
    save(model.state_dict(), tmp_path / "classifier.safetensors")
    assert with_text_tower(model.state_dict(), tmp_path / "base", tmp_path / "soup")
    told: list[str] = []
    keep = base.model_copy(
        update={"head": "keep", "weights": str(tmp_path / "classifier.safetensors")}
    )
    clip_init.make_base(keep, CLASSES, tmp_path / "base", told.append)
    assert "has no text tower" in told[0]
    assert not with_text_tower(model.state_dict(), tmp_path / "base", tmp_path / "soup")
    assert not [*tmp_path.glob("*/open_clip*")]


def test_a_timm_tower_of_another_image_size_is_said_not_to_open(tmp_path: Path) -> None:
    vision = {
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 224,
    }
    named = tmp_path / "timm-tower-for-tests.json"
    named.write_text(json.dumps({**CLIP, "vision_cfg": vision}))
    open_clip.add_model_config(named)
    torch.manual_seed(0)
    weights = tmp_path / "whole.safetensors"
    save(open_clip.create_model(named.stem).state_dict(), weights)
    base = Base(library="open_clip", model=str(named), weights=str(weights), image_size=64)
    told: list[str] = []
    clip_init.make_base(base, CLASSES, tmp_path / "base", told.append)
    assert "another visual.trunk.pos_embed" in told[0]
    assert not (tmp_path / "base").exists()
