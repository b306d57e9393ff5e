"""soup inspect, explain, import, compare, predict and recipes, as a person uses them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from soup.cli.heldout_folder import open_evaluator
from soup.evaluation.metrics import correct, mcnemar
from soup.recipes import RECIPES
from soup.weights.checkpoint import Checkpoint, save
from tests.cli.conftest import Candidates, Command
from tests.worlds import put, tiny


def stranger(candidates: Candidates, folder: Path) -> Path:
    """A model of the same shape and another initialisation."""
    return put(folder, tiny(seed=77)) / "model.safetensors"


def test_inspect_shows_files_and_where_the_models_lie(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    plot = tmp_path / "plot.png"
    said = soup(
        "inspect", *candidates.models[:3],
        "--base", candidates.base, "--heldout", candidates.heldout,
        "--plot", plot, "--json",
    )  # fmt: skip
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["averageable"]
    a, b = (dict(Checkpoint(path)) for path in candidates.models[:2])
    apart = sum(
        float((a[name].double() - b[name].double()).square().sum())
        for name in a
        if a[name].dim() >= 2 and not name.startswith("fc")
    )
    assert found["distances"][0][1] == pytest.approx(apart**0.5)
    assert len(found["lines"]["run0 to run1"]) == 11
    for drawn in (plot, tmp_path / "plot-lines.png"):
        with Image.open(drawn) as image:
            assert image.width > 300
    said = soup("inspect", *candidates.models[:3], "--base", candidates.base)
    for word in ("files", "SHA-256", "angles at the base", "cosine with the base", "shared"):
        assert word in said.err


def test_inspect_flags_a_model_of_another_basin_with_its_numbers_and_exits_with_1(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    said = soup("inspect", *candidates.models[:2], stranger(candidates, tmp_path))
    assert said.code == 1
    assert "model does not share its initialisation with run" in said.err
    assert "independent trainings have about 0 and 1.41" in said.err


def test_inspect_lists_every_difference_before_anything_else_is_asked(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    other = dict(Checkpoint(candidates.models[0])) | {"w": torch.zeros(3), "fc.bias": torch.ones(9)}
    save(other, tmp_path / "other.safetensors")
    said = soup("inspect", candidates.models[0], tmp_path / "other.safetensors", "--json")
    assert said.code == 2
    assert not json.loads(said.out)["averageable"]
    assert "w is only in the second" in said.err
    assert "fc.bias is (3,) in the first and (9,) in the second" in said.err


def test_explain_says_why_with_numbers_and_what_to_do(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    other = stranger(candidates, tmp_path)
    said = soup("explain", *candidates.models[:2], other, "--heldout", candidates.heldout, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found[0]["kind"] == "unrelated"
    assert found[0]["remedy"]
    said = soup("explain", *candidates.models[:2], other)
    assert "without --heldout FOLDER only the weights speak" in said.err
    assert "1. unrelated" in said.err


def test_import_converts_and_says_what_it_found(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    weights = dict(Checkpoint(candidates.models[0]))
    raw = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"state_dict": raw, "epoch": 3}, tmp_path / "run.pt")
    out = tmp_path / "run.safetensors"
    said = soup("import", tmp_path / "run.pt", "--out", out)
    assert said.code == 0, said.err
    assert "prefixes stripped: module." in said.err
    kept = Checkpoint(out)
    assert all(torch.equal(kept[name], weights[name]) for name in weights)
    said = soup("import", tmp_path / "run.pt", "--out", out, "--json")
    assert json.loads(said.out)["key"] == "state_dict"


def test_import_refuses_code(soup: Command, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "sprung"),))

    torch.save({"state_dict": Trap()}, tmp_path / "trap.pt")
    said = soup("import", tmp_path / "trap.pt", "--out", tmp_path / "out.safetensors")
    assert said.code == 2
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "out.safetensors").exists()


def test_compare_sets_models_side_by_side_with_a_paired_test(
    soup: Command, candidates: Candidates
) -> None:
    said = soup("compare", *candidates.models[:2], "--on", candidates.heldout, "--json")
    assert said.code == 0, said.err
    (found,) = json.loads(said.out).values()
    exam = open_evaluator(candidates.heldout, None, Checkpoint(candidates.models[0]))
    a, b = (
        correct(exam.logits(Checkpoint(path)), exam.examples.labels)
        for path in candidates.models[:2]
    )
    assert [one["accuracy"] for one in found] == pytest.approx([a.mean(), b.mean()])
    assert found[1]["p"] == pytest.approx(mcnemar(a, b))
    low, high = found[0]["interval"]
    assert low <= a.mean() <= high
    assert "95% interval" in soup("compare", *candidates.models[:2], "--on", candidates.heldout).err


def test_a_score_that_cannot_be_is_told_with_its_cause(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    """The head's rows in another order, and a record that the images do not bear out."""
    learned = dict(Checkpoint(candidates.base))
    rows = {n: t[[1, 2, 0]] if t.shape[:1] == (3,) else t for n, t in learned.items()}
    description = {"architecture": (candidates.folder / "model.json").read_text()}
    shuffled, proud = tmp_path / "shuffled.safetensors", tmp_path / "proud.safetensors"
    save(rows, shuffled, description)
    noise = {
        n: t + 1.5 * t.std(correction=0) * torch.randn(t.shape, generator=torch.manual_seed(n_))
        for n_, (n, t) in enumerate(learned.items())
    }
    save(noise, proud, {**description, "accuracy": "1.0"})
    for words in (
        ["compare", "--on", candidates.heldout],
        ["cook", "--heldout", candidates.heldout, "-o", tmp_path / "out.safetensors"],
        ["explain", "--heldout", candidates.heldout],
    ):
        said = soup(*words, candidates.base, shuffled, proud)
        assert said.code == 0, said.err
        assert "if the classes are exchanged: it says" in said.err, words
        assert "shuffled is right on" in said.err, words
        assert "proud is right on" in said.err, words
        assert "base is right on" not in said.err, words
    record = float(Checkpoint(tmp_path / "out.safetensors").metadata["accuracy"])
    logits = open_evaluator(candidates.heldout, None, Checkpoint(candidates.base))
    right = correct(logits.logits(Checkpoint(tmp_path / "out.safetensors")), logits.examples.labels)
    assert record == pytest.approx(right.mean(), abs=1e-6)


