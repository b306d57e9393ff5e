"""Damaged files: a verb ends with code 2 and a line that names the file; nothing is written."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.conftest import Command
from tests.worlds import COLOURS, draw, put, tiny

WEIGHTS = {"w": torch.zeros(2, 2), "b": torch.zeros(2)}
DEEP = "[" * 5000


def header(change: Callable[[dict[str, Any]], object], data: bytes = b"\0" * 24) -> bytes:
    """A safetensors file of two tensors, with a changed header."""
    table: dict[str, Any] = {
        "w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
    }
    change(table)
    text = json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + data


def tar(name: bytes) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a" * 80))
    return content.getvalue().replace(b"ustar", name, 1)


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        opened.writestr("weights/data.pkl", b"\x80\x02}.")
        opened.writestr("weights/version", b"3")
    return content.getvalue()


HEADERS = {
    "a shape of text": lambda t: t["w"].update(shape="22"),
    "a negative shape": lambda t: t["w"].update(shape=[-2, -2]),
    "a huge shape": lambda t: t["w"].update(shape=[2**62, 4]),
    "offsets of text": lambda t: t["w"].update(data_offsets=["0", "16"]),
    "three offsets": lambda t: t["w"].update(data_offsets=[0, 8, 16]),
    "no table": lambda t: t.update(w=[1]),
    "no dtype": lambda t: t["w"].pop("dtype"),
    "a dtype of no text": lambda t: t["w"].update(dtype=[]),
    "metadata of numbers": lambda t: t.update(__metadata__={"lr": 1}),
    "ties to nothing": lambda t: t.update(__metadata__={"soup.tied": '{"h": "none"}'}),
    "deep ties": lambda t: t.update(__metadata__={"soup.tied": DEEP}),
    "a list of ties": lambda t: t.update(__metadata__={"soup.tied": '["w"]'}),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_damaged_header_is_told_in_a_line(soup: Command, tmp_path: Path, kind: str) -> None:
    sound, damaged = tmp_path / "sound.safetensors", tmp_path / "damaged.safetensors"
    save_file(WEIGHTS, sound)
    damaged.write_bytes(header(HEADERS[kind]))
    for verb in ("inspect", "cook"):
        out = ["--recipe", "uniform", "--out", tmp_path / "s.safetensors"] if verb == "cook" else []
        said = soup(verb, sound, damaged, *out)
        assert said.code == 2, said
        assert said.err.startswith(f"error: {damaged}: ")
        assert len(said.err) < 500
    assert {path.name for path in tmp_path.iterdir()} == {sound.name, damaged.name}


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        DEEP.encode(),
        b"[]",
        b'{"weight_map": []}',
        b'{"weight_map": {}}',
        b'{"weight_map": {"w": 1}}',
        b'{"weight_map": {"w": "a\\u0000b"}}',
        b'{"weight_map": {"w": ".."}}',
        b'{"weight_map": {"w": "a\\nb"}}',
        b'{"weight_map": {"w": "none.safetensors"}}',
    ],
)
@pytest.mark.parametrize("verb", ["inspect", "import"])
def test_a_damaged_index_is_told(soup: Command, tmp_path: Path, content: bytes, verb: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(content)
    out = ["--out", tmp_path / "new.safetensors"] if verb == "import" else []
    said = soup(verb, index, *out)
    assert said.code == 2, said
    assert index.name in said.err
    assert len(said.err) < 500
    assert [*tmp_path.iterdir()] == [index]


DESCRIPTIONS = {
    "no JSON": "{",
    "deep": DEEP,
    "a list": "[]",
    "an image size of text": '{"image_size": "x"}',
    "a huge image size": '{"image_size": 1e400}',
    "classes of numbers": '{"classes": [1, 2]}',
    "two keys": '{"model": "a", "model": "b"}',
    "arguments in a list": '{"kwargs": [1]}',
}


@pytest.mark.parametrize("kind", DESCRIPTIONS)
@pytest.mark.parametrize("where", ["model.json", "metadata"])
def test_a_damaged_description_is_told(
    soup: Command, tmp_path: Path, kind: str, where: str
) -> None:
    draw(tmp_path / "pictures", dict.fromkeys(COLOURS, 2))
    put(tmp_path / "one", tiny())
    weights = tmp_path / "one/model.safetensors"
    (tmp_path / "one/model.json").write_text(DESCRIPTIONS[kind])
    if where == "metadata":
        save_file(WEIGHTS, weights, {"architecture": DESCRIPTIONS[kind]})
    option = ["--model", tmp_path / "one/model.json"] if where == "model.json" else []
    for verb in (
        ("predict", *option, weights, tmp_path / "pictures/red/000.png"),
        ("compare", weights, weights, "--on", tmp_path / "pictures"),
    ):
        said = soup(*verb)
        assert said.code == 2, said
        assert "does not describe a model" in said.err, said
        assert str(tmp_path) in said.err
        assert len(said.err) < 600


SOURCES = {
    "a tar that is none": tar(b"ustar")[:700],
    "a tar with a number that is none": tar(b"ustar").replace(b"0000000", b"zzzzzzz"),
    "a zip cut short": archive()[:150],
    "a zip of another version": archive().replace(b"\x14\x00", b"\xff\x00"),
    "a zip whose names are elsewhere": archive().replace(b"data.pkl", b"d\xffta.pkl"),
    "a pickle cut short": archive().replace(b"\x80\x02}.", b"\x80\x02}}"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_damaged_source_is_told(soup: Command, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "weights.pt"
    source.write_bytes(SOURCES[kind])
    said = soup("import", source, "--out", tmp_path / "new.safetensors")
    assert said.code == 2, said
    assert said.err.startswith(f"error: {source}: ")
    assert len(said.err) < 700
    assert [*tmp_path.iterdir()] == [source]


def test_an_argument_that_is_no_yaml_is_told(soup: Command, tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    for value in ("[1", DEEP, "2001-99-99"):
        said = soup("predict", tmp_path / "w.safetensors", "x.png", "--kwargs", f"a={value}")
        assert said.code == 2, said
        assert "is not YAML" in said.err
