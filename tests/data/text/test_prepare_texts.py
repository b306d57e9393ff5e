"""Texts to manifests: GLUE's files by task, any others by their columns, and what is wrong."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from soup.config.data import Data
from soup.data.errors import DataError
from soup.data.split.manifest import Row
from soup.data.split.prepare import Prepared
from soup.data.text.prepare import listing, prepare_texts
from soup.data.text.texts import open_texts, parts

HELD = {"per_class": 1}


def write(path: Path, *lines: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))


def prepared(root: Path, **data: Any) -> Prepared:
    return prepare_texts(Data(root=str(root), **{"heldout": HELD, **data}), root)


# A header, and how a row of each task is written: of number i, with these two texts and this label.
FORMS: dict[str, tuple[str, str, tuple[str, str], tuple[str, str]]] = {
    "cola": ("", "gj04\t{l}\t*\t{a}", ("0", "1"), ("acceptable", "unacceptable")),
    "sst2": ("sentence\tlabel", "{a}\t{l}", ("0", "1"), ("negative", "positive")),
    "mrpc": (
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "{l}\t{i}\t9{i}\t{a}\t{b}",
        ("0", "1"),
        ("equivalent", "not_equivalent"),
    ),
    "rte": (
        "index\tsentence1\tsentence2\tlabel",
        "{i}\t{a}\t{b}\t{l}",
        ("entailment", "not_entailment"),
        ("entailment", "not_entailment"),
    ),
    "qnli": (
        "index\tquestion\tsentence\tlabel",
        "{i}\t{a}\t{b}\t{l}",
        ("entailment", "not_entailment"),
        ("entailment", "not_entailment"),
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "{i}\t1{i}\t2{i}\t{a}\t{b}\t{l}",
        ("0", "1"),
        ("duplicate", "not_duplicate"),
    ),
    "mnli": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse"
        "\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
        "{i}\t{i}\t{i}e\tfiction\t(x)\t(y)\t(x)\t(y)\t{a}\t{b}\tneutral\t{l}",
        ("neutral", "contradiction"),
        ("contradiction", "neutral"),
    ),
    "wnli": (
        "index\tsentence1\tsentence2\tlabel",
        "{i}\t{a}\t{b}\t{l}",
        ("0", "1"),
        ("entailment", "not_entailment"),
    ),
}


def glue(root: Path, task: str, rows: int = 8) -> None:
    header, form, labels, _ = FORMS[task]
    head = [header] if header else []
    test = "dev_matched.tsv" if task == "mnli" else "dev.tsv"
    for file, first in (("train.tsv", 0), (test, 100)):
        lines = [
            form.format(i=i, a=f'"first {i}', b=f"second {i}", l=labels[i % 2])
            for i in range(first, first + rows)
        ]
        encoding = "utf-8-sig" if task == "mrpc" else "utf-8"
        write(root / file, *head, *lines, encoding=encoding)


@pytest.mark.parametrize("task", FORMS)
def test_the_files_of_every_task_are_read_by_its_name_alone(tmp_path: Path, task: str) -> None:
    glue(tmp_path, task)
    made = prepared(tmp_path, text=task)
    assert made.development.classes == FORMS[task][3]
    assert [len(made.development.split(s)) for s in ("train", "heldout")] == [6, 2]
    test = made.evaluation.split("test")
    texts = open_texts(tmp_path, test)
    assert sorted(t.text for t in texts) == [f'"first {i}' for i in range(100, 108)]
    pair = texts[0].pair
    assert pair is None if task in ("cola", "sst2") else pair == "second 100"
    assert {row.label for row in test} == {*FORMS[task][3]}


def test_the_scores_of_stsb_are_numbers(tmp_path: Path) -> None:
    head = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"
    rows = [f"{i}\tg\tf\t2012\t{i}\ts\ts\ta {i}\tb {i}\t{i / 4:.3f}" for i in range(20)]
    write(tmp_path / "train.tsv", head, *rows)
    write(tmp_path / "dev.tsv", head, rows[0].replace("a 0", "c").replace("b 0", "d"))
    made = prepared(tmp_path, text="stsb", heldout={"fraction": 0.2})
    assert len(made.development.split("heldout")) == 4
    assert made.evaluation.split("test")[0].label == "0.000"
    write(tmp_path / "dev.tsv", head, rows[0].replace("0.000", "much"))
    with pytest.raises(DataError, match=r"no numbers.*much"):
        prepared(tmp_path, text="stsb")


def test_a_manifest_says_where_each_text_is(tmp_path: Path) -> None:
    glue(tmp_path, "rte")
    row = prepared(tmp_path, text="rte").evaluation.split("test")[0]
    written = hashlib.sha256(b'"first 100\0second 100').hexdigest()[:32]
    path = "dev.tsv::sentence1+sentence2::0000001"
    assert row == Row(path, "entailment", "test", written)
    assert parts(path) == ("dev.tsv", ("sentence1", "sentence2"), 1)


def test_the_official_dev_pairs_of_mrpc_do_not_train(tmp_path: Path) -> None:
    glue(tmp_path, "mrpc")
    write(tmp_path / "dev_ids.tsv", "2\t92", "5\t95", "77\t78")
    made = prepared(tmp_path, text="mrpc")
    numbers = sorted(parts(row.path)[2] for row in made.development)
    assert numbers == [1, 2, 4, 5, 7, 8]
    assert "2 pairs of the official development set" in made.notes[0]


def test_other_tables_are_read_by_usual_or_given_names(tmp_path: Path) -> None:
    rows = [f"{i},say {i},and {i},{'ab'[i % 2]}" for i in range(8)]
    write(tmp_path / "train.csv", "id,text,text_pair,label", *rows)
    write(tmp_path / "test.jsonl", '{"text": "x", "text_pair": "y", "label": "a"}')
    made = prepared(tmp_path, text={})
    assert open_texts(tmp_path, made.evaluation.split("test"))[0] == ("x", "y")
    write(tmp_path / "train.csv", "id,said,also,kind", *rows)
    write(tmp_path / "test.jsonl", '{"said": "x", "also": "y", "kind": "a"}')
    made = prepared(tmp_path, text={"columns": {"text": "said", "label": "kind"}})
    assert open_texts(tmp_path, made.evaluation.split("test"))[0] == ("x", None)


def test_a_pattern_names_the_files_of_one_table(tmp_path: Path) -> None:
    for part in range(3):
        rows = [f"text {part} {row},{row % 2}" for row in range(10)]
        write(tmp_path / f"train-{part}.csv", "text,label", *rows)
    write(tmp_path / "test.csv", "text,label", "a,0", "b,1")
    made = prepared(tmp_path, text={}, train="train-*.csv")
    files = [row.path.split("::")[0] for row in made.development]
    assert {name: files.count(name) for name in files} == dict.fromkeys(
        ["train-0.csv", "train-1.csv", "train-2.csv"], 10
    )
    with pytest.raises(DataError, match=r"no file fits .*tr\?in-\*"):
        prepared(tmp_path, text={}, train="tr?in-*x")


def test_a_shift_may_be_of_another_task_with_the_same_labels(tmp_path: Path) -> None:
    glue(tmp_path / "RTE", "rte")
    glue(tmp_path / "QNLI", "qnli")
    made = prepared(
        tmp_path,
        text="rte",
        train="RTE/train.tsv",
        test="RTE/dev.tsv",
        shifts={"questions": {"folder": "qnli:QNLI/dev.tsv"}},
        overlap="report",
    )
    shift = made.evaluation.split("questions")
    assert shift[0].path.startswith("QNLI/dev.tsv::question+sentence::")
    glue(tmp_path / "MRPC", "mrpc")
    other = {"other": {"folder": "mrpc:../MRPC/dev.tsv"}}
    with pytest.raises(DataError, match=r"other has labels that train does not.*equivalent"):
        prepared(tmp_path / "RTE", text="rte", shifts=other)


def test_empty_texts_and_broken_rows_are_left_out_and_told(tmp_path: Path) -> None:
    glue(tmp_path, "rte")
    with (tmp_path / "train.tsv").open("a") as file:
        file.write("20\t \tsecond\tentailment\n21\tonly three\tcells\n22\ta\tb\t\n")
    made = prepared(tmp_path, text="rte")
    assert [(p.path, p.reason) for p in made.problems] == [
        ("train.tsv, row 10", "3 cells instead of 4"),
        ("train.tsv, row 9", "a text of the pair is empty"),
        ("train.tsv, row 11", "no label in column 'label'"),
    ]
    with pytest.raises(DataError, match="3 texts cannot be used"):
        prepared(tmp_path, text="rte", strict=True)


def test_what_test_shares_with_train_is_an_error_or_told(tmp_path: Path) -> None:
    glue(tmp_path, "rte")
    with (tmp_path / "dev.tsv").open("a") as file:
        file.write('9\t"FIRST  3\tsecond 3\tentailment\n10\t"first 4\tnew\tentailment\n')
    with pytest.raises(DataError, match="test: 1 of 10 texts stand in train or held-out"):
        prepared(tmp_path, text="rte")
    made = prepared(tmp_path, text="rte", overlap="report")
    assert "test: 1 of 10 pairs have one text in train or held-out" in made.warnings


def test_copies_and_texts_of_several_labels_are_told(tmp_path: Path) -> None:
    glue(tmp_path, "cola")
    with (tmp_path / "train.tsv").open("a") as file:
        file.write('gj04\t0\t\t"first 1\n')
    warnings = prepared(tmp_path, text="cola").warnings
    assert "train: 1 texts are copies of others" in warnings
    assert any("1 texts have several labels" in line for line in warnings)


def test_held_out_texts_of_their_own_are_taken_from_train_by_sentence(tmp_path: Path) -> None:
    glue(tmp_path, "rte")
    header = FORMS["rte"][0]
    write(
        tmp_path / "held.tsv", header, '1\t"first 2\tother\tentailment', "2\tp\tq\tnot_entailment"
    )
    made = prepared(tmp_path, text="rte", heldout={"folder": "held.tsv"})
    assert [len(made.development.split(s)) for s in ("train", "heldout")] == [7, 2]
    assert "1 texts of train share a sentence" in made.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "mrpc"}, r"lacks the column '#1 String', '#2 String', .*Quality.* of mrpc"),
        ({"text": "sst2"}, "lacks the column 'sentence' of sst2"),
        ({"text": "qnli"}, "lacks the column 'question', 'sentence'"),
        ({"text": "cola"}, r"labels that cola \(GLUE\) does not have"),
        ({"text": {"columns": {"label": "wrong"}}}, "has no column 'wrong'"),
        ({"text": "rte", "real": "real.json"}, "data.real: of images alone"),
        ({"text": "rte", "test": "missing.tsv"}, "test: there is no"),
        ({"text": "rte", "train": "."}, "is a folder; name the file in it: dev.tsv, train.tsv"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_trained(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    glue(tmp_path, "rte")
    with pytest.raises(DataError, match=message):
        prepared(tmp_path, **change)


def test_a_pair_task_with_one_column_says_so(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", "index\tsentence1\tlabel", "1\ta\tentailment")
    write(tmp_path / "dev.tsv", "index\tsentence1\tlabel", "1\ta\tentailment")
    with pytest.raises(DataError, match="lacks the column 'sentence2' of a pair of texts"):
        prepared(tmp_path, text="rte")


def test_a_file_of_a_task_without_labels_says_so(tmp_path: Path) -> None:
    glue(tmp_path, "rte")
    write(tmp_path / "test.tsv", "index\tsentence1\tsentence2", "1\ta\tb")
    told = r"test: .*test\.tsv lacks the column 'label' of rte \(GLUE\): it has index, sentence1"
    with pytest.raises(DataError, match=told):
        prepared(tmp_path, text="rte", test="test.tsv")


def test_a_table_without_a_column_of_labels_asks_for_its_name(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "text,kind", "a,b")
    write(tmp_path / "test.csv", "text,label", "a,b")
    with pytest.raises(DataError, match=r"which column holds the label\?.*columns: \{label: NAME"):
        prepared(tmp_path, text={})


def test_labels_that_train_never_shows_are_counted(tmp_path: Path) -> None:
    glue(tmp_path, "rte")
    with (tmp_path / "dev.tsv").open("a") as file:
        file.write("9\tx\ty\tentailmnt\n10\tz\ty\tentailmnt\n")
    with pytest.raises(DataError, match=r"entailmnt \(2 times\) \(near: entailment"):
        prepared(tmp_path, text="rte")


def test_a_text_that_changed_since_the_split_is_told(tmp_path: Path) -> None:
    glue(tmp_path, "rte")
    rows = prepared(tmp_path, text="rte").evaluation.split("test")
    before = listing(Data(root=str(tmp_path), text="rte", heldout=HELD), tmp_path)
    file = tmp_path / "dev.tsv"
    file.write_text(file.read_text().replace('"first 103', '"First 103'))
    with pytest.raises(DataError, match=r"1 texts are not what they were.*0000004; run prepare"):
        open_texts(tmp_path, rows)
    assert listing(Data(root=str(tmp_path), text="rte", heldout=HELD), tmp_path) != before
