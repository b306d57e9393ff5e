"""The studies that take other projects: weak pretraining, and other data."""

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from soup.config.studies import StudyOptions
from soup.errors import BadInput
from soup.pipeline import study_others
from soup.report.figures import svg
from soup.studies import other_data, weak_pretraining
from soup.studies.bench import Bench
from soup.weights.checkpoint import Checkpoint, save
from tests.studies.mlp_pool import Pool, pool


def two(folder: Path, weaker: Pool) -> tuple[Pool, Bench]:
    made = pool(4, seed=8)
    weaker.sets = made.sets  # the same examples
    bench, other = made.bench(folder / "a"), weaker.bench(folder / "b")
    bench.name, bench.others = "strong", {"weak": other}
    return made, bench


def rights(made: Pool, names: list[str], split: str) -> Any:
    return made.network_answers(made.average(names), split) == made.sets[split].labels


def greedy(made: Pool) -> list[str]:
    kept: list[str] = []
    for name in made.ranked:
        if not kept or made.errors(made.average([*kept, name]), "heldout") <= made.errors(
            made.average(kept), "heldout"
        ):
            kept.append(name)
    return kept


def test_gains_of_two_sweeps_are_compared_on_the_same_examples(tmp_path: Path) -> None:
    weaker = pool(4, seed=9, spread=0.6)
    made, bench = two(tmp_path, weaker)
    found = weak_pretraining.STUDY.run(bench, StudyOptions())
    gains = found.table.set_index(["kind", "split", "method"])["gain"]
    means = []
    for name, of in (("strong", made), ("weak", weaker)):
        single = rights(of, of.ranked[:1], "test").mean()
        for method, members in (("uniform", of.ranked), ("greedy", greedy(of))):
            gain = rights(of, members, "test").mean() - single
            assert gains[name, "test", method] == pytest.approx(gain)
        means.append(rights(of, greedy(of), "test").mean() - single)
    value, (low, high) = weak_pretraining.gain_difference(
        bench, bench.others["weak"], "greedy", "test"
    )
    assert value == pytest.approx(means[0] - means[1])
    assert low <= value <= high
    assert "The greedy soup's gain in strong less that in weak" in found.sentence
    assert svg(found.figure).startswith("<svg")
    made.passes.clear()
    weaker.passes.clear()
    again = weak_pretraining.STUDY.run(bench, StudyOptions())
    assert again.sentence == found.sentence
    assert made.passes == weaker.passes == []


def test_other_examples_and_no_other_sweep_are_refused(tmp_path: Path) -> None:
    made = pool(3)
    bench = made.bench(tmp_path / "a")
    with pytest.raises(BadInput, match=r"one other finished sweep.*got 0.*--other WEAK\.yaml"):
        weak_pretraining.STUDY.run(bench, StudyOptions())
    bench.others = {"weak": pool(3, examples=50).bench(tmp_path / "b")}
    with pytest.raises(BadInput, match="those of test differ in weak"):
        weak_pretraining.STUDY.run(bench, StudyOptions())


def test_every_subset_of_backbones_is_averaged_with_the_base(tmp_path: Path) -> None:
    made = pool(3, names=["zero-shot", "food", "cars", "flowers"], seed=11)
    bench = made.bench(tmp_path)
    others = ["food", "cars", "flowers"]
    bench.name, bench.others = "pets", dict.fromkeys(others, bench)
    found = other_data.STUDY.run(bench, StudyOptions())
    table = found.table[found.table["split"] == "test"]
    zero = 1 - made.errors(made.models["zero-shot"], "test") / len(made.sets["test"])
    assert table.loc[table["method"] == "zero-shot", "mean"].item() == pytest.approx(zero)
    for count in (1, 2, 3):
        scores = [
            rights(made, ["zero-shot", *subset], "test").mean()
            for subset in combinations(others, count)
        ]
        row = table[(table["method"] == "uniform") & (table["x"] == count)].iloc[0]
        assert (row["mean"], row["low"], row["high"]) == pytest.approx(
            (np.mean(scores), min(scores), max(scores))
        )
    assert "On test of pets, which none was fine-tuned on" in found.sentence
    assert svg(found.figure).startswith("<svg")
    with pytest.raises(BadInput, match=r"two or more finished projects .* got 0"):
        other_data.STUDY.run(made.bench(tmp_path), StudyOptions())


def test_a_transplanted_backbone_has_the_other_head_and_is_read_when_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"trunk": torch.arange(4.0), "head.weight": torch.ones(5, 4)}
    save(body, tmp_path / "model.safetensors")
    head = {"head.weight": torch.full((3, 4), 2.0)}
    made = study_others.Transplanted(Checkpoint(tmp_path / "model.safetensors"), head)
    assert made.specs["head.weight"].shape == (3, 4)
    assert torch.equal(made["trunk"], body["trunk"])
    assert torch.equal(made["head.weight"], head["head.weight"])
    assert torch.equal(made.reader("head.weight")(3, 7), torch.full((4,), 2.0))
    with monkeypatch.context() as patch:  # of a backbone, averages read the parts that they sum
        patch.delattr(Checkpoint, "__getitem__")
        assert torch.equal(made.reader("trunk")(1, 3), body["trunk"][1:3])
    assert set(made) == set(body)


def project(root: Path, experiment: str) -> Any:
    out = root / "out" / experiment
    return SimpleNamespace(root=root, params=SimpleNamespace(experiment=experiment), out=out)


def test_bases_that_differ_and_bases_without_a_text_head_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("pets", "food", "cars")
    for number, name in enumerate(names):
        folder = tmp_path / "out" / name / "base"
        folder.mkdir(parents=True)
        trunk = torch.arange(4.0) + (number == 2)
        save({"trunk": trunk, "head.weight": torch.ones(3, 4)}, folder / "model.safetensors")
        save({"head.weight": torch.ones(3, 4)}, folder / "zeroshot.safetensors")
    ours = project(tmp_path, "pets")
    monkeypatch.setattr(
        study_others, "projects_of", lambda _, files: {f: project(tmp_path, f) for f in files}
    )
    benches = SimpleNamespace(models={}, ranked=[], others={})

    def best(other: Any, _file: str) -> Any:
        weights = Checkpoint(other.out / "base" / "model.safetensors")
        return SimpleNamespace(weights=weights, digest=other.params.experiment)

    monkeypatch.setattr(study_others, "best_of", best)
    monkeypatch.delattr(study_others, "bench_of")  # which builds a network
    study_others.add_others(benches, ours, ["food"], None, transplants=True)  # type: ignore[arg-type]
    assert [*benches.models] == ["zero-shot", "food"]
    with pytest.raises(BadInput, match="cars has another base than pets"):
        study_others.add_others(benches, ours, ["food", "cars"], None, True)  # type: ignore[arg-type]
    save({}, ours.out / "base" / "zeroshot.safetensors")
    with pytest.raises(BadInput, match="that of pets has none"):
        study_others.add_others(benches, ours, ["food"], None, True)  # type: ignore[arg-type]


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "weak.yaml").write_text("")
    assert study_others.existing(["weak.yaml"], tmp_path) == ["weak.yaml"]
    with pytest.raises(BadInput, match=r"--other none\.yaml"):
        study_others.existing(["none.yaml"], tmp_path)
