"""soup cook, compare, predict and explain on text models that predict numbers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests import text_worlds
from tests.cli.conftest import Command


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three folders of one regression model and small changes, and a table beside them."""
    root = tmp_path_factory.mktemp("pool")
    base = text_worlds.tiny(root / "base")
    folders = [root / f"ft{index}" for index in range(3)]
    for index, folder in enumerate(folders):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        rng = torch.Generator().manual_seed(index)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
        model.save_pretrained(folder)
        text_worlds.write_tokenizer(folder)
    text_worlds.similar_pairs(root)
    pairs = pd.read_csv(root / "dev.tsv", sep="\t")
    named = {"sentence1": "text", "sentence2": "text_pair", "score": "label"}
    pairs[[*named]].rename(columns=named).to_csv(root / "dev.csv", index=False)
    return folders


def outputs_of(folder: Path, table: Path) -> tuple[np.ndarray, np.ndarray]:
    pairs = pd.read_csv(table)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)(
        pairs["text"].tolist(), pairs["text_pair"].tolist(), return_tensors="pt", padding=True,
        truncation=True, max_length=32,
    )  # fmt: skip
    with torch.inference_mode():
        return model(**tokens).logits[:, 0].numpy(), pairs["label"].to_numpy()


def test_cook_compare_and_predict_speak_of_numbers(
    soup: Command, pool: list[Path], tmp_path: Path
) -> None:
    out, table = tmp_path / "soup" / "model.safetensors", pool[0].parent / "dev.csv"
    said = soup("cook", *pool, "--heldout", table, "--metric", "pearson", "-o", out, "--json")
    assert said.code == 0, said.err
    report = json.loads(said.out)
    outputs, labels = outputs_of(out.parent, table)
    pearson = stats.pearsonr(outputs, labels).statistic
    assert report["soup"]["pearson"] == pytest.approx(pearson, abs=1e-5)
    singles = [stats.pearsonr(*outputs_of(folder, table)).statistic for folder in pool]
    assert report["kept"][0] == pool[int(np.argmax(singles))].name
    assert pearson >= max(singles) - 1e-6
    said = soup("compare", *pool, "--on", table, "--json")
    assert said.code == 0, said.err
    rows = json.loads(said.out)[str(table)]
    assert [row["pearson"] for row in rows] == pytest.approx(singles, abs=1e-5)
    assert rows[1]["p"] <= 1
    assert "accuracy" not in said.out
    said = soup("predict", out.parent, table, "--json")
    assert said.code == 0, said.err
    assert [row["number"] for row in json.loads(said.out)] == pytest.approx(
        outputs.tolist(), abs=1e-4
    )
    assert "number" in soup("predict", out.parent, table).err


@pytest.mark.parametrize("recipe", ["learned", "fisher"])
def test_recipes_with_gradients_learn_from_the_squared_error(
    soup: Command, pool: list[Path], tmp_path: Path, recipe: str
) -> None:
    out, table = tmp_path / "soup" / "model.safetensors", pool[0].parent / "dev.csv"
    said = soup(
        "cook", *pool, "-r", recipe, "--heldout", table, "--metric", "pearson-spearman", "-o", out
    )
    assert said.code == 0, said.err
    outputs, labels = outputs_of(out.parent, table)
    error = ((outputs - labels) ** 2).mean()
    each = [((o - labels) ** 2).mean() for o, labels in (outputs_of(f, table) for f in pool)]
    assert error < max(each)


def test_what_is_of_classes_is_refused_for_numbers(
    soup: Command, pool: list[Path], tmp_path: Path
) -> None:
    table, out = pool[0].parent / "dev.csv", tmp_path / "soup.safetensors"
    said = soup("cook", *pool, "--heldout", table, "-o", out)
    assert said.code == 2
    assert "--metric accuracy does not score numbers" in said.err
    assert "--metric pearson-spearman or pearson or spearman" in said.err
    assert not out.exists()
    said = soup("explain", *pool, "--heldout", table)
    assert said.code == 2
    assert "predicts numbers, and --heldout explains errors of classifiers" in said.err
    words = tmp_path / "words.csv"
    words.write_text("text,label\nthe cat,good\n")
    said = soup("compare", *pool, "--on", words)
    assert said.code == 2
    assert "labels that are no numbers" in said.err
