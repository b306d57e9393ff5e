"""soup cook: what is written, what is said, and what is refused before anything is written."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from soup.cli.heldout_folder import open_evaluator
from soup.evaluation.metrics import correct
from soup.models import Architecture
from soup.recipes import RECIPES
from soup.weights import average
from soup.weights.checkpoint import Checkpoint, save
from tests.cli.conftest import Candidates, Command
from tests.forked import Forks
from tests.reference import Candidate, greedy_soup


def same(a: Path, weights: dict[str, torch.Tensor]) -> bool:
    kept = Checkpoint(a)
    return set(kept) == set(weights) and all(torch.equal(kept[n], weights[n]) for n in weights)


@pytest.mark.parametrize("recipe", [["--recipe", "uniform"], []])
def test_uniform_is_the_mean_of_all_and_what_is_made_without_data(
    soup: Command, candidates: Candidates, tmp_path: Path, recipe: list[str]
) -> None:
    out = tmp_path / "out.safetensors"
    said = soup("cook", *recipe, "--out", out, *candidates.models)
    assert said.code == 0, said.err
    assert "uniform of 5 models" in said.err
    assert same(out, dict(average([dict(Checkpoint(path)) for path in candidates.models])))


def test_the_soup_tells_what_it_is_made_of_and_the_same_files_give_the_same_bytes(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    first, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    for out in (first, again):
        soup("cook", "-r", "uniform", "--accumulate", "float32", "-o", out, *candidates.models[:2])
    assert first.read_bytes() == again.read_bytes()
    notes = Checkpoint(first).metadata
    assert (notes["recipe"], notes["accumulate"]) == ("uniform", "float32")
    digests = {path.stem: Checkpoint(path).digest() for path in candidates.models[:2]}
    assert json.loads(notes["ingredients"]) == digests


def test_greedy_ranks_cooks_and_prints_the_trace(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    said = soup("cook", "--heldout", candidates.heldout, "--out", out, "--json", *candidates.models)
    assert said.code == 0, said.err
    report = json.loads(said.out)
    exam = open_evaluator(candidates.heldout, None, Checkpoint(candidates.models[0]))

    def accuracy(weights: dict[str, torch.Tensor]) -> float:
        return float(correct(exam.logits(weights), exam.examples.labels).mean())

    models = {path.stem: dict(Checkpoint(path)) for path in candidates.models}
    kept, weights, tried = greedy_soup(
        [Candidate(name, model, accuracy(model)) for name, model in models.items()], accuracy
    )
    assert report["kept"] == kept
    assert [trial["name"] for trial in report["trace"]] == [each.name for each in tried]
    assert [trial["kept"] for trial in report["trace"]] == [each.kept for each in tried]
    assert same(out, weights)
    assert report["soup"]["accuracy"] == pytest.approx(accuracy(weights))
    assert report["best"]["accuracy"] == pytest.approx(max(map(accuracy, models.values())))
    assert report["gain"]["gain"] == pytest.approx(
        report["soup"]["accuracy"] - report["best"]["accuracy"]
    )
    assert len(report["acceptances"]) == len(kept) - 1
    assert "trace, accuracy, %" in said.err
    # The pictures are known by heart: the candidates must leave something to choose.
    assert 1 < len(kept) < 5


def test_an_acceptance_is_reported_with_its_paired_standard_error(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    said = soup(
        "cook", "--heldout", candidates.heldout, "-o", tmp_path / "o", "--json", *candidates.models
    )
    report = json.loads(said.out)
    exam = open_evaluator(candidates.heldout, None, Checkpoint(candidates.models[0]))
    models = {path.stem: dict(Checkpoint(path)) for path in candidates.models}

    def answers(names: list[str]) -> np.ndarray:
        soup = average([models[name] for name in names])
        return correct(exam.logits(soup), exam.examples.labels).astype(float)

    for place, step in enumerate(report["acceptances"], start=1):
        difference = answers(report["kept"][: place + 1]) - answers(report["kept"][:place])
        assert step["gain"] == pytest.approx(difference.mean())
        assert step["se"] == pytest.approx(difference.std() / np.sqrt(len(difference)), rel=0.05)


def test_two_devices_make_the_same_bytes_as_one(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    for name, device in (("one", "cpu"), ("two", "cpu,cpu")):
        said = soup(
            "cook", "--heldout", candidates.heldout, "--device", device, "--json",
            "-o", tmp_path / name, *candidates.models,
        )  # fmt: skip
        assert said.code == 0, said.err
        (tmp_path / f"{name}.json").write_text(said.out.replace(str(tmp_path / name), ""))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text()


@pytest.mark.parametrize(
    "recipe", [name for name in RECIPES if name not in ("slerp", "learned", "mehl")]
)
def test_every_recipe_is_cooked_by_its_name(
    soup: Command, candidates: Candidates, tmp_path: Path, recipe: str
) -> None:
    out = tmp_path / "out.safetensors"
    said = soup(
        "cook", "-r", recipe, "--heldout", candidates.heldout, "--base", candidates.base,
        "-o", out, "--json", *candidates.models[:3],
    )  # fmt: skip
    assert said.code == 0, said.err
    assert json.loads(said.out)["recipe"] == recipe
    assert set(Checkpoint(out)) == set(Checkpoint(candidates.base))


def test_learned_and_slerp_are_cooked_by_their_names_and_options(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    said = soup("cook", "-r", "slerp", "--set", "t=0", "-o", out, *candidates.models[:2])
    assert said.code == 0, said.err
    assert same(out, dict(Checkpoint(candidates.models[0])))
    said = soup(
        "cook", "-r", "learned", "-s", "by=global", "-s", "epochs=1", "--heldout",
        candidates.heldout, "-o", out, *candidates.models[:2],
    )  # fmt: skip
    assert said.code == 0, said.err
    from_equal = dict(Checkpoint(out))
    said = soup(
        "cook", "-r", "learned", "-s", "by=global", "-s", "epochs=1", "-s", "start=answers",
        "--heldout", candidates.heldout, "-o", out, *candidates.models[:2],
    )  # fmt: skip
    assert said.code == 0, said.err
    assert not same(out, from_equal)
    said = soup(
        "cook", "-r", "mehl", "-s", "m=2", "-s", "epochs=1", "--heldout", candidates.heldout,
        "-o", out, *candidates.models[:3],
    )  # fmt: skip
    assert said.code == 0, said.err
    said = soup(
        "cook", "-r", "repetition", "-s", "propose=1", "--heldout", candidates.heldout, "--json",
        "-o", out, *candidates.models[:3],
    )  # fmt: skip
    assert said.code == 0, said.err
    report = json.loads(said.out)
    assert len(report["trace"]) == len(report["kept"]) + 1


@pytest.mark.parametrize("metric", ["f1", "matthews", "loss"])
def test_other_metrics_choose_too(
    soup: Command, candidates: Candidates, tmp_path: Path, metric: str
) -> None:
    said = soup(
        "cook", "--metric", metric, "--heldout", candidates.heldout, "--json",
        "-o", tmp_path / "o", *candidates.models[:3],
    )  # fmt: skip
    assert said.code == 0, said.err
    report = json.loads(said.out)
    assert report["soup"]["cost"] <= report["trace"][0]["errors"]


def test_the_dtype_of_the_soup_can_be_chosen(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    out = tmp_path / "half.safetensors"
    soup("cook", "-r", "uniform", "--dtype", "bfloat16", "-o", out, *candidates.models[:2])
    assert {spec.dtype for spec in Checkpoint(out).specs.values()} == {torch.bfloat16}


def test_a_model_given_twice_is_warned_of(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    one = candidates.models[0]
    said = soup("cook", "-r", "uniform", "-o", tmp_path / "o", one, candidates.models[1], one)
    assert said.code == 0
    assert "run0 and run0 (2) are the same model, which then counts twice" in said.err


def test_a_timm_model_by_name_and_its_batchnorm_both_ways(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3)
    for index in range(2):
        weights = {
            n: t + 0.05 * torch.rand(t.shape) if t.is_floating_point() else t
            for n, t in model.state_dict().items()
        }
        save(weights, tmp_path / f"{index}.safetensors")
    out = tmp_path / "soup.safetensors"
    said = soup(
        "cook", "--model", "timm:test_resnet", "-r", "uniform", "--heldout", candidates.heldout,
        "--recalibrate", candidates.heldout, "-o", out, "--batch-size", 30, "--json",
        tmp_path / "0.safetensors", tmp_path / "1.safetensors",
    )  # fmt: skip
    assert said.code == 0, said.err
    both = json.loads(said.out)["batchnorm"]
    assert json.loads(said.out)["soup"]["accuracy"] == max(both.values())
    assert "averaged" in said.err
    assert "recomputed" in said.err
    known = Architecture.parse(Checkpoint(out).metadata["architecture"], "")
    assert (known.model, known.classes) == ("test_resnet", ("blue", "green", "red"))
    # What it says of itself is enough to use it.
    said = soup("predict", out, candidates.heldout / "red", "--json")
    assert said.code == 0, said.err
    assert len(json.loads(said.out)) == 30


@pytest.mark.slow
def test_a_soup_is_logged_with_its_lineage_and_only_once(
    soup: Command, candidates: Candidates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    ids = []
    for _ in range(2):
        said = soup(
            "cook", "--heldout", candidates.heldout, "--mlflow", uri, "--json", "-o",
            tmp_path / "soup.safetensors", *candidates.models[:3],
        )  # fmt: skip
        assert said.code == 0, said.err
        ids.append(json.loads(said.out)["run_id"])
    assert ids[0] == ids[1]
    run = mlflow.MlflowClient(uri).get_run(ids[0])
    assert json.loads(run.data.tags["soup.ingredients"]).keys() == set(json.loads(said.out)["kept"])
    assert run.data.metrics["heldout/accuracy"] == json.loads(said.out)["soup"]["accuracy"]


def test_ingredients_are_called_by_what_tells_them_apart() -> None:
    from soup.cli.checkpoints import names_of

    assert names_of(["x/a.safetensors", "y/b.safetensors"]) == ["a", "b"]
    assert names_of(["x/model.safetensors", "y/model.safetensors"]) == ["x/model", "y/model"]
    assert names_of(["a.safetensors", "a.safetensors"]) == ["a", "a (2)"]


# What `pipeline` has and `vision` has not, and no library of `vision` asks for.
PIPELINE_ALONE = ("prefect", "mlflow", "dvc", "matplotlib", "sqlalchemy", "psutil", "pyarrow")


COOK_BY = """
import sys
from soup.cli import main
heldout, folder, *models = sys.argv
for recipe in ("greedy", "learned"):
    sys.argv = ["soup", "cook", "--recipe", recipe, "--heldout", heldout]
    sys.argv += ["--out", f"{folder}/{recipe}.safetensors", *models]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (recipe, end.code)
"""


def test_a_soup_is_chosen_on_images_without_the_pipeline_s_packages(
    with_torch: Forks, candidates: Candidates, tmp_path: Path
) -> None:
    words = (candidates.heldout, tmp_path, *candidates.models[:2])
    ended = with_torch.python(COOK_BY, *words, hidden=PIPELINE_ALONE)
    assert ended.code == 0, ended.err
    made = {file.name for file in tmp_path.glob("*.safetensors")}
    assert made == {"greedy.safetensors", "learned.safetensors"}
    assert not ended.loaded & {*PIPELINE_ALONE}
    assert "timm" in ended.loaded
