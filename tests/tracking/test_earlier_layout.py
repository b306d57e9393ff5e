"""A model registered before the modules of `soup` were moved: it loads, predicts as it did, and its
own copy of the old modules is never mixed with the new ones."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from soup.cli.app import app
from soup.evaluation.promotion_gate import packed
from soup.files import of_file
from soup.models import build
from soup.serving import Classifier
from soup.tracking import Store, Version, copy, fetch, register, version
from tests import checkouts, homes
from tests.forked import Forks, forks
from tests.registries import open_store
from tests.worlds import architecture, put

pytestmark = pytest.mark.slow

MLMODEL = """\
flavors:
  python_function:
    code: code
    data: data/soup
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: soup.serving
    python_version: 3.11.7
    streamable: false
mlflow_version: 3.17.2
model_id: null
model_size_bytes: 34460
model_uuid: 819665f8fb804312a6be742ac8c2e38d
prompts: null
utc_time_created: '2026-11-28 23:50:13.547652'
"""
SERVING = """\
import sys
from soup import checkpoint

class Model:
    def predict(self, images, params=None):
        return [checkpoint.__name__ for _ in images]

def _load_pyfunc(path, model_config=None):
    return Model()
"""
# Files as the old layout had them. Among the new ones, each of these names is gone or a package.
MIXED = "raise ImportError('a module of the old layout was mixed with the new ones')\n"
OLD = {
    **dict.fromkeys(("weights.py", "evaluate.py", "heldout.py", "contents.py", "layout.py"), MIXED),
    **dict.fromkeys(("data/transforms.py", "models/clip.py", "analysis/__init__.py"), MIXED),
    **dict.fromkeys(("cli/champions.py", "report/page.css", "report/page.html.j2"), MIXED),
    **dict.fromkeys(("__init__.py", "checkpoint.py"), ""),
    "serving.py": SERVING,
}
# Of the release before the move, for these weights and images.
ANSWERS = [
    [0.16328449547290802, 0.2719843089580536, 0.564731240272522],
    [0.1633281707763672, 0.2719286382198334, 0.5647432208061218],
    [0.16327236592769623, 0.27260488271713257, 0.5641227960586548],
]


def images() -> list[np.ndarray]:
    def pixels(step: int) -> np.ndarray:
        y, x, channel = np.indices((24, 30 + step, 3))
        return ((x * 7 + y * step + channel * 90) % 256).astype(np.uint8)

    return [pixels(step) for step in (3, 5, 11)]


def _weights(model: torch.nn.Module) -> None:
    """Fill with numbers that are the same with every version of torch."""
    count = 0
    for _, tensor in sorted(model.state_dict().items()):
        index = torch.arange(count, count + tensor.numel(), dtype=torch.float64)
        count += tensor.numel()
        scale = 2 / max(1, tensor[0].numel()) ** 0.5 if tensor.dim() > 1 else 1.0
        noise = (torch.sin(index * 12.9898) * 43758.5453).frac() * scale
        tensor.copy_(noise.to(tensor.dtype).reshape(tensor.shape))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def old(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A version whose folder is of the old layout, and champion."""
    folder = tmp_path_factory.mktemp("model") / "model"
    model = build(architecture())
    _weights(model)
    put(folder / "data" / "soup", (architecture(), model))
    (folder / "data" / "soup" / "config.json").unlink()  # timm's, which that release did not write
    texts = {"MLmodel": MLMODEL, "conda.yaml": "name: mlflow-env\n"}
    texts |= {"python_env.yaml": "python: 3.11.7\n", "requirements.txt": "mlflow==3.17.2\n"}
    for name, text in {
        **texts,
        **{f"code/soup/{name}": text for name, text in OLD.items()},
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run = store.start("soup", "old", "soup")
    model_id = store.log_weights(run, "soup", folder, {})
    store.end(run)
    tags = {
        **{"digest": "old", "split": "split", "errors": "0", "examples": "9", "recipe": "greedy"},
        "correct": packed(np.ones(9, dtype=np.bool_)),
        **{"ingredients": '["a"]', "commit": "c" * 40, "test_accuracy": "0.9", "run": run},
        "sha256.model.safetensors": of_file(folder / "data" / "soup" / "model.safetensors"),
    }
    return register(store, "old", model_id, run, tags, "A soup.")


def predictions(folder: Path) -> list[list[float]]:
    frame = Classifier(folder).predict(images())
    return [list(row.values()) for row in frame["probabilities"]]


def test_it_is_fetched_by_its_digests_and_predicts_as_it_did(
    store: Store, old: Version, tmp_path: Path
) -> None:
    assert len(json.loads(old.tags["files"])) == 6 + len(OLD)
    folder = fetch(store, old, tmp_path / "here")
    np.testing.assert_allclose(predictions(folder), ANSWERS, rtol=0, atol=1e-6)


def test_it_is_promoted_shown_rolled_back_and_copied(
    store: Store, old: Version, tmp_path: Path
) -> None:
    def champion(*arguments: str) -> str:
        options = ["--model", "old", "--registry", store.uri]
        ran = CliRunner().invoke(app, ["champion", *arguments, *options])
        assert ran.exit_code == 0, ran.output
        return ran.output

    champion("promote", old.number, "--force", "--why", "it was before")
    second = register(
        store,
        "old",
        store.get([old.run_id])[0].model_id,
        old.run_id,
        {**old.tags, "digest": "second"},
        "Another.",
    )
    champion("promote", second.number, "--force", "--why", "to roll back")
    champion("rollback", "--why", "the old one is better")
    assert version(store, "old", "champion").number == old.number
    assert "the old one is better" in champion("show", "--json")
    away = Store(homes.tracking(tmp_path / "away"), "away", tmp_path / "away")
    copied = copy(store, old, away, "moved", tmp_path / "cache")
    assert json.loads(copied.tags["files"]) == json.loads(old.tags["files"])
    folder = fetch(away, copied, tmp_path / "here")
    np.testing.assert_allclose(predictions(folder), ANSWERS, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def with_mlflow() -> Iterator[Forks]:
    """Programs that begin with nothing of ours."""
    with forks("torch", "timm", "mlflow.pyfunc") as made:
        yield made


@pytest.mark.parametrize("imported", [True, False])
def test_mlflow_loads_it_with_all_modules_of_one_layout(
    store: Store, old: Version, with_mlflow: Forks, tmp_path: Path, imported: bool
) -> None:
    """MLflow puts the model's own modules first on the path; those imported already stay."""
    code = (
        "import json, pickle, sys\n"
        f"{'import soup' if imported else ''}\n"
        "import mlflow\n"
        f"mlflow.set_tracking_uri({store.uri!r})\n"
        f"model = mlflow.pyfunc.load_model('models:/old/{old.number}')\n"
        f"answers = model.predict(pickle.load(open({str(tmp_path / 'images')!r}, 'rb')))\n"
        "files = [str(m.__file__) for n, m in sys.modules.items() if n.split('.')[0] == 'soup']\n"
        "rows = [*answers['probabilities']] if hasattr(answers, 'columns') else answers\n"
        "print(json.dumps([files, [[*r.values()] if isinstance(r, dict) else r for r in rows]]))\n"
    )
    (tmp_path / "images").write_bytes(pickle.dumps(images()))
    ran = with_mlflow.python(code)
    assert ran.code == 0, ran.err
    files, answers = json.loads(ran.out.splitlines()[-1])
    if imported:
        assert all(file.startswith(f"{checkouts.REPO}/soup/") for file in files)
        np.testing.assert_allclose(answers, ANSWERS, rtol=0, atol=1e-6)
    else:
        assert all("/code/soup/" in file for file in files)
        assert answers == ["soup.checkpoint"] * 3
