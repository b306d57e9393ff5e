"""soup cook, compare and predict on text models as Hugging Face lays them out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import matthews_corrcoef
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from soup.cli.heldout_texts import open_text_evaluator
from soup.data.errors import DataError
from soup.weights.checkpoint import Checkpoint
from tests import text_worlds
from tests.cli.conftest import Command

FIRST = "the cat likes a dog"
WORDS = len(text_worlds.WORDS)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three folders of one classifier and small changes, and a table beside them."""
    root = tmp_path_factory.mktemp("pool")
    base = text_worlds.tiny(root / "base")
    folders = [root / f"ft{index}" for index in range(3)]
    for index, folder in enumerate(folders):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(
            base, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1}
        )
        rng = torch.Generator().manual_seed(index)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
        model.save_pretrained(folder)
        text_worlds.write_tokenizer(folder)
    text_worlds.sentences(root)
    return folders


def matthews_of(model: torch.nn.Module, folder: Path) -> float:
    lines = (folder.parent / "test.csv").read_text().splitlines()[1:]
    texts, labels = zip(*(line.rsplit(",", 1) for line in lines), strict=True)
    tokens = AutoTokenizer.from_pretrained(folder)(list(texts), return_tensors="pt", padding=True)
    with torch.inference_mode():
        answers = model(**tokens).logits.argmax(dim=1).tolist()
    return float(matthews_corrcoef(np.array(labels) == "yes", answers))


def test_a_greedy_soup_by_matthews_is_a_folder_that_transformers_opens(
    soup: Command, pool: list[Path], tmp_path: Path
) -> None:
    out, heldout = tmp_path / "soup" / "model.safetensors", pool[0].parent / "test.csv"
    said = soup("cook", *pool, "--heldout", heldout, "--metric", "matthews", "-o", out, "--json")
    assert said.code == 0, said.err
    report = json.loads(said.out)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        out.parent, output_loading_info=True
    )
    assert not any(info.values()), info
    singles = [
        matthews_of(AutoModelForSequenceClassification.from_pretrained(folder), folder)
        for folder in pool
    ]
    best = pool[int(np.argmax(singles))].name
    assert report["kept"][0] == best
    assert matthews_of(model, pool[0]) >= max(singles) - 1e-9
    tokens = [AutoTokenizer.from_pretrained(folder)(FIRST) for folder in (out.parent, pool[0])]
    assert tokens[0]["input_ids"] == tokens[1]["input_ids"]


def test_models_of_other_tokenizers_are_not_averaged(
    soup: Command, pool: list[Path], tmp_path: Path
) -> None:
    other = shutil.copytree(pool[1], tmp_path / "other")
    file = other / "tokenizer.json"
    file.write_text(file.read_text().replace('"owl"', '"owk"'))
    said = soup("cook", "-r", "uniform", "-o", tmp_path / "out.safetensors", pool[0], other)
    assert said.code == 2
    assert "other cannot be averaged with ft0: their tokenizers (tokenizer.json) differ" in said.err
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(("key", "value"), [("model_type", "roberta"), ("num_attention_heads", 1)])
def test_models_that_compute_other_things_are_not_averaged(
    soup: Command, pool: list[Path], tmp_path: Path, key: str, value: object
) -> None:
    other = shutil.copytree(pool[1], tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    assert config[key] != value
    (other / "config.json").write_text(json.dumps({**config, key: value, "_name_or_path": "x"}))
    said = soup("cook", "-r", "uniform", "-o", tmp_path / "out.safetensors", pool[0], other)
    assert said.code == 2
    assert f"other cannot be averaged with ft0: {key} in config.json is {value!r}" in said.err
    assert not (tmp_path / "out.safetensors").exists()


def test_models_of_other_vocabularies_are_not_averaged(
    soup: Command, pool: list[Path], tmp_path: Path
) -> None:
    other = shutil.copytree(pool[1], tmp_path / "other")
    name = "bert.embeddings.word_embeddings.weight"
    tensors = load_file(other / "model.safetensors")
    tensors[name] = torch.cat([tensors[name], tensors[name][:9]])
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    said = soup("cook", "-r", "uniform", "-o", tmp_path / "out.safetensors", pool[0], other)
    assert said.code == 2
    assert f"other cannot be averaged with ft0: {name} is ({WORDS}, 32) in the first" in said.err
    assert f"({WORDS + 9}, 32) in the second" in said.err
    assert not (tmp_path / "out.safetensors").exists()


def test_a_folder_with_the_tokenizer_of_another_model_is_refused(
    soup: Command, pool: list[Path], tmp_path: Path
) -> None:
    odd = shutil.copytree(pool[0], tmp_path / "odd")
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps(config | {"vocab_size": WORDS - 9}))
    table = pool[0].parent / "test.csv"
    said = soup("compare", odd, pool[1], "--on", table)
    assert said.code == 2
    told = f"does not belong to odd: it has {WORDS} tokens, the model's vocabulary {WORDS - 9}"
    assert told in said.err


