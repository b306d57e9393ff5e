"""The tasks of GLUE: the columns and labels of their own files, and the score of each.

Wang et al., "GLUE: A multi-task benchmark and analysis platform for natural language
understanding", ICLR 2019. The files are tab-separated without quoting; only MRPC's begin with a
byte-order mark, only CoLA's have no header. The labels of the test files are secret, so results are
measured on the official development sets (dev.tsv).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from soup.config.text import TaskName
from soup.data.text.tables import Table, read_table

PAIR = "sentence1: {text} sentence2: {text_pair}"


@dataclass(frozen=True)
class Task:
    """A task of GLUE.

    Attributes:
        text: the columns of the text or of the pair: names, or numbers from 0 without a header.
        label: the column of the label.
        score: the score that the benchmark reports (`soup.evaluation.scores`).
        names: label in the files -> class name; other labels are class names themselves.
        positive: the class whose F1 is the score.
        columns: number of columns of a file without a header.
        prompt: what T5 reads, as it was trained (Raffel et al., JMLR 2020, appendix D); it was not
            trained on WNLI.
    """

    text: tuple[str, ...]
    label: str
    score: str = "accuracy"
    names: Mapping[str, str] = field(default_factory=dict)
    positive: str = ""
    columns: int = 0
    prompt: str = PAIR


_ENTAILED = {"0": "not_entailment", "1": "entailment"}
TASKS: dict[TaskName, Task] = {
    "cola": Task(
        ("3",),
        "1",
        "matthews",
        {"0": "unacceptable", "1": "acceptable"},
        columns=4,
        prompt="cola sentence: {text}",
    ),
    "sst2": Task(
        ("sentence",),
        "label",
        names={"0": "negative", "1": "positive"},
        prompt="sst2 sentence: {text}",
    ),
    "mrpc": Task(
        ("#1 String", "#2 String"),
        "Quality",
        "f1-accuracy",
        {"0": "not_equivalent", "1": "equivalent"},
        "equivalent",
        prompt=f"mrpc {PAIR}",
    ),
    "rte": Task(("sentence1", "sentence2"), "label", prompt=f"rte {PAIR}"),
    "qnli": Task(
        ("question", "sentence"), "label", prompt="qnli question: {text} sentence: {text_pair}"
    ),
    "stsb": Task(("sentence1", "sentence2"), "score", "pearson-spearman"),
    "qqp": Task(
        ("question1", "question2"),
        "is_duplicate",
        "f1-accuracy",
        {"0": "not_duplicate", "1": "duplicate"},
        "duplicate",
        prompt="qqp question1: {text} question2: {text_pair}",
    ),
    "mnli": Task(
        ("sentence1", "sentence2"),
        "gold_label",
        prompt="mnli hypothesis: {text_pair} premise: {text}",
    ),
    "wnli": Task(("sentence1", "sentence2"), "label", names=_ENTAILED),
}


def official_dev_ids(file: Path) -> frozenset[tuple[str, str]]:
    """The pairs of sentence ids in MRPC's official development set, if `dev_ids.tsv` is present.

    The corpus has these pairs in train (`msr_paraphrase_train.txt`); the benchmark removes them by
    `dev_ids.tsv`.
    """
    beside = file.with_name("dev_ids.tsv")
    if not beside.is_file():
        return frozenset()
    table = read_table(beside, header=False)
    return frozenset(zip(table.columns["0"], table.columns["1"], strict=True))


def without_official_dev(table: Table, file: Path) -> tuple[Table, int]:
    """MRPC's training rows without its official development set, and the number of rows removed."""
    dev = official_dev_ids(file)
    pairs = zip(table.columns.get("#1 ID", []), table.columns.get("#2 ID", []), strict=True)
    keep = [index for index, pair in enumerate(pairs) if pair not in dev]
    if not dev or len(keep) == len(table):
        return table, 0
    return table.take(keep), len(table) - len(keep)
