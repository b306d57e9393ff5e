"""`soup cook` into a folder puts beside the soup what its library needs, and a model card."""

import json
from pathlib import Path

import open_clip
import timm
import torch
from huggingface_hub import ModelCard

from soup.weights.checkpoint import Checkpoint, save
from tests.cli.conftest import Candidates, Command
from tests.worlds import CLIP, architecture


def test_a_timm_soup_opens_with_timm_and_its_card_has_the_interval(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    out = tmp_path / "mine" / "model.safetensors"
    held = ("--heldout", candidates.heldout, "--recipe", "uniform")
    base = tmp_path / "base"
    save(dict(Checkpoint(candidates.base)), base / "model.safetensors")
    (base / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    said = soup("cook", *held, "--base", base, "--out", out, *candidates.models[:3])
    assert said.code == 0, said.err
    theirs = timm.create_model(f"local-dir:{out.parent}", pretrained=True).eval()
    assert theirs.pretrained_cfg["label_names"] == list(architecture().classes)
    assert torch.equal(theirs.state_dict()["fc.weight"], Checkpoint(out)["fc.weight"])
    card = ModelCard.load(out.parent / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.library_name == "timm"
    digest = Checkpoint(candidates.models[0]).digest()
    assert f"| {digest} |" in card.text
    [result] = card.data.eval_results
    assert "(" in result.metric_name
    assert "accuracy" in card.text


def test_a_whole_clip_keeps_its_config_and_opens_with_open_clip(
    soup: Command, tmp_path: Path
) -> None:
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        folder = tmp_path / f"clip{seed}"
        model = open_clip.CLIP(**CLIP)
        save(model.state_dict(), folder / "open_clip_model.safetensors")
        config = {"model_cfg": CLIP, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.2] * 3}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        models.append(folder / "open_clip_model.safetensors")
    out = tmp_path / "soup" / "open_clip_model.safetensors"
    said = soup("cook", "--recipe", "uniform", "--out", out, *models)
    assert said.code == 0, said.err
    assert "beside it: open_clip_config.json, README.md" in said.err
    theirs = open_clip.create_model(f"local-dir:{out.parent}").eval()
    means = sum(Checkpoint(file)["visual.proj"].double() for file in models) / 3
    assert torch.equal(theirs.visual.proj, means.float())
    assert theirs.visual.image_std == [0.2] * 3
    text = (out.parent / "README.md").read_text()
    assert "licence of the base | not known: ask the owner of the base" in text


def test_a_file_of_another_name_gets_nothing_beside_it_and_a_card_of_others_stays(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    def cook(out: Path, count: int = 2) -> int:
        return soup("cook", "-r", "uniform", "-o", out, *candidates.models[:count]).code

    assert cook(tmp_path / "a" / "soup.safetensors") == 0
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["soup.safetensors"]
    card = tmp_path / "b" / "README.md"
    card.parent.mkdir()
    card.write_text("# My notes\n")
    assert cook(card.parent / "model.safetensors") == 0
    assert card.read_text() == "# My notes\n"
    card.unlink()
    assert cook(card.parent / "model.safetensors") == 0
    first = card.read_text()
    assert cook(card.parent / "model.safetensors", 1) == 0
    assert card.read_text() != first  # our own is brought up to date
