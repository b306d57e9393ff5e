"""Digests that are computed while files are averaged are those of the files, and change no byte."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from soup import Checkpoint, average, save
from soup.known_digests import Changed, FileDigest
from soup.weights import digesting
from soup.weights.digesting import Digesting
from tests.files import different, sharded


@pytest.fixture(autouse=True)
def _no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def models(tmp_path: Path) -> list[Checkpoint]:
    for seed in range(3):
        torch.manual_seed(seed)
        save({"a": torch.randn(300, 1000), "b": torch.randn(7)}, tmp_path / f"{seed}.safetensors")
    return [Checkpoint(tmp_path / f"{seed}.safetensors") for seed in range(3)]


def truth(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def saved(models: list[Checkpoint], out: Path) -> dict[str, str]:
    with Digesting({m.path: m.files for m in models}) as digests:
        save(
            average(models),
            out,
            {"note": json.dumps(digests.placeholders)},
            advance=digests.advance,
            complete=lambda: {"note": json.dumps(digests.finish())},
        )
        return digests.finish()


@pytest.mark.parametrize("step", [1, 1 << 20, 64 << 20])
def test_files_are_hashed_while_they_are_averaged(
    models: list[Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(digesting, "STEP", step)
    digests = {model.path: truth(model.path) for model in models}
    save(average(models), tmp_path / "before", {"note": json.dumps(digests)})
    assert saved(models, tmp_path / "while") == digests
    assert (tmp_path / "while").read_bytes() == (tmp_path / "before").read_bytes()


def test_the_digest_of_shards_is_that_of_their_list(tmp_path: Path) -> None:
    models = [Checkpoint(sharded(different(6), tmp_path / name)) for name in "ab"]
    assert len(models[0].files) > 1
    found = saved(models, tmp_path / "out")
    assert found == {model.path: model.digest() for model in models}


def test_hashing_keeps_pace(models: list[Checkpoint], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digesting, "STEP", 1)
    monkeypatch.setattr(digesting, "STEPS", 0)
    ends: list[int] = []
    monkeypatch.setattr(FileDigest, "advance", lambda self, end: ends.append(end))
    size = Path(models[0].path).stat().st_size
    with Digesting({m.path: m.files for m in models}) as digests:
        digests.advance(0.5)
        assert ends == [size // 2] * 3
        digests.advance(0.5)  # nothing new
        assert len(ends) == 3
        digests.advance(1.0)
        assert ends[3:] == [size] * 3


def test_what_is_known_is_not_read_again(
    models: list[Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soup.known_digests.SETTLED", -1e9)
    first = saved(models, tmp_path / "first")

    def refused(*_: Any) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("soup.known_digests._buffer", refused)
    assert saved(models, tmp_path / "second") == first
    assert (tmp_path / "second").read_bytes() == (tmp_path / "first").read_bytes()


def test_a_model_that_changes_meanwhile_leaves_no_soup(
    models: list[Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(_: float) -> None:
        with Path(models[1].path).open("ab") as file:
            file.write(b"x")

    monkeypatch.setattr(Digesting, "advance", lambda _, share: change(share))
    with pytest.raises(Changed, match=r"1\.safetensors was changed while it was read"):
        saved(models, tmp_path / "out" / "soup")
    assert not list((tmp_path / "out").iterdir())


def test_complete_metadata_of_another_length_is_an_error(
    models: list[Checkpoint], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="not as long as"):
        save(models[0], tmp_path / "out" / "x", {"a": "b"}, complete=lambda: {"a": "b" * 30})
    assert not list((tmp_path / "out").iterdir())


def test_progress_is_told_in_shares(models: list[Checkpoint], tmp_path: Path) -> None:
    shares: list[float] = []
    save(models[0], tmp_path / "out", advance=shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] == 1.0
