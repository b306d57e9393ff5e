"""The command keeps what models answered: cooking again, or comparing, passes only what is new."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from soup.cli import heldout_folder
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.metrics import Logits
from soup.weights import Weights
from tests.cli.conftest import Candidates, Command


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counter[str]:
    """How often the logits of each checkpoint are computed from now on; the cache is empty."""
    passes: Counter[str] = Counter()
    plain = Evaluator.logits

    def counted(self: Evaluator, weights: Weights) -> Logits:
        if not isinstance(weights, dict):  # it is no soup
            passes[Path(str(weights)).stem] += 1
        return plain(self, weights)

    monkeypatch.setattr(Evaluator, "logits", counted)
    monkeypatch.setattr(heldout_folder, "CACHE", tmp_path / "cache")
    return passes


def cooked(soup: Command, candidates: Candidates, out: Path, *options: object) -> object:
    said = soup(
        "cook", "--heldout", candidates.heldout, "--out", out, "--json", *options,
        *candidates.models,
    )  # fmt: skip
    assert said.code == 0, said.err
    return {**json.loads(said.out), "out": "", "bytes": out.read_bytes()}


def compared(soup: Command, candidates: Candidates) -> str:
    """What comparing the first two models says."""
    said = soup("compare", "--json", *candidates.models[:2], "--on", candidates.heldout)
    assert said.code == 0, said.err
    return said.out


@pytest.mark.parametrize("metric", ["accuracy", "top5", "f1", "loss"])
def test_a_second_cooking_passes_no_ingredient_and_gives_the_same(
    soup: Command, candidates: Candidates, tmp_path: Path, passed: Counter[str], metric: str
) -> None:
    out = tmp_path / "out.safetensors"
    cold = cooked(soup, candidates, out, "--metric", metric)
    assert passed == Counter({path.stem: 1 for path in candidates.models})
    passed.clear()
    assert cooked(soup, candidates, out, "--metric", metric) == cold
    assert not passed
    for file in (tmp_path / "cache" / "answers").iterdir():  # damaged: computed anew
        file.write_bytes(file.read_bytes()[:-40])
    assert cooked(soup, candidates, out, "--metric", metric) == cold
    assert sum(passed.values()) == len(candidates.models)


def test_other_verbs_and_other_models_share_what_is_kept(
    soup: Command, candidates: Candidates, tmp_path: Path, passed: Counter[str]
) -> None:
    said = [compared(soup, candidates)]
    passed.clear()
    said.append(compared(soup, candidates))
    assert not passed
    shutil.rmtree(tmp_path / "cache" / "answers")
    said.append(compared(soup, candidates))
    assert said[0] == said[1] == said[2]
    passed.clear()
    cooked(soup, candidates, tmp_path / "out.safetensors", "--recipe", "uniform")
    assert passed == Counter({path.stem: 1 for path in candidates.models[2:]})


def test_pictures_that_changed_are_answered_anew(
    soup: Command, candidates: Candidates, tmp_path: Path, passed: Counter[str]
) -> None:
    shutil.copytree(candidates.heldout, tmp_path / "pictures")
    soup("compare", candidates.models[0], "--on", tmp_path / "pictures")
    passed.clear()
    one, other, *_ = sorted((tmp_path / "pictures").glob("*/*"))
    shutil.copy(other, one)
    soup("compare", candidates.models[0], "--on", tmp_path / "pictures")
    assert passed == Counter({candidates.models[0].stem: 1})


def test_answers_in_other_batches_are_other_answers(
    soup: Command, candidates: Candidates, passed: Counter[str]
) -> None:
    for size in (64, 256, 32):
        soup("compare", candidates.models[0], "--on", candidates.heldout, "--batch-size", size)
    assert passed == Counter({candidates.models[0].stem: 2})  # no batch has more than 64 on a CPU
