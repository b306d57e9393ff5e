"""The stage base: the initialisation, and beside it the zero-shot head if there is one."""

from pathlib import Path
from typing import Any

import torch

from soup.config.params import parse
from soup.data.split.prepare import prepare
from soup.models import open_model
from soup.pipeline.project import Project
from soup.pipeline.stages import base
from soup.weights.checkpoint import Checkpoint
from tests import checkouts, worlds


def project(root: Path, **chosen: Any) -> Project:
    """A project that is split, with another base."""
    data = worlds.world(root / "data")
    made = Project(root, parse(checkouts.parameters(root, base=chosen)), {})
    made.development.parent.mkdir(parents=True)
    made.development.write_text(prepare(data, root / "data").development.to_csv())
    return made


def test_a_clip_keeps_its_zero_shot_head_whatever_head_it_starts_with(tmp_path: Path) -> None:
    config, weights = worlds.tiny_clip(tmp_path / "clip")
    clip = {"library": "open_clip", "model": config, "weights": weights}
    heads = {}
    for head in ("zeroshot", "new"):
        made = project(tmp_path / head, **clip, head=head)
        told = base.run(made)
        assert told["summary"].startswith(f"open_clip {config}, ")
        _, model = open_model(made.out / "base")
        heads[head] = model.get_parameter("head.weight")
        kept = Checkpoint(made.out / "base" / "zeroshot.safetensors")
        assert set(kept) == {"head.weight", "head.bias"}
        if head == "zeroshot":
            assert torch.equal(kept["head.weight"], heads[head])
        assert torch.equal(kept["head.weight"], heads["zeroshot"])
    assert not heads["new"].any()


def test_a_classifier_has_none(tmp_path: Path) -> None:
    worlds.put(tmp_path, worlds.tiny())
    weights = str(tmp_path / "model.safetensors")
    made = project(
        tmp_path / "p", model=worlds.MODEL, kwargs=worlds.KWARGS, weights=weights, image_size=20
    )
    base.run(made)
    assert not Checkpoint(made.out / "base" / "zeroshot.safetensors")
