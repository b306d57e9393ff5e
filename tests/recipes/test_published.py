"""The published results of the 72 models: what the imported pool must come to on ImageNet."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from soup.pipeline.sweep.imported_pool import PARAMETERS, hyperparameters
from soup.report.figures import accuracy_plane, svg

REPO = Path(__file__).resolve().parents[2]
SHIFTS = ("ImageNetV2", "ImageNetSketch", "ImageNetR", "ObjectNet", "ImageNetA")
GREEDY = {"model_43": 1, "model_44": 2, "model_32": 11, "model_47": 17, "model_50": 18}  # its rank


@pytest.fixture(scope="module")
def folder() -> Path:
    places = (above / "shared" / "data" / "published" for above in REPO.parents)
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        pytest.skip("the published results are not here")
    return found


@pytest.fixture(scope="module")
def published(folder: Path) -> pd.DataFrame:
    lines = (folder / "individual_model_results.jsonl").read_text().splitlines()
    frame = pd.DataFrame([json.loads(line) for line in lines]).set_index("model_name")
    frame["shifts"] = frame[list(SHIFTS)].mean(axis=1)
    frame["errors"] = ((1 - frame["ImageNet2p"]) * 26_000).round().astype(int)
    return frame


@pytest.fixture(scope="module")
def header() -> str:
    text = (REPO / "configs" / "published_clip_b32.yaml").read_text()
    return text.partition("\nexperiment:")[0]


def test_ranked_by_held_out_errors_the_greedy_ingredients_have_the_ranks_that_are_documented(
    published: pd.DataFrame, header: str
) -> None:
    """By errors and then by name, as the store ranks runs."""
    order = sorted(published.index, key=lambda name: (published.loc[name, "errors"], name))
    assert len(order) == 72
    assert {name: order.index(name) + 1 for name in GREEDY} == GREEDY
    named = re.search(r"of model_([\d, ]+): held-out ranks\n#\s+([\d, ]+);", header)
    assert named
    assert [f"model_{n}" for n in named[1].split(", ")] == [*GREEDY]
    assert [int(rank) for rank in named[2].split(", ")] == [*GREEDY.values()]


@pytest.mark.parametrize(
    ("line", "model"), [("initialisation", "model_0"), ("best single", "model_43")]
)
def test_the_config_tells_the_published_accuracies(
    published: pd.DataFrame, header: str, line: str, model: str
) -> None:
    told = re.search(rf"{line} \({model}\)\s+([\d.]+) / ([\d.]+)", header)
    assert told
    expected = [f"{100 * published.loc[model, column]:.2f}" for column in ("ImageNet", "shifts")]
    assert [told[1], told[2]] == expected


def test_every_model_gets_its_hyperparameters(folder: Path, published: pd.DataFrame) -> None:
    files = {str(name): folder / f"{name}.pt" for name in published.index}
    found = hyperparameters(files)
    assert (folder / PARAMETERS).is_file()
    assert found.keys() == files.keys()
    names = {"lr", "weight_decay", "epochs", "label_smoothing", "mixup", "augment"}
    assert all(set(values) == names for name, values in found.items() if name != "model_0")
    assert sum(values.get("augment") == "none" for values in found.values()) == 27


def test_the_figure_of_the_pool_shows_every_model(published: pd.DataFrame) -> None:
    rows: list[dict[str, Any]] = []
    for name, row in published.iterrows():
        kind = "probe" if name == "model_0" else "ingredient"
        kind = "best single" if name == "model_43" else kind
        for split, column in (
            ("heldout", "ImageNet2p"),
            ("test", "ImageNet"),
            ("shifts", "shifts"),
        ):
            score = float(row[column])
            interval = {"accuracy": score, "low": score - 0.002, "high": score + 0.002}
            rows.append({"model": name, "kind": kind, "split": split, "n": 50_000, **interval})
    drawn = svg(accuracy_plane(pd.DataFrame(rows), "greedy"))
    off = re.search(r"and (\d+) more", drawn)
    far = (2 if "Off the chart" in drawn else 0) + (int(off[1]) if off else 0)
    assert drawn.count("<use") + far >= 72
    assert "best single" in drawn
    assert "probe" in drawn
