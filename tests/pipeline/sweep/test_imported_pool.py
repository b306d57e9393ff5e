"""A pool that others fine-tuned takes the place of a sweep: read, scored, cooked, with lineage."""

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from soup.config.params import load, parse
from soup.errors import BadInput
from soup.models import Architecture, build
from soup.pipeline.project import Project
from soup.pipeline.stages import base, cook, evaluate, prepare, probe
from soup.pipeline.sweep.imported_pool import hyperparameters, listing, other_inputs, pool_files
from soup.pipeline.sweep.opening import open_sweep
from tests import checkouts, worlds
from tests.pipeline.projects import Silent, record

REPO = Path(__file__).parents[3]


def released(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As the published pool has it: a CLIP without its text transformer, and a head."""
    text = {"model.logit_scale": torch.ones(()), "model.token_embedding.weight": torch.rand(9, 2)}
    names = {n: f"classification_{n}" if n.startswith("head.") else f"model.{n}" for n in weights}
    return {**text, **{names[n]: tensor for n, tensor in weights.items()}}


def pool(root: Path, count: int) -> Project:
    """A project whose base is the first of `count` generated checkpoints, no two alike."""
    config, _ = worlds.tiny_clip(root / "clip")
    classes = tuple(worlds.COLOURS)
    made = Architecture("open_clip", config, classes, 16, (0.5,) * 3, (0.25,) * 3)
    torch.manual_seed(0)
    start = build(made).state_dict()
    start["head.weight"] = torch.randn_like(start["head.weight"])
    folder = root / "pool"
    folder.mkdir()
    for index in range(count):
        noise = {n: index * 0.05 * torch.randn_like(t) for n, t in start.items()}
        model = {n: t + noise[n] for n, t in start.items()}
        torch.save(released(model), folder / f"model_{index}.pt")
    params = checkouts.parameters(
        root,
        base={
            "library": "open_clip",
            "model": config,
            "weights": str(folder / "model_0.pt"),
            "head": "keep",
        },
        probe={"max_iterations": 0},
        sweep={"runs": count, "import": "pool"},
        soup={"recipe": "greedy", "include_probe": False},
    )
    return Project(root, parse(params), {"flow_run": "none"})


def test_checkpoints_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    project = pool(tmp_path, 3)
    for name in ("model_10.pt", "notes.txt", "model_2.log"):
        (tmp_path / "pool" / name).touch()
    assert [*pool_files(project)] == ["model_0", "model_1", "model_2"]
    more = Project(tmp_path, parse(_changed(project, runs=4)))
    assert [*pool_files(more)][-1] == "model_10"


def test_too_few_checkpoints_and_no_folder_are_told_before_anything_runs(tmp_path: Path) -> None:
    project = pool(tmp_path, 2)
    with pytest.raises(BadInput, match=r"pool has 2 checkpoints .* sweep.runs is 5: fetch the oth"):
        pool_files(Project(tmp_path, parse(_changed(project, runs=5))))
    gone = Project(tmp_path, parse(_changed(project, **{"import": "nowhere"})))
    with pytest.raises(BadInput, match=r"sweep.import: .*nowhere is not a folder of checkpoints"):
        pool_files(gone)


@pytest.mark.parametrize(
    "name",
    [
        *("probe", "base", "zero-shot", "best single", "ensemble", "greedy ensemble"),
        *("uniform", "greedy", "ties", "other soup"),
    ],
)
def test_a_name_of_the_pipelines_own_is_refused_before_anything_runs(
    tmp_path: Path, name: str
) -> None:
    raw = checkouts.parameters(
        tmp_path, sweep={"runs": 2, "import": "pool"}, soup={"recipe": "ties"}
    )
    project = Project(tmp_path, parse(raw))
    (tmp_path / "pool").mkdir()
    for file in (f"{name}.pt", "other.pt"):
        (tmp_path / "pool" / file).touch()
    with pytest.raises(BadInput, match=f"sweep.import: .*pool/{name}.pt: .*; rename the file"):
        pool_files(project)
    (tmp_path / "pool" / f"{name}.pt").rename(tmp_path / "pool" / f"{name}-1.pt")
    assert len(pool_files(project)) == 2


def test_a_changed_file_makes_the_pool_another(tmp_path: Path) -> None:
    project = pool(tmp_path, 2)
    before = listing(project)
    assert listing(project) == before
    torch.save({"x": torch.ones(1)}, tmp_path / "pool" / "model_1.pt")
    assert listing(project) != before


def test_published_hyperparameters_get_our_names(tmp_path: Path) -> None:
    files = {"model_0": tmp_path / "model_0.pt", "model_1": tmp_path / "model_1.pt"}
    assert hyperparameters(files) == {}
    told = {
        "model_0": {"info": "LP initialization"},
        "model_1": {"aug": None, "wd": 0.1, "lr": 1e-5, "mix": 0, "smoothing": 0.1, "epochs": 4},
        "model_2": {"lr": 1},
    }
    (tmp_path / "hparam_info.json").write_text(json.dumps(told))
    assert hyperparameters(files) == {
        "model_0": {"info": "LP initialization"},
        "model_1": {
            **{"augment": "none", "weight_decay": 0.1, "lr": 1e-5},
            **{"mixup": 0, "label_smoothing": 0.1, "epochs": 4},
        },
    }
    (tmp_path / "hparam_info.json").write_text("[1]")
    with pytest.raises(BadInput, match=r"hparam_info.json: is not model's name -> hyperparameters"):
        hyperparameters(files)


def test_the_shipped_config_imports_all_72_from_the_first_as_base() -> None:
    params = load(REPO / "configs" / "published_clip_b32.yaml")
    assert (params.sweep.runs, params.sweep.imported) == (72, "data/model-soups")
    assert params.base.weights.endswith("model_0.pt")
    assert (params.base.head, params.probe.max_iterations) == ("keep", 0)
    assert not params.soup.include_probe  # it would stand in the soup twice


def _changed(project: Project, **sweep: Any) -> dict[str, Any]:
    plain = yaml.safe_load(project.params.model_dump_json(by_alias=True))
    plain["sweep"] |= sweep
    return plain


def _prepared(root: Path, count: int) -> Project:
    worlds.world(root / "data", train=40, test=12)
    worlds.draw(root / "data" / "dark", {"blue": 8, "red": 8}, first=900)
    project = pool(root, count)
    project.out.mkdir(parents=True)
    for name, stage in (("prepare", prepare), ("base", base), ("probe", probe)):
        record(project, name, stage.run(project))
    return project


@pytest.mark.slow
def test_an_imported_pool_is_cooked_and_evaluated_like_a_sweep(tmp_path: Path) -> None:
    project = _prepared(tmp_path, 4)
    told = {f"model_{k}": {"lr": 10.0**-k, "wd": 0.1, "aug": None} for k in range(1, 4)}
    (tmp_path / "pool" / "hparam_info.json").write_text(json.dumps(told))
    opened = open_sweep(project, "code", threads=1)
    outcomes: dict[str, dict[str, str] | BaseException] = {
        name: opened.run(name, ("cpu",), Silent()) for name in opened.steps
    }
    record(project, "finetune", opened.close(outcomes))
    store = project.store()
    ids = [outcome[name] for name, outcome in outcomes.items() if isinstance(outcome, dict)]
    runs = dict(zip(outcomes, store.get(ids), strict=True))
    assert runs["model_2"].params == {"lr": "0.01", "weight_decay": "0.1", "augment": "none"}
    assert runs["model_2"].tags["imported"] == "model_2.pt"
    assert (
        runs["model_0"].metrics["heldout/errors"]
        == json.loads((project.out / "probe.json").read_text())["errors"]
    )

    again = open_sweep(project, "code", threads=1)
    assert again.run_id == opened.run_id
    assert {name: again.run(name, ("cpu",), Silent()) for name in again.steps} == outcomes
    described = tmp_path / "out" / "tiny" / "probe" / "model.json"
    text = described.read_text()
    described.write_text(text.replace("bicubic", "bilinear"))
    assert open_sweep(project, "code", threads=1).finished == {}  # scored as another model would be
    described.write_text(text)

    cooked = cook.run(project, "c")
    record(project, "cook", cooked)
    assert set(cooked["kept"]) <= set(outcomes)
    assert cooked["errors"] <= min(run.metrics["heldout/errors"] for run in runs.values())
    evaluate.run(project, "e")
    results = (project.out / "results.csv").read_text()
    assert "model_3,ingredient,test" in results
    assert "zero-shot" not in results  # a classifier has no text tower to make one with


def test_checkpoints_that_do_not_fit_the_base_are_all_named_before_one_is_scored(
    tmp_path: Path,
) -> None:
    project = _prepared(tmp_path, 4)
    torch.save({"fc.weight": torch.ones(2, 3)}, tmp_path / "pool" / "model_1.pt")
    (tmp_path / "pool" / "model_3.pt").write_bytes(b"cut short")
    with pytest.raises(BadInput) as caught:
        open_sweep(project, "code", threads=1)
    text = str(caught.value)
    assert "model_1:\n  missing: " in text
    assert "they look like none of the known families (2 classes); the model is a CLIP's" in text
    assert f"{tmp_path / 'pool' / 'model_3.pt'}: " in text
    assert "model_2" not in text


def test_two_checkpoints_of_one_stem_are_two(tmp_path: Path) -> None:
    names = ("a.pt", "a.safetensors", "b.pt", "b.ckpt", "c.bin")
    (tmp_path / "pool").mkdir()
    for name in names:
        (tmp_path / "pool" / name).touch()
    params = checkouts.parameters(tmp_path, sweep={"runs": 5, "import": "pool"})
    files = pool_files(Project(tmp_path, parse(params)))
    assert {file.name for file in files.values()} == {*names}
    assert set(files) == {"a.pt", "a.safetensors", "b.pt", "b.ckpt", "c"}
    (tmp_path / "pool" / "hparam_info.json").write_text(
        json.dumps({"a": {"lr": 1}, "c": {"lr": 2}})
    )
    assert {name: v["lr"] for name, v in hyperparameters(files).items()} == {
        "a.pt": 1,
        "a.safetensors": 1,
        "c": 2,
    }


def test_checkpoints_of_another_input_than_the_base_has_are_named(tmp_path: Path) -> None:
    architecture, model = worlds.tiny()  # 20 x 20, mean 0.5
    files = {}
    for name, size, mean in (("a", 20, None), ("b", 64, None), ("c", None, [0.4])):
        args = Namespace(model=f"{architecture.model}.tag", img_size=size, mean=mean)
        files[name] = tmp_path / f"{name}.pth.tar"
        torch.save({"arch": "x", "state_dict": model.state_dict(), "args": args}, files[name])
    (line,) = other_inputs(files, architecture)
    assert line.startswith(
        "b says image size 64, not 20; c says mean (0.4, 0.4, 0.4), not (0.5, 0.5"
    )
    assert line.endswith(
        "set base.image_size, base.mean and base.std to what they were trained with"
    )
    assert other_inputs({"a": files["a"]}, architecture) == []
