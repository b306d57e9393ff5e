"""Targets: parameters, the records of stages, the files of runners, and tags of MLflow."""

import base64
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from flows.runners.event_log import Reader
from flows.runners.job_file import NAME, JobFile
from soup.config.params import load
from soup.config.yaml_text import read_yaml
from soup.evaluation.promotion_gate import decide, scored
from soup.models.allowed_files import require_allowed_files, stated_digests
from soup.models.clip_towers import _read as clip_config
from soup.pipeline.stage_record import Stage, read_record
from soup.pipeline.sweep.imported_pool import hyperparameters
from soup.tracking.audit import Event, Unreadable, facts_of
from soup.tracking.promotion import _dead, _intent
from soup.tracking.registered_files import registered_files
from soup.tracking.registry import Version
from soup.train.distributed import read as read_job
from soup.train.finetune import finished
from soup.train.hyperparameters import Hyperparameters
from soup.train.worker_process import Crashed, Failed
from tests.checkouts import REPO
from tests.fuzz.mutations import damaged, texts
from tests.fuzz.target import Target

PARAMS = yaml.safe_load((REPO / "params.yaml").read_text())
IMAGENET = yaml.safe_load((REPO / "configs/imagenet_clip_vitb32.yaml").read_text())
MANY = 61  # lines of a refusal that lists every problem
COOK = {"stage": "cook", "digest": "a" * 64, "outs": {"soup.csv": "b" * 64}, "run_id": "1"}
COOK |= {"recipe": "greedy", "kept": ["a", "b"], "seconds": 1.5}
ORDER = {
    "params": {"experiment": "e"},
    "tags": {"commit": "c"},
    "code": "d",
    "sweep": "1",
    "mlflow": "http://127.0.0.1:5000",
    "host": "h",
    "threads": 1,
}
JOB = {
    **dict.fromkeys(("start", "development", "root", "folder", "cache"), "/nowhere"),
    "hyperparameters": Hyperparameters(1e-3, 0.1, 2).as_dict(),
    "cache_gib": 1.0,
    "devices": ["cpu"],
    "threads": 1,
    "eval_batch_size": 64,
}
EVENTS = (
    b'["beat"]\n["say", "begins"]\n["step", "run-1", 3, {"heldout/accuracy": 0.5}]\n'
    b'["done", "run-1", "50%"]\n["made", {"": "run"}]\n'
)
EVENT = {"what": "promoted", "who": "ada@lab", "when": "2026-01-01T00:00:00.000000+00:00"}
EVENT |= {"why": "better", "number": "2", "champion": "1"}
INTENT = EVENT | {"host": "lab", "pid": 17, "started": 1.5e9}
FILES = {"MLmodel": "a" * 64, "data/soup/model.json": "b" * 64}
CORRECT = f"9:{base64.b64encode(bytes([255, 128])).decode()}"
MLMODEL = {
    "flavors": {"python_function": {"loader_module": "soup.serving", "data": "data/soup"}},
    "metadata": {"modelsoup": {"files": {"data/soup/model.json": "b" * 64}}},
    "model_uuid": "m",
}


def tag(read: Callable[[str], object]) -> Callable[[Path], object]:
    """Read the text of a tag, as a server gives it: any Unicode."""
    return lambda path: read(path.read_bytes().decode("utf-8", "replace"))


def record(path: Path) -> None:
    Stage("cook", "a" * 64, "", (path.parent / "soup.csv",), path).finished()
    read_record(path, run_id=str, recipe=str, kept=list)


def events(path: Path) -> None:
    watcher: Any = SimpleNamespace(step=_three, done=_two, say=_one)
    reader = Reader(path, watcher)
    reader.read()
    reader.outcome("killed")


def _one(_: str) -> None:
    pass


def _two(_: str, __: str) -> None:
    pass


def _three(name: str, step: int, metrics: dict[str, float]) -> None:
    assert isinstance(metrics, dict)
    assert isinstance(step, int)


def intent(text: str) -> None:
    _dead(_intent(text))


def gate(text: str) -> None:
    tags = {"split": "s", "correct": CORRECT}
    decide(scored("2", tags), scored("1", tags | {"correct": text}), lambda: None)


def registered(folder: Path) -> None:
    (folder / "data/soup").mkdir(parents=True)
    (folder / "data/soup/model.json").write_text("{}")


def model_folder(path: Path) -> None:
    require_allowed_files(path.parent, "the model of MLmodel")
    stated_digests(path.parent, "the model of MLmodel")


def dump(tree: Any) -> str:
    return yaml.safe_dump(tree)


def tags(name: str, valid: Any, read: Callable[[str], object], **options: Any) -> Target:
    return Target(f"tag: {name}", texts(valid), "tag", tag(read), named=False, **options)


TARGETS = [
    Target("params.yaml", texts(PARAMS, IMAGENET, dump=dump), "params.yaml", load, lines=MANY),
    Target(
        "text of params.yaml",
        damaged((REPO / "params.yaml").read_bytes()),
        "params.yaml",
        load,
        lines=MANY,
    ),
    Target("dvc.yaml", damaged((REPO / "dvc.yaml").read_bytes()), "dvc.yaml", read_yaml),
    Target("record of a stage", texts(COOK), "cook.json", record),
    Target(
        "result of a fine-tune",
        texts({"": {"errors": 3, "examples": 9}}),
        "result.json",
        lambda path: finished(SimpleNamespace(folder=path.parent)),
    ),
    Target("job of a sweep", texts(ORDER), NAME, lambda path: JobFile.read(path.parent)),
    Target("job of torchrun", texts(JOB), "job.json", read_job),
    Target("event log", damaged(EVENTS), "e.jsonl", events, also=(Crashed, Failed), named=False),
    Target(
        "hyperparameters of a pool",
        texts({"model_0": {"lr": 1e-3, "wd": 0.1, "aug": None}}),
        "hparam_info.json",
        lambda path: hyperparameters({"a": path.parent / "model_0.pt"}),
    ),
    Target(
        "config of open_clip",
        texts({"embed_dim": 8, "vision_cfg": {"layers": 1}, "text_cfg": {}}),
        "config.json",
        clip_config,
    ),
    Target("MLmodel", texts(MLMODEL, dump=dump), "MLmodel", model_folder, registered),
    tags("promotion under way", INTENT, intent, also=(Unreadable,)),
    tags("audit", EVENT, lambda text: Event.of(facts_of(text)), also=(ValueError,)),
    tags("digests", FILES, lambda text: registered_files(Version("m", "1", "", {"files": text}))),
    Target("tag: held-out answers", damaged(CORRECT.encode()), "tag", tag(gate), named=False),
]
