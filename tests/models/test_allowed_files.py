"""A registered model holds safetensors and JSON, as they were registered, or is refused by name."""

import pickle
import re
import shutil
from pathlib import Path

import mlflow
import pytest
import yaml

from soup.models.allowed_files import (
    Refused,
    digests,
    require_allowed_files,
    stated_digests,
    verify_digests,
    verify_model,
)
from soup.serving import _load_pyfunc
from soup.tracking import save_pyfunc
from tests.worlds import put, tiny


class Bomb:
    """Says so if it is ever unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    source = tmp_path / "soup"
    source.mkdir()
    put(source, tiny())
    save_pyfunc(source, tmp_path / "model")
    return tmp_path / "model"


def test_what_we_write_is_taken_and_answers(model: Path) -> None:
    require_allowed_files(model, "soup version 1")
    verify_digests(model, digests(model), "soup version 1")
    (model / "registered_model_meta").write_text("model_name: soup\n")  # by MLflow's download
    require_allowed_files(model, "soup version 1")
    verify_digests(model, digests(model), "soup version 1")
    assert _load_pyfunc(str(model / "data" / "soup")).architecture.classes


def test_what_we_write_holds_no_code_and_states_its_digests(model: Path) -> None:
    assert sorted(path.name for path in model.iterdir()) == [
        "MLmodel", "conda.yaml", "data", "python_env.yaml", "requirements.txt",
    ]  # fmt: skip
    stated = stated_digests(model, "soup version 1")
    assert stated == {p: d for p, d in digests(model).items() if p != "MLmodel"}
    assert len(stated) == 6
    assert verify_model(model, "soup version 1") == ""
    assert "modelsoup" not in (model / "requirements.txt").read_text()


HARM = {
    "data/soup/model.safetensors (changed)": lambda model: flip(
        model / "data/soup/model.safetensors"
    ),
    "data/soup/model.json (missing)": lambda model: (model / "data/soup/model.json").unlink(),
    "code/soup/serving.py (added)": lambda model: write(model / "code/soup/serving.py", "evil"),
    "requirements.txt (changed)": lambda model: write(model / "requirements.txt", "evil"),
}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


@pytest.mark.parametrize("told", HARM)
def test_mlflow_loads_no_model_whose_files_are_not_those_it_states(model: Path, told: str) -> None:
    mlflow.pyfunc.load_model(str(model))
    HARM[told](model)
    with pytest.raises(Refused, match=rf"not what was registered: {re.escape(told)}"):
        mlflow.pyfunc.load_model(str(model))


def test_a_model_without_digests_loads_and_says_what_was_not_checked(model: Path) -> None:
    changed_description(model, lambda description: description.pop("metadata"))
    flip(model / "data/soup/model.safetensors")
    assert "states no digests" in verify_model(model, "soup version 1")
    with pytest.warns(UserWarning, match="was registered by an earlier release"):
        mlflow.pyfunc.load_model(str(model))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda d: d["metadata"].update(modelsoup="text"),
            "the digests in its MLmodel are damaged",
        ),
        (lambda d: d["metadata"].update(modelsoup={"files": [1]}), "are damaged"),
        (lambda d: d["metadata"].update(modelsoup={"files": {"x": 1}}), "are damaged"),
        (lambda d: d["flavors"]["python_function"].update(code="code"), "code of its own"),
    ],
)
def test_a_description_that_cannot_be_trusted_is_refused(model: Path, change, told: str) -> None:
    changed_description(model, change)
    with pytest.raises(Refused, match=f"soup version 1 is refused: .*{told}"):
        verify_model(model, "soup version 1")


def changed_description(model: Path, change) -> None:
    description = yaml.safe_load((model / "MLmodel").read_text())
    change(description)
    (model / "MLmodel").write_text(yaml.safe_dump(description))


def test_what_is_no_registered_model_is_not_loaded(model: Path, tmp_path: Path) -> None:
    """As where MLmodel names data outside the folder, whose description would not be found."""
    shutil.copytree(model / "data" / "soup", tmp_path / "other" / "data" / "soup")
    with pytest.raises(Refused, match="it is not the folder data/NAME of an MLflow model"):
        _load_pyfunc(str(tmp_path / "other" / "data" / "soup"))


@pytest.mark.parametrize(
    "name",
    [
        "python_model.pkl",
        "data/soup/model.pt",
        "data/soup/extra/model.safetensors",
        "data/model.bin",
        "code/soup/evil.so",
        "code/other/x.py",
        "code/sitecustomize.py",
        "code/soup/__pycache__/mean.cpython-311.pyc",
        "requirements.txt.pickle",
        "MLmodel.py",
    ],
)
def test_a_pickle_or_any_other_file_is_named_and_never_read(
    model: Path, tmp_path: Path, name: str
) -> None:
    (model / name).parent.mkdir(parents=True, exist_ok=True)
    (model / name).write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    told = f"soup version 1 is refused: it holds {name}; .*never a pickle"
    with pytest.raises(Refused, match=told):
        require_allowed_files(model, "soup version 1")
    with pytest.raises(Refused, match=name):
        _load_pyfunc(str(model / "data" / "soup"))
    assert not (tmp_path / "boom").exists()


def test_a_link_to_a_folder_is_a_stranger_too(model: Path, tmp_path: Path) -> None:
    (model / "data" / "more").symlink_to(tmp_path)
    with pytest.raises(Refused, match="it holds data/more;"):
        require_allowed_files(model, "soup version 1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("flavors: {python_function: {loader_module: mlflow.pyfunc.model}}", "pyfunc.model"),
        ("flavors: {python_function: {loader_module: soup.serving}, sklearn: {}}", "sklearn"),
        ("{}", "not for soup.serving"),
        ("[not a model", "not for soup.serving"),
        ("just text", "not for soup.serving"),
    ],
)
def test_another_loader_is_refused(model: Path, text: str, told: str) -> None:
    (model / "MLmodel").write_text(text)
    with pytest.raises(Refused, match=rf"its MLmodel asks for .*{told}"):
        require_allowed_files(model, "soup version 1")


def test_every_changed_added_and_missing_file_is_named(model: Path) -> None:
    stored = digests(model)
    weights = model / "data" / "soup" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    (model / "conda.yaml").unlink()
    write(model / "code" / "soup" / "more.py", "")
    with pytest.raises(Refused) as refused:
        verify_digests(model, stored, "soup version 1")
    assert str(refused.value) == (
        "soup version 1 is refused: it is not what was registered: data/soup/model.safetensors "
        "(changed); code/soup/more.py (added); conda.yaml (missing); restore the files, or "
        "register the soup again"
    )
