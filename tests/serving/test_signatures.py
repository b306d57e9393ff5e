"""A signed model is served as it was signed, and no other."""

import subprocess
from pathlib import Path

import pytest
import yaml

from soup.errors import BadInput
from soup.models.allowed_files import Refused
from soup.serving.signatures import sign, verify
from soup.tracking import save_pyfunc
from tests.worlds import put, tiny

pytest.importorskip("model_signing", reason="the extra 'sign'")


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    """A private and a public key, as the docs make them."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    curve = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private]
    subprocess.run(curve, check=True)
    subprocess.run(
        ["openssl", "ec", "-in", private, "-pubout", "-out", public],
        check=True,
        capture_output=True,
    )
    return private, public


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "soup").mkdir()
    save_pyfunc(put(tmp_path / "soup", tiny()), tmp_path / "model")
    return tmp_path / "model"


def test_a_signed_model_passes_wherever_it_is(model: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path, "ours")
    signature = sign(model, private, "soup version 1")
    assert len(signature) < 5000  # characters: what a tag of any database holds
    verify(model, signature, public, "soup version 1")
    elsewhere = model.rename(tmp_path / "elsewhere")
    (elsewhere / "registered_model_meta").write_text("model_name: soup\n")  # by MLflow's download
    verify(elsewhere, signature, public, "soup version 1")


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


HARM = {
    "weights": lambda model: flip(model / "data/soup/model.safetensors"),
    "MLmodel": lambda model: (model / "MLmodel").write_text("flavors: {}"),
    "added": lambda model: (model / "sitecustomize.py").write_text(""),
    "hidden": lambda model: (model / ".gitignore").write_text(""),
    "missing": lambda model: (model / "conda.yaml").unlink(),
    "a link": lambda model: (model / "data/more").symlink_to(model / "data/soup"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_model_that_is_not_as_it_was_signed_is_refused(
    model: Path, tmp_path: Path, harm: str
) -> None:
    private, public = keys(tmp_path, "ours")
    signature = sign(model, private, "soup version 1")
    HARM[harm](model)
    with pytest.raises(Refused, match=r"soup version 1 is refused: its signature is not that of"):
        verify(model, signature, public, "soup version 1")


def test_unsigned_wrongly_signed_and_damaged_are_refused(model: Path, tmp_path: Path) -> None:
    private, _ = keys(tmp_path, "theirs")
    _, public = keys(tmp_path, "ours")
    signature = sign(model, private, "soup version 1")
    for wrong in (signature, "{}", "no JSON", signature.replace('"payload": "e', '"payload": "f')):
        with pytest.raises(Refused, match=r"is refused: its signature is not that of .*ours\.pub"):
            verify(model, wrong, public, "soup version 1")
    with pytest.raises(Refused, match="it is not signed; sign it with 'soup champion promote"):
        verify(model, "", public, "soup version 1")


def test_keys_that_are_none_are_told(model: Path, tmp_path: Path) -> None:
    private, _ = keys(tmp_path, "ours")
    (tmp_path / "none.pem").write_text("no key")
    with pytest.raises(BadInput, match=r"none\.pem cannot sign: .*; make a key with 'openssl"):
        sign(model, tmp_path / "none.pem", "soup version 1")
    with pytest.raises(BadInput, match=r"none\.pem is no public key in PEM"):
        verify(model, "{}", tmp_path / "none.pem", "soup version 1")
    with pytest.raises(BadInput, match=r"ours\.pem is no public key in PEM"):
        verify(model, "{}", private, "soup version 1")


def test_a_model_of_an_earlier_release_is_not_signed(model: Path, tmp_path: Path) -> None:
    private, _ = keys(tmp_path, "ours")
    description = yaml.safe_load((model / "MLmodel").read_text())
    del description["metadata"]
    (model / "MLmodel").write_text(yaml.safe_dump(description))
    with pytest.raises(BadInput, match=r"registered by an earlier release .* register it again"):
        sign(model, private, "soup version 1")
