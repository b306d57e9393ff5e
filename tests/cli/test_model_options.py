"""Every verb that builds a model takes its input's size and colours, and says which it used."""

import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from soup.weights.checkpoint import Checkpoint, save
from tests.cli.conftest import Candidates, Command
from tests.worlds import COLOURS, KWARGS, MODEL, tiny

OPTIONS = ["--model", f"timm:{MODEL}"]
OPTIONS += [part for name, value in KWARGS.items() for part in ("--kwargs", f"{name}={value}")]
INPUT = ["--image-size", 12, "--crop-pct", 0.5, "--mean", "0.2,0.5,0.7", "--std", "0.2,0.3,0.4"]


@pytest.fixture
def silent(candidates: Candidates, tmp_path: Path) -> list[Path]:
    """Three of the candidates in a folder where nothing says what they are."""
    paths = []
    for path in candidates.models[:3]:
        paths.append(tmp_path / path.name)
        save(dict(Checkpoint(path)), paths[-1])
    return paths


def accuracy(weights: Path, folder: Path, size: int, crop: float) -> float:
    """As timm evaluates: its transform, its model."""
    model = timm.create_model(MODEL, num_classes=3, **KWARGS).eval()
    model.load_state_dict(dict(Checkpoint(weights)))
    transform = timm.data.create_transform(
        (3, size, size), crop_pct=crop, mean=(0.2, 0.5, 0.7), std=(0.2, 0.3, 0.4),
        interpolation=timm.data.resolve_model_data_config(model)["interpolation"],
    )  # fmt: skip
    right = []
    for label, name in enumerate(sorted(COLOURS)):
        for file in sorted((folder / name).iterdir()):
            pixels = transform(Image.open(file).convert("RGB"))[None]
            with torch.no_grad():
                right.append(int(model(pixels).argmax()) == label)
    return sum(right) / len(right)


def test_models_are_judged_at_the_size_and_colours_that_are_given(
    soup: Command, candidates: Candidates, silent: list[Path]
) -> None:
    said = soup("compare", *silent, "--on", candidates.heldout, "--json", *OPTIONS, *INPUT)
    assert said.code == 0, said.err
    scores = [row["accuracy"] for row in json.loads(said.out)[str(candidates.heldout)]]
    expected = [accuracy(path, candidates.heldout, 12, 0.5) for path in silent]
    assert scores == pytest.approx(expected)
    other = soup("compare", *silent, "--on", candidates.heldout, "--json", *OPTIONS)
    assert [row["accuracy"] for row in json.loads(other.out)[str(candidates.heldout)]] != scores


@pytest.mark.parametrize("verb", ["cook", "explain", "inspect", "predict", "compare"])
def test_every_verb_says_in_one_line_what_it_used(
    soup: Command, candidates: Candidates, silent: list[Path], tmp_path: Path, verb: str
) -> None:
    images = ["--on" if verb == "compare" else "--heldout", candidates.heldout]
    if verb == "predict":
        silent, images = silent[:1], [candidates.heldout]
    out = ["--out", tmp_path / "soup"] if verb == "cook" else []
    said = soup(verb, *silent, *images, *out, *OPTIONS, "--image-size", 12, "--json")
    assert said.code in (0, 1), said.err
    shown = "images as 12 x 12 px (--image-size); crop 0.875, center, bicubic, mean 0.485 0.456"
    # What compare prints for a program has it too, once a model.
    text, times = (said.out, len(silent)) if verb == "compare" else (said.err, 1)
    assert text.count(shown) == times
    assert "(timm's defaults)" in text


def test_a_soup_remembers_the_input_that_was_given(
    soup: Command, candidates: Candidates, silent: list[Path], tmp_path: Path
) -> None:
    greedy, uniform = tmp_path / "greedy", tmp_path / "uniform"
    soup("cook", *silent, "--heldout", candidates.heldout, "-o", greedy, *OPTIONS, *INPUT)
    soup("cook", *silent, "-r", "uniform", "-o", uniform, *OPTIONS, *INPUT)
    picture = next((candidates.heldout / "red").iterdir())
    for path, classes in ((greedy, set(COLOURS)), (uniform, {"0", "1", "2"})):
        said = soup("predict", path, picture, "--top", 3, "--json")
        assert said.code == 0, said.err
        assert "images as 12 x 12 px, crop 0.5, center, bicubic, mean 0.2 0.5 0.7" in said.err
        assert set(json.loads(said.out)[0]["classes"]) == classes


