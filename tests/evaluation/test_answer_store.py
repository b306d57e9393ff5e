"""Answers are found with their bits, or not at all; the folder keeps to its limit."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from soup.evaluation.answer_store import AnswerStore
from soup.evaluation.metrics import Logits

GIB = 2**30


def logits(seed: int, dtype: type = np.float16) -> Logits:
    return np.random.default_rng(seed).normal(size=(40, 5)).astype(dtype)


def store(folder: Path, files: float = 100) -> AnswerStore:
    """A store with room for so many files of `logits`."""
    AnswerStore(folder / "one").keep("a", logits(0))
    (one,) = (folder / "one").iterdir()
    return AnswerStore(folder / "answers", files * one.stat().st_size / GIB)


def keep(answers: AnswerStore, name: str, age: int = 0) -> None:
    """Keep `logits` that were used so many hours ago."""
    answers.keep(name, logits(ord(name)))
    file = answers.folder / f"{name}.npz"
    when = file.stat().st_mtime - 3600 * age
    os.utime(file, (when, when))


def names(answers: AnswerStore) -> list[str]:
    return sorted(file.stem for file in answers.folder.iterdir())


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_found_has_the_bits_of_what_was_kept(tmp_path: Path, dtype: type) -> None:
    made = logits(1, dtype)
    made[0, :3] = np.nan, np.inf, -0.0
    made[1, 1] = made[1].max()  # a tie, which stays one
    store(tmp_path).keep("a", made)
    found = store(tmp_path).find("a")
    assert found is not None
    assert found.dtype == dtype
    assert found.tobytes() == made.tobytes()
    assert store(tmp_path).find("b") is None


@pytest.mark.parametrize("damage", ["deleted", "empty", "cut", "changed", "of another", "a folder"])
def test_a_damaged_file_counts_as_not_kept_and_is_made_anew(tmp_path: Path, damage: str) -> None:
    answers = store(tmp_path)
    for name in "ab":
        keep(answers, name)
    file = answers.folder / "a.npz"
    content = bytearray(file.read_bytes())
    if damage == "of another":
        shutil.copy(answers.folder / "b.npz", file)
    elif damage in ("deleted", "a folder"):
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        parts = {"empty": 0, "cut": len(content) // 2}
        file.write_bytes(content[: parts.get(damage)])
    if damage == "a folder":
        file.mkdir()
    assert answers.find("a") is None
    answers.keep("a", logits(1))
    found = answers.find("a")
    assert damage == "a folder" or (found == logits(1)).all()
    assert (answers.find("b") == logits(ord("b"))).all()


def test_those_used_longest_ago_make_room(tmp_path: Path) -> None:
    full = store(tmp_path, files=3)
    for age, name in enumerate("abc", start=1):
        keep(full, name, age)
    later = store(tmp_path, files=3)
    assert later.find("c") is not None  # used now, so that b is the oldest
    keep(later, "d")
    assert names(later) == ["a", "c", "d"]
    later.keep("e", np.concatenate([logits(0)] * 9))  # which would leave no room for anything
    assert names(later) == ["a", "c", "d"]


def test_a_second_evaluation_finds_what_the_first_had_room_for(tmp_path: Path) -> None:
    """Removing the oldest of a row that is asked for in turn would leave nothing to be found."""
    found = []
    for _ in range(3):
        answers = store(tmp_path, files=3)
        found.append([name for name in "abcdef" if answers.find(name) is not None])
        for name in "abcdef":
            if name not in found[-1]:
                answers.keep(name, logits(ord(name)))
    assert found == [[], ["a", "b", "c"], ["a", "b", "c"]]


def test_a_folder_that_cannot_be_written_costs_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    answers = AnswerStore(tmp_path / "file" / "answers")
    with caplog.at_level(logging.WARNING):
        for name in "ab":
            answers.keep(name, logits(0))
            assert answers.find(name) is None
    assert len(caplog.records) == 1
    assert "not kept" in caplog.text


def test_an_answer_in_a_folder_without_write_permission_is_found(tmp_path: Path) -> None:
    keep(store(tmp_path), "a")
    answers = store(tmp_path)
    answers.folder.chmod(0o500)
    try:
        assert answers.find("a") is not None
    finally:
        answers.folder.chmod(0o700)


def test_another_process_that_keeps_the_same_or_removes_it_does_no_harm(tmp_path: Path) -> None:
    one, other = store(tmp_path), store(tmp_path)
    keep(one, "a")
    keep(other, "a")
    assert (one.find("a") == logits(ord("a"))).all()
    (one.folder / "a.npz").unlink()
    assert other.find("a") is None
    keep(other, "a")
    assert (one.find("a") == logits(ord("a"))).all()