def test_a_folder_of_another_kind_of_model_is_refused_by_its_kind(
    soup: Command, pool: list[Path], tmp_path: Path
) -> None:
    odd = shutil.copytree(pool[0], tmp_path / "odd")
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    said = soup("compare", odd, pool[1], "--on", pool[0].parent / "test.csv")
    assert said.code == 2
    assert "of a model of type 'gpt2'; text classifiers of albert, bert" in said.err


def test_a_table_with_labels_that_the_model_does_not_know_is_refused(
    soup: Command, pool: list[Path], tmp_path: Path
) -> None:
    table = tmp_path / "held.csv"
    table.write_text(f"text,label\n{FIRST},maybe\n{FIRST} now,yes\n")
    said = soup("cook", *pool, "--heldout", table, "-o", tmp_path / "out.safetensors")
    assert said.code == 2
    assert "labels that the model does not know: maybe; it knows no, yes" in said.err


@pytest.mark.parametrize(
    ("names", "written", "said"),
    [
        (("no", "yes"), ("yes", "no"), [1, 0]),
        (("no", "yes"), ("1", "0"), [1, 0]),
        (("1", "0"), ("1", "0"), [0, 1]),  # names, not rows
        (("no", "yes"), ("no", "1"), "does not know: 1; it knows no, yes; or give for all labels"),
        (("no", "yes"), ("0", "2"), "does not know: 2; it knows no, yes"),
        (("no", "yes"), ("0", "9" * 5000), "does not know: 9"),
        (("1", "2", "3"), ("0", "1", "2"), "does not know: 0; it knows 1, 2, 3"),
        (("1", "2", "3", "4", "5"), ("5", "0"), "does not know: 0; it knows 1, 2, 3, 4, 5"),
    ],
)
def test_labels_are_all_names_or_all_rows_of_the_head(
    pool: list[Path],
    tmp_path: Path,
    names: tuple[str, ...],
    written: tuple[str, ...],
    said: list[int] | str,
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("text,label\n" + "".join(f"an owl,{label}\n" for label in written))
    model = shutil.copytree(pool[0], tmp_path / "model")
    settings = json.loads((model / "config.json").read_text())
    settings |= {
        "id2label": dict(enumerate(names)),
        "label2id": {n: i for i, n in enumerate(names)},
    }
    (model / "config.json").write_text(json.dumps(settings))
    weights = Checkpoint(model / "model.safetensors")
    if isinstance(said, str):
        with pytest.raises(DataError, match=said):
            open_text_evaluator(table, weights, ["cpu"], 2)
    else:
        made = open_text_evaluator(table, weights, ["cpu"], 2)
        assert made.examples.labels.tolist() == said


def test_predict_gives_the_classes_of_the_texts_of_a_table(
    soup: Command, pool: list[Path], tmp_path: Path
) -> None:
    table = tmp_path / "texts.csv"
    table.write_text(f'text\n{FIRST}\n" "\nan owl hates the ant\n')
    said = soup("predict", pool[0], table, "--top", "2", "--json")
    assert said.code == 0, said.err
    model = AutoModelForSequenceClassification.from_pretrained(pool[0])
    tokens = AutoTokenizer.from_pretrained(pool[0])(FIRST, return_tensors="pt")
    with torch.inference_mode():
        shares = model(**tokens).logits.softmax(dim=1)[0].tolist()
    rows = json.loads(said.out)
    assert [row["text"] for row in rows] == [FIRST, "an owl hates the ant"]
    assert rows[0]["classes"] == pytest.approx(dict(zip(("no", "yes"), shares, strict=True)))
    assert "row 2: the text is empty" in said.err


def test_predict_says_that_a_sentence_is_given_in_a_table(soup: Command, pool: list[Path]) -> None:
    said = soup("predict", pool[0], FIRST)
    assert said.code == 2
    told = "is a model of texts: give it a table with a column 'text' (.tsv"
    assert told in said.err
    assert f"not {FIRST}" in said.err


def test_a_table_without_texts_is_refused(soup: Command, pool: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("said\nhello\n")
    said = soup("predict", pool[0], table)
    assert said.code == 2
    assert "which column holds the text? It has said" in said.err


def test_compare_gives_each_model_its_share_of_right_answers(
    soup: Command, pool: list[Path]
) -> None:
    table = pool[0].parent / "test.csv"
    said = soup("compare", *pool[:2], "--on", table, "--json")
    assert said.code == 0, said.err
    lines = table.read_text().splitlines()[1:]
    texts, labels = zip(*(line.rsplit(",", 1) for line in lines), strict=True)
    for row, folder in zip(json.loads(said.out)[str(table)], pool, strict=False):
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokens = tokenizer(list(texts), return_tensors="pt", padding=True)
        with torch.inference_mode():
            answers = model(**tokens).logits.argmax(dim=1).numpy()
        assert row["accuracy"] == pytest.approx(((np.array(labels) == "yes") == answers).mean())


def test_inspect_counts_errors_between_text_models_and_says_what_was_cut(
    soup: Command, pool: list[Path], tmp_path: Path
) -> None:
    table = tmp_path / "held.csv"
    lines = (pool[0].parent / "test.csv").read_text().splitlines()
    table.write_text("\n".join([*lines, f"{FIRST + ' now' * 60},yes"]) + "\n")
    said = soup("inspect", *pool, "--heldout", table, "--json")
    assert said.code in (0, 1), said.err  # the models are far apart
    report = json.loads(said.out)
    assert {file["model"] for file in report["files"]} == {"ft0", "ft1", "ft2"}
    assert len(report["lines"]) == 2
    judged = soup("compare", *pool, "--on", table, "--json")
    accuracies = [model["accuracy"] for model in json.loads(judged.out)[str(table)]]
    errors = {
        name: round((1 - a) * len(lines))
        for name, a in zip(("ft0", "ft1", "ft2"), accuracies, strict=True)
    }
    for ends, costs in report["lines"].items():
        start, end = ends.split(" to ")
        assert (costs[0], costs[-1]) == (errors[start], errors[end])
    assert "held.csv: 1 of 61 texts are cut to the 32 tokens" in said.err


def test_explain_names_causes_for_text_models(soup: Command, pool: list[Path]) -> None:
    base = pool[0].parent / "base"
    table = pool[0].parent / "test.csv"
    said = soup("explain", *pool, "--base", base, "--heldout", table, "--json")
    assert said.code == 0, said.err
    findings = json.loads(said.out)
    assert findings
    assert all(finding["kind"] and finding["summary"] for finding in findings)
    assert "image" not in said.out
    plain = soup("explain", *pool, "--heldout", table)
    assert plain.code == 0, plain.err
    assert "1. " in plain.err