def test_predict_names_the_likeliest_classes_of_each_image(
    soup: Command, candidates: Candidates
) -> None:
    said = soup(
        "predict", candidates.models[0],
        candidates.heldout / "red", candidates.heldout / "blue/000.png",
        "--top", 2, "--json",
    )  # fmt: skip
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert len(found) == 31
    exam = open_evaluator(candidates.heldout, None, Checkpoint(candidates.models[0]))
    logits = exam.logits(Checkpoint(candidates.models[0]))
    place = [path.name for path in exam.examples.images.paths].index("000.png")
    names = np.array(exam.architecture.classes)[np.argsort(-logits[place])]
    first = next(one for one in found if one["image"].endswith("blue/000.png"))
    assert list(first["classes"]) == names[:2].tolist()


def test_predict_says_where_a_model_has_no_answer(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    weights = dict(Checkpoint(candidates.models[0]))
    head = [name for name, tensor in weights.items() if tensor.shape == (3,)][-1]
    broken = weights[head].clone()
    broken[1] = math.nan
    metadata = Checkpoint(candidates.models[0]).metadata
    save({**weights, head: broken}, tmp_path / "broken.safetensors", metadata)
    images = sorted((candidates.heldout / "red").iterdir())[:2]
    model = candidates.folder / "model.json"
    said = soup("predict", tmp_path / "broken.safetensors", *images, "--model", model, "--json")
    assert said.code == 0, said.err
    assert [answer["classes"] for answer in json.loads(said.out)] == [{}, {}]
    assert f"no class for {images[0]}, {images[1]}, because the logits are NaN" in said.err


def test_predict_names_what_is_no_image(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_text("no picture")
    assert "a.png: not an image" in soup("predict", candidates.models[0], tmp_path / "a.png").err
    said = soup("predict", candidates.models[0], tmp_path / "none.png")
    assert said.code == 2
    assert "no such image: " in said.err


def test_recipes_are_listed_with_what_they_need(soup: Command) -> None:
    found = {one["name"]: one for one in json.loads(soup("recipes", "--json").out)}
    assert list(found) == list(RECIPES)
    assert found["greedy"]["needs"] == "--heldout"
    assert found["ties"]["needs"] == "--base"
    assert found["uniform"]["needs"] == ""
    assert all(len(one["when"]) > 20 for one in found.values())


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_explained_with_each_of_its_options(soup: Command, name: str) -> None:
    found = json.loads(soup("recipes", name, "--json").out)
    assert len(found["about"].splitlines()) > 2
    for option in found["options"]:
        assert option["meaning"], option["option"]
        assert option["value"] != "text"


def test_a_recipe_is_explained_for_people_and_an_unknown_one_is_named(soup: Command) -> None:
    said = soup("recipes", "monosoup").err.replace("\n", " ")
    assert "arXiv 2602.09689" in said
    assert "l_high = 1 - l_low" in said
    assert "spectral, norm" in said
    said = soup("recipes", "stew")
    assert said.code == 2
    assert "unknown recipe 'stew'; known: uniform, greedy" in said.err


@pytest.mark.parametrize(
    "verb", ["", "cook", "inspect", "explain", "import", "compare", "predict", "recipes"]
)
def test_help_teaches_and_documents_the_exit_codes(soup: Command, verb: str) -> None:
    said = soup(*([verb] if verb else []), "--help")
    assert said.code == 0
    assert "Exit codes: 0 done; 1 failed" in " ".join(said.out.split())


def test_a_published_encoder_is_a_base_to_measure_from_and_none_to_compute_with(
    soup: Command, tmp_path: Path
) -> None:
    body = {f"layers.{i}.w": torch.randn(6, 6) for i in range(5)}
    save(body, tmp_path / "encoder.safetensors")
    models = []
    for name in "ab":
        models.append(tmp_path / f"{name}.safetensors")
        fine = {f"vit.{n}": x + 0.05 * torch.randn(6, 6) for n, x in body.items()}
        save({**fine, "classifier.weight": torch.randn(2, 6)}, models[-1])
    base = ("--base", tmp_path / "encoder.safetensors")
    for verb in ("inspect", "explain"):
        said = soup(verb, *base, *models)
        assert said.code == 0, said.err
        assert "encoder.safetensors has no classifier.weight of these shapes" in said.err
    assert "shared" in soup("inspect", *base, *models).err
    said = soup("cook", "-r", "ties", *base, "-o", tmp_path / "out", *models)
    assert said.code == 2
    assert "the published encoder of these models, without their head: give the weights" in said.err
