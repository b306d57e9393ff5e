"""A registered model holds safetensors, JSON and our source; anything else is refused by name."""

import pickle
from pathlib import Path

import pytest

from soup.models.allowed_files import Refused, digests, require_allowed_files, verify_digests
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
    (model / "code" / "soup" / "more.py").write_text("")
    with pytest.raises(Refused) as refused:
        verify_digests(model, stored, "soup version 1")
    assert str(refused.value) == (
        "soup version 1 is refused: it is not what was registered: data/soup/model.safetensors "
        "(changed); code/soup/more.py (added); conda.yaml (missing); restore the files, or "
        "register the soup again"
    )