def test_the_weights_are_of_the_model_that_a_uniform_soup_is_said_to_be(
    soup: Command, silent: list[Path], tmp_path: Path
) -> None:
    said = soup("cook", *silent, "-r", "uniform", "-o", tmp_path / "o", "--model", "timm:resnet18")
    assert said.code == 2
    assert "the weights do not fit resnet18" in said.err
    assert not (tmp_path / "o").exists()


def test_models_of_different_inputs_are_named(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    architecture, model = tiny()
    for name, size in (("a", 20), ("b", 24)):
        text = {"architecture": json.dumps({**vars(architecture), "image_size": size})}
        save(model.state_dict(), tmp_path / name, text)
    models = (tmp_path / "a", tmp_path / "b")
    said = soup("cook", *models, "--heldout", candidates.heldout, "-o", tmp_path / "o")
    assert "b says image size 24, not 20" in said.err
    chosen = soup(
        "cook", *models, "--heldout", candidates.heldout, "-o", tmp_path / "o", "--image-size", 24
    )
    assert "says image size" not in chosen.err


def test_wrong_values_are_told_all_at_once(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    said = soup(
        "cook", *candidates.models, "--heldout", candidates.heldout, "-o", tmp_path / "o",
        "--mean", "0.5", "--std", "0,0.5,0.5", "--crop-pct", "87.5", "--kwargs", "depth",
    )  # fmt: skip
    assert said.code == 2
    for problem in (
        "--mean 0.5: give three numbers",
        "--std 0,0.5,0.5: give three numbers",
        "--crop-pct 87.5: give a share",
        "--kwargs depth: give NAME=VALUE",
    ):
        assert problem in said.err


def test_a_size_that_the_model_cannot_take_is_told_with_what_to_do(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    vit = {"patch_size": 4, "img_size": 16, "embed_dim": 12, "depth": 1, "num_heads": 1}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **vit)
    save(model.state_dict(), tmp_path / "vit")
    kwargs = [part for name, value in vit.items() for part in ("--kwargs", f"{name}={value}")]
    models = [tmp_path / "vit", "--model", "timm:vit_tiny_patch16_224", *kwargs]
    fits = soup("compare", *models, "--on", candidates.heldout)
    assert (fits.code, "images as 16 x 16 px (--kwargs img_size)" in fits.err) == (0, True)
    said = soup("compare", *models, "--on", candidates.heldout, "--image-size", 24)
    assert said.code == 2
    assert "does not take images of 24 x 24" in said.err
    assert "--kwargs img_size=PIXELS" in said.err


def test_help_shows_the_options_of_the_input_apart(
    soup: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("cook", "compare", "explain", "inspect", "predict", "import"):
        page = soup(verb, "--help").out
        options, apart = page.split("Input of the model")
        assert "--model NAME" in options
        assert all(name in apart for name in ("--image-size", "--mean", "--std", "--kwargs"))


def test_import_keeps_the_input_that_is_given(
    soup: Command, candidates: Candidates, tmp_path: Path
) -> None:
    torch.save(dict(Checkpoint(candidates.models[0])), tmp_path / "run.pt")
    made = soup("import", tmp_path / "run.pt", "--out", tmp_path / "run", *INPUT)
    assert made.code == 0, made.err
    assert "kept of the model: image_size 12, crop_pct 0.5" in made.err
    said = soup("compare", tmp_path / "run", "--on", candidates.heldout, *OPTIONS)
    assert (
        "images as 12 x 12 px, crop 0.5, mean 0.2 0.5 0.7, std 0.2 0.3 0.4 (in the file)"
        in said.err
    )
