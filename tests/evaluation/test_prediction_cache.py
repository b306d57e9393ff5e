"""Logits that are kept are computed once, by what made them; all are rounded alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from soup.data.loading.examples import ImageExamples, as_examples
from soup.data.loading.images import Images
from soup.evaluation import prediction_cache
from soup.evaluation.answer_store import AnswerStore
from soup.evaluation.metrics import Logits
from soup.evaluation.prediction_cache import PredictionCache, Source, digest_of, how_computed
from soup.evaluation.prediction_file import to_float16_keeping_argmax
from soup.evaluation.split_scores import score_splits
from soup.evaluation.targets import Targets, among_present
from soup.models.transforms import image_input
from soup.weights import Weights
from tests.worlds import architecture


def named(name: str) -> ImageExamples:
    images = Images(None, np.zeros(4, np.int64), (), digest=name)
    return as_examples(images, image_input(architecture()))


SPLITS = ("heldout", "test", "r")
SETS = {name: named(name) for name in SPLITS}
TARGETS = {name: among_present(name, np.array([0, 1, 2, 0])) for name in SPLITS}
WEIGHTS = {"w": torch.tensor([3.1])}


def source(name: str = "a", digest: str = "digest of a", heldout: Logits | None = None) -> Source:
    known = None if heldout is None else lambda: heldout
    return Source(name, "ingredient", f"run of {name}", lambda: WEIGHTS, lambda: digest, known)


@dataclass
class World:
    """A store, and a model whose logits say which images and weights they are of."""

    kept: dict[tuple[str, str], Logits] = field(default_factory=dict)
    runs: list[tuple[str, str]] = field(default_factory=list)
    computed: list[str] = field(default_factory=list)

    def compute(self, weights: Weights, images: ImageExamples) -> Logits:
        self.computed.append(images.digest)
        return np.full((4, 3), 1 / 3 + len(images.digest), np.float32) * float(weights["w"])

    def keep(self, run_id: str, split: str, digest: str, logits: Logits) -> None:
        self.runs.append((run_id, split))
        self.kept[split, digest] = logits

    def cache(self, **options: object) -> PredictionCache:
        given = {"kept": ["test"], "find": lambda *key: self.kept.get(key), "keep": self.keep}
        return PredictionCache(SETS, TARGETS, architecture(), self.compute, **{**given, **options})


def every(cache: PredictionCache, model: Source) -> Mapping[str, Logits]:
    return {split: cache(model, split) for split in cache.sets}


@pytest.fixture
def world() -> World:
    """In which the answers of one model on test are kept."""
    made = World()
    every(made.cache(), source())
    assert made.computed == ["heldout", "test", "r"]
    assert made.runs == [("run of a", "test")]
    made.computed.clear()
    return made


def test_what_is_kept_is_not_computed_again_and_gives_the_same(world: World) -> None:
    first = every(World().cache(), source())
    second = every(world.cache(), source("the same by another name"))
    assert world.computed == ["heldout", "r"]
    for split in SETS:
        np.testing.assert_array_equal(second[split], first[split])
    assert world.runs == [("run of a", "test")]


@pytest.mark.parametrize("changed", ["weights", "images", "architecture", "how", "code", "answers"])
def test_what_was_made_otherwise_is_computed(
    world: World, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    cache = world.cache(how=lambda _: "bf16" if changed == "how" else "")
    if changed == "code":
        monkeypatch.setattr(prediction_cache, "of_code", lambda *_: "later")
    if changed == "images":
        cache = replace(cache, sets={"test": replace(SETS["test"], digest="other")})
    if changed == "architecture":
        cache = replace(cache, architecture=architecture(24))
    if changed == "answers":
        cache = replace(cache, targets={**TARGETS, "test": among_present("test", np.array([0, 2]))})
    every(cache, source(digest="other" if changed == "weights" else "digest of a"))
    assert len(world.computed) == len(cache.sets)


def test_known_answers_on_held_out_cost_nothing(world: World) -> None:
    known = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float16)
    found = every(world.cache(), source(heldout=known))
    np.testing.assert_array_equal(found["heldout"], known)
    assert world.computed == ["r"]


def test_logits_that_an_earlier_version_stored_as_infinite_are_computed_anew() -> None:
    infinite = np.full((4, 3), np.inf, np.float16)
    world = World()
    every(world.cache(), source())
    world.kept = dict.fromkeys(world.kept, infinite)
    world.computed.clear()
    found = every(world.cache(), source(heldout=infinite))
    assert sorted(world.computed) == ["heldout", "r", "test"]
    assert all(np.isfinite(logits).all() for logits in found.values())
    assert all(np.isfinite(logits).all() for logits in world.kept.values())


def test_all_is_rounded_alike_whether_it_is_kept_or_not() -> None:
    found = every(World().cache(), source())
    for split, images in SETS.items():
        exact = World().compute(WEIGHTS, images)
        assert found[split].dtype == np.float16
        assert (found[split] != exact).all()
        np.testing.assert_array_equal(found[split], to_float16_keeping_argmax(exact))


def test_digests_are_asked_for_only_where_predictions_are_kept() -> None:
    def costly() -> str:
        raise AssertionError

    every(World().cache(kept=[]), replace(source(), digest=costly))


def test_a_model_and_a_soup_of_it_alone_have_the_same_figures() -> None:
    """An ingredient's held-out logits come from its float16 file, a soup's are computed."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=300)
    exact = (5 * rng.normal(size=(300, 3))).astype(np.float32)
    exact[:100, 1] = exact[:100, 0] * (1 + 1e-5)  # float16 cannot tell these apart
    sets = {split: replace(SETS[split], labels=labels) for split in ("heldout", "test")}
    targets = {split: among_present(split, labels) for split in sets}
    cache = PredictionCache(sets, targets, architecture(), lambda *_: exact)
    models = {
        "ingredient": source("ingredient", heldout=to_float16_keeping_argmax(exact)),
        "soup": source("soup"),
    }
    ensembles = {"ensemble": ["ingredient"], "ensemble of twins": ["ingredient", "soup"]}
    scores = score_splits(
        [*models], ensembles, targets, lambda name, split: cache(models[name], split), 15
    )
    for split in sets:
        own = scores["ingredient"][split]
        assert own.right.tolist() == (exact.argmax(axis=1) == labels).tolist()
        for name in ("soup", *ensembles):
            assert (scores[name][split].nll, scores[name][split].ece) == (own.nll, own.ece)
            np.testing.assert_array_equal(scores[name][split].right, own.right)


