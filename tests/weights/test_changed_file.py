"""A file that changes while it is read is named, and never read by an old header."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from soup.known_digests import Changed
from soup.weights import average
from soup.weights.checkpoint import Checkpoint, save
from tests.files import different


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error_and_no_crash(
    tmp_path: Path,
) -> None:
    save({"w": torch.rand(300_000)}, tmp_path / "w.safetensors")
    average_ = average([Checkpoint(tmp_path / "w.safetensors")])
    with (tmp_path / "w.safetensors").open("r+b") as file:
        file.truncate(600_000)
    with pytest.raises(Changed, match=r"w.safetensors was changed while it was read"):
        save(average_, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_a_file_that_is_replaced_after_it_was_opened_is_not_read_by_the_old_header(
    tmp_path: Path,
) -> None:
    for name in "ab":
        save(different(3), tmp_path / name)
    models = [Checkpoint(tmp_path / name) for name in "ab"]
    mean = average(models)
    assert torch.equal(mean["w00"], different(3)["w00"])  # the files stay open
    later = average([Checkpoint(tmp_path / "b")])
    save(different(3), tmp_path / "b", {"note": "x" * 400})
    with pytest.raises(Changed, match=r"/b was changed while it was read: try again"):
        later["w00"]
    assert torch.equal(mean["w00"], different(3)["w00"])
    with pytest.raises(Changed, match=r"/b was changed while it was read"):
        models[1].digest()


def test_a_file_that_is_replaced_while_it_is_opened_is_told_to_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(different(3), tmp_path / "w")

    def replacing(path: str, framework: str) -> object:
        save(different(4), path)
        return safe_open(path, framework)

    monkeypatch.setattr("soup.weights.local_file.safe_open", replacing)
    with pytest.raises(Changed, match=r"/w was changed while it was read: try again"):
        Checkpoint(tmp_path / "w")
