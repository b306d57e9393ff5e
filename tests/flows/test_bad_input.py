"""Bad input ends with exit code 2 and a message that says which, what and what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import yaml

from flows import command, project
from flows.pipeline import pipeline
from flows.stages import STAGES
from soup.config.params import load
from soup.weights.checkpoint import save
from tests import checkouts, worlds


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout, without its repositories."""
    worlds.world(tmp_path / "data", train=12, test=4)
    worlds.draw(tmp_path / "data" / "dark", {"blue": 3, "red": 3}, first=900)
    worlds.put(tmp_path / "base", worlds.tiny())
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "base.safetensors")
    for name in ("soup", "flows", "dvc.yaml"):
        (tmp_path / name).symlink_to(checkouts.REPO / name)
    monkeypatch.setenv("MODELSOUP_ROOT", str(tmp_path))
    for name in checkouts.SERVER:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def refused(root: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a flow's command with changed parameters; what it says when it exits with code 2."""

    def run(flow: Any, engine: bool = False, **changes: Any) -> str:
        held = {"root": "data", "heldout": {"per_class": 3}, "shifts": {"dark": {"folder": "dark"}}}
        changes["data"] = held | changes.get("data", {})
        checkouts.write(root, **changes)
        with pytest.raises(SystemExit) as exit:
            command.run(flow, str(root / "params.yaml"), engine=engine)
        assert exit.value.code == 2
        return " ".join(capsys.readouterr().err.split())

    return run


def test_no_images(refused: Callable[..., str], root: Path) -> None:
    (root / "empty").mkdir()
    assert "no images in" in refused(STAGES["prepare"], data={"train": "../empty"})
    assert not (root / "out").exists()


def test_a_shift_with_a_class_that_train_lacks(refused: Callable[..., str], root: Path) -> None:
    worlds.draw(root / "data" / "dark", {"zebra": 2})
    assert "shift dark: classes that train does not have: zebra" in refused(STAGES["prepare"])
    assert not (root / "out").exists()


def test_fewer_images_than_are_to_be_held_out(refused: Callable[..., str], root: Path) -> None:
    said = refused(STAGES["prepare"], data={"heldout": {"per_class": 12}})
    assert "too few images to hold out 12 a class" in said
    assert "blue (12)" in said
    assert not (root / "out").exists()


def test_a_corrupt_image_where_none_is_allowed(refused: Callable[..., str], root: Path) -> None:
    (root / "data" / "train" / "red" / "000.png").write_bytes(b"nonsense")
    said = refused(STAGES["prepare"], data={"strict": True})
    assert "train/red/000.png: not an image" in said
    assert not (root / "out").exists()


def test_a_corrupt_image_is_named_skipped_and_counted(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "data" / "train" / "red" / "000.png").write_bytes(b"nonsense")
    checkouts.write(root, data={"root": "data", "heldout": {"per_class": 3}})
    command.run(STAGES["prepare"], str(root / "params.yaml"))
    said = capsys.readouterr().err
    assert "train/red/000.png: not an image" in said
    assert "1 skipped" in said
    assert "red/000.png" not in (root / "out/tiny/split/development.csv").read_text()


def _base(model: str, weights: str = "pretrained", **options: str) -> dict[str, Any]:
    return {"base": {"model": model, "weights": weights, **options}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sweep": {"runs": 0}}, "sweep.runs: must be greater than 0, got 0"),
        (
            {"soup": {"recipe": "minestrone"}},
            "soup.recipe: unknown recipe 'minestrone'; known: uniform, greedy, removal",
        ),
        ({"soups": {}}, "soups: unknown key; did you mean soup?; known here: experiment, data,"),
        (
            {"sweep": {"runs": 9, "method": "grid", "space": {"lr": [1e-3], "weight_decay": [0]}}},
            "sweep.runs is 9, but the grid has 4 points",
        ),
        (_base("resnet10tt"), "base.model: timm does not know 'resnet10tt'; near: resnet10t"),
        (_base("resnet18.a9_in1k"), "base.model: timm has no weights 'a9_in1k' of resnet18; its"),
        (
            _base("resnet10t", "gone.pt"),
            "base.weights: gone.pt is not a file; give 'pretrained' or",
        ),
        (_base("resnet10t", __file__), "test_bad_input.py"),
        (
            _base("ViT-B-33", "openai", library="open_clip"),
            "base.model: open_clip does not know 'ViT-B-33'; near: ViT-B-32",
        ),
        (
            _base("ViT-B-32", "open-ai", library="open_clip"),
            "base.weights: 'open-ai' is neither a file nor a pretrained tag of ViT-B-32",
        ),
    ],
)
def test_parameters_that_cannot_be_meant(
    refused: Callable[..., str], root: Path, changes: dict[str, Any], says: str
) -> None:
    assert says in refused(pipeline, engine=False, **changes)
    assert not (root / "out").exists()


