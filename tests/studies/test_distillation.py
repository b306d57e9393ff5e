"""The study of distillation: what the student is taught, and how it is compared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soup.config.studies import StudyOptions
from soup.errors import BadInput
from soup.models import build
from soup.pipeline.study_bench import Predictor
from soup.pipeline.study_student import Students
from soup.report.figures import svg
from soup.studies.distillation import STUDENT, STUDY
from soup.studies.model import Model
from soup.train.distil import Lesson, distil, hyperparameters_of
from tests import worlds
from tests.studies.mlp_pool import Pool, Vectors, pool


@pytest.fixture(scope="module")
def made() -> Pool:
    settings = {f"run-{n}": {"lr": 0.1 * (n + 1), "epochs": 2} for n in range(4)}
    return pool(4, settings=settings, seed=6)


class School:
    """Gives a fixed model as the student, and remembers the lessons."""

    def __init__(self, made: Pool, weights: dict[str, Any]) -> None:
        self.made, self.weights, self.lessons = made, weights, []

    def __call__(self, digest: str, examples: Any, probabilities: Any, *rest: Any) -> Model:
        self.lessons.append((digest, examples, probabilities, *rest))
        return Model(STUDENT, self.weights, "digest of the student")


def ensemble(made: Pool, split: str) -> Any:
    logits = sum(made.logits(made.models[name], split) for name in made.ranked) / 4
    chances = np.exp(logits - logits.max(1, keepdims=True))
    return chances / chances.sum(1, keepdims=True)


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_the_student_is_taught_the_ensembles_probabilities(
    made: Pool, tmp_path: Path, split: str
) -> None:
    school = School(made, made.models["probe"])
    options = StudyOptions() if split == "train" else StudyOptions(examples="heldout")
    STUDY.run(made.bench(tmp_path, teach=school), options)
    ((_, examples, probabilities, settings, _),) = school.lessons
    assert examples.digest == made.sets[split].digest
    np.testing.assert_allclose(probabilities, ensemble(made, split), atol=1e-9)
    assert settings == made.settings[made.ranked[0]]


def test_a_model_without_hyperparameters_is_refused_before_its_answers_are_asked_for(
    tmp_path: Path,
) -> None:
    imported = pool(4, seed=6)
    school = School(imported, imported.models["probe"])
    with pytest.raises(BadInput, match=r"was imported without lr and epochs"):
        STUDY.run(imported.bench(tmp_path, teach=school), StudyOptions())
    assert not school.lessons


def test_the_student_is_scored_beside_soups_and_ensemble(made: Pool, tmp_path: Path) -> None:
    school = School(made, made.models["probe"])
    found = STUDY.run(made.bench(tmp_path, teach=school), StudyOptions())
    table = found.table.set_index(["method", "split"])
    for split in ("heldout", "test"):
        count = len(made.sets[split])
        right = 1 - made.errors(made.models["probe"], split) / count
        assert table.loc[(STUDENT, split), "accuracy"] == pytest.approx(right)
        soup = 1 - made.errors(made.average(made.ranked), split) / count
        assert table.loc[("uniform", split), "accuracy"] == pytest.approx(soup)
        voted = ensemble(made, split).argmax(1) == made.sets[split].labels
        assert table.loc[("ensemble", split), "accuracy"] == pytest.approx(voted.mean())
    assert set(found.table.loc[found.table["method"] == "ensemble", "passes"]) == {4}
    assert set(found.table.loc[found.table["method"] != "ensemble", "passes"]) == {1}
    # The initialisation itself is the student here, and is worse than the soup.
    assert "the better one is: the soup on test" in found.sentence
    assert svg(found.figure).startswith("<svg")


def test_another_seed_is_another_lesson_and_the_same_is_the_same(
    made: Pool, tmp_path: Path
) -> None:
    school = School(made, made.models["probe"])
    for seed in (0, 0, 1):
        STUDY.run(made.bench(tmp_path, teach=school), StudyOptions(seed=seed))
    first, second, third = (lesson[0] for lesson in school.lessons)
    assert first == second != third


def test_a_student_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture, model = worlds.tiny()
    lessons = []

    def trains(student: Any, lesson: Any, folder: Path, advance: Any) -> None:
        lessons.append(lesson)
        with np.errstate(all="ignore"):
            next(student.parameters()).data.add_(1)

    monkeypatch.setattr("soup.pipeline.study_student.distil", trains)
    students = Students(tmp_path, lambda: build(architecture), model.state_dict)
    settings = {"lr": 0.1, "epochs": 2}
    given = ("digest", range(2), np.zeros((2, 3)), settings, 0)
    first = students(*given)  # type: ignore[arg-type]
    second = students(*given)  # type: ignore[arg-type]
    assert len(lessons) == 1
    assert first.digest == second.digest
    name = next(iter(dict(model.named_parameters())))
    assert (first.weights[name] == model.state_dict()[name] + 1).all()
    build(architecture, second.weights)
    students("another", *given[1:])  # type: ignore[arg-type]
    assert len(lessons) == 2


def test_a_student_is_trained_in_the_network_of_the_passes_as_in_one_of_its_own(
    tmp_path: Path,
) -> None:
    architecture, start = worlds.tiny(seed=1)
    _, network = worlds.tiny(seed=2)
    rng = np.random.default_rng(0)
    pictures = torch.tensor(rng.normal(size=(10, 3, 20, 20)), dtype=torch.float32)
    examples = Vectors(pictures, np.arange(10) % 3, "pictures")
    chances = rng.dirichlet(np.ones(3), size=10)
    settings = {"lr": 0.01, "epochs": 2, "batch_size": 4}

    predictor = Predictor(network, "the network", 10, bf16=False, recalibration=None)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    before = predictor(weights, examples, False)
    students = Students(tmp_path / "students", predictor.lend, start.state_dict)
    taught = students("digest", examples, chances, settings, 3)

    own = build(architecture, start.state_dict())
    distil(own, Lesson(examples, chances, hyperparameters_of(settings, 3)), tmp_path / "own")
    for name, tensor in own.state_dict().items():
        assert torch.equal(taught.weights[name], tensor)
        assert not torch.equal(tensor, start.state_dict()[name]) or not tensor.is_floating_point()
    assert not any(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert (predictor(weights, examples, False) == before).all()  # which it has to load again