def test_the_likeliest_of_a_splits_own_answers_survives_the_rounding() -> None:
    """Where a split has some of the classes, rounding may make ties below the very top."""
    exact = np.array([[9, 1, 1 + 1e-5], [9, 1 + 1e-5, 1]], dtype=np.float32)
    targets = {"r": Targets("r", ((1,), (2,)), np.array([1, 0]))}
    sets = {"r": replace(SETS["r"], labels=np.array([2, 1]))}
    cache = PredictionCache(sets, targets, architecture(), lambda *_: exact)
    scores = score_splits(["a"], {}, targets, lambda _, split: cache(source(), split), 15)
    assert scores["a"]["r"].right.all()


def test_a_digest_tells_weights_apart_by_names_shapes_and_numbers() -> None:
    plain = {"a": torch.zeros(2, 3), "b": torch.tensor(1.5)}
    others = [
        {"c": plain["a"], "b": plain["b"]},
        {**plain, "a": torch.zeros(3, 2)},
        {**plain, "a": torch.zeros(2, 3, dtype=torch.float16)},
        {**plain, "b": torch.tensor(1.5000001)},
    ]
    assert len({digest_of(each) for each in [plain, *others]}) == 5
    assert digest_of({"b": plain["b"], "a": plain["a"].T.contiguous().T}) == digest_of(plain)


def test_answers_of_every_split_are_kept_here_and_asked_of_no_run(
    world: World, tmp_path: Path
) -> None:
    asked: list[str] = []

    def find(split: str, digest: str) -> Logits | None:
        asked.append(split)
        return world.kept.get((split, digest))

    tables = []
    for _ in range(3):
        known = {split: digest for split, digest in world.kept if split == "test"}
        cache = world.cache(answers=AnswerStore(tmp_path / "answers"), find=find)
        tables.append(every(cache, replace(source(), stored=known)))
    # What is kept of a run comes from there once; the rest is computed once.
    assert world.computed == ["heldout", "r"]
    assert asked == ["test"]
    for split in SETS:
        assert len({table[split].tobytes() for table in tables}) == 1
        assert {table[split].dtype for table in tables} == {np.dtype(np.float16)}


def test_what_a_study_kept_here_is_stored_with_the_run_too(world: World, tmp_path: Path) -> None:
    answers = AnswerStore(tmp_path / "answers")
    other = World()
    every(other.cache(answers=answers, kept=[]), source())
    assert other.runs == []
    cold, warm = every(World().cache(), source()), every(other.cache(answers=answers), source())
    assert other.computed == ["heldout", "test", "r"]
    assert other.runs == [("run of a", "test")]
    assert all(cold[split].tobytes() == warm[split].tobytes() for split in SETS)


def test_damaged_answers_are_computed_again_to_the_same_bits(world: World, tmp_path: Path) -> None:
    answers = AnswerStore(tmp_path / "answers")
    first = every(world.cache(answers=answers, kept=[]), source())
    for file in answers.folder.iterdir():
        file.write_bytes(file.read_bytes()[:-30])
    world.computed.clear()
    second = every(world.cache(answers=answers, kept=[]), source())
    assert world.computed == ["heldout", "test", "r"]
    assert all(first[split].tobytes() == second[split].tobytes() for split in SETS)


def test_logits_have_other_digests_where_last_bits_differ() -> None:
    how = {
        how_computed("cpu", 64),
        how_computed("cpu", 16),
        how_computed("cuda", 64),
        how_computed("cuda", 64, bf16=True),
        how_computed("cuda", 256),
    }
    assert len(how) == 5
    # A batch on a CPU has at most 64 examples, and no bfloat16.
    assert how_computed("cpu", 64) == how_computed("cpu", 512, bf16=True)