def test_an_unknown_model(refused: Callable[..., str], root: Path) -> None:
    _prepared(root)
    said = refused(STAGES["base"], base={"model": "resnet10tt", "weights": "pretrained"})
    assert "timm does not know 'resnet10tt'; near: resnet10t" in said
    assert not (root / "out/tiny/base").exists()


def test_weights_that_do_not_fit(refused: Callable[..., str], root: Path) -> None:
    _prepared(root)
    wider = {"channels": [16, 8, 8, 8], "stem_width": 8, "norm_layer": "groupnorm1"}
    options = checkouts.parameters(root)["base"] | {"kwargs": wider}
    said = refused(STAGES["base"], base=options)
    assert "the weights do not fit resnet10t" in said
    assert "the model wants (16," in said
    assert not (root / "out/tiny/base").exists()


def test_a_model_that_takes_images_of_another_size(refused: Callable[..., str], root: Path) -> None:
    _prepared(root)
    vit = timm.create_model("test_vit", num_classes=3)
    save(vit.state_dict(), root / "vit.safetensors")
    options = {"model": "test_vit", "weights": str(root / "vit.safetensors"), "image_size": 20}
    said = refused(STAGES["base"], base=options)
    assert "test_vit does not take images of 20 x 20" in said
    assert "img_size for a ViT" in said


def test_sections_that_dvc_compares_and_the_file_leaves_out(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DVC_STAGE", "prepare")
    given = checkouts.parameters(root)
    del given["probe"], given["evaluate"]
    file = root / "params.yaml"
    file.write_text(yaml.safe_dump(given))
    with pytest.raises(SystemExit) as exit:
        command.run(STAGES["prepare"], str(file))
    assert exit.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {file} leaves out probe, evaluate, which DVC compares; for the defaults add",
        "probe: {}",
        "evaluate: {}",
    ]
    assert not (root / "out").exists()


def test_a_stage_before_its_time(refused: Callable[..., str]) -> None:
    said = refused(STAGES["finetune"])
    assert "finetune needs out/tiny/" in said
    assert "run the stages before it" in said


def test_a_tracking_server_that_does_not_answer(
    refused: Callable[..., str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    said = refused(pipeline)
    assert "MLflow at http://127.0.0.1:9 does not answer" in said
    assert not (root / "out").exists()


def _prepared(root: Path) -> None:
    checkouts.write(root, data={"root": "data", "heldout": {"per_class": 3}})
    STAGES["prepare"].fn(load(root / "params.yaml"))


@pytest.mark.parametrize("quiet", [True, False])
def test_quietly_a_stage_prints_its_summary_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    (root / "data" / "train" / "red" / "broken.png").write_bytes(b"no image")
    data = {"root": "data", "heldout": {"per_class": 3}, "shifts": {"dark": {"folder": "dark"}}}
    checkouts.write(root, data=data)
    monkeypatch.setattr(project.display(), "mode", "lines")
    command.run(STAGES["prepare"], str(root / "params.yaml"), quiet)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("prepare")
    assert "1 skipped" in lines[-1]
    assert len(lines) == (1 if quiet else 2)


def test_more_devices_for_a_fine_tune_than_there_are_are_refused_before_anything_starts(
    root: Path, refused: Callable[..., str]
) -> None:
    text = refused(pipeline, compute={"devices_per_run": 4096, "device": "cpu"})
    assert "compute.devices_per_run is 4096, but this machine has" in text
    assert not (root / "out").exists()
