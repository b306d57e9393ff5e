"""The parameters of texts in `params.yaml`."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from soup.config.search_space import Space
from soup.config.validation import Strict

TaskName = Literal["cola", "sst2", "mrpc", "rte", "qnli", "stsb", "qqp", "mnli", "wnli"]
TASKS = get_args(TaskName)
NUMBER_TASKS = ("stsb",)
NumberScore = Literal["pearson-spearman", "pearson", "spearman"]
ClassScore = Literal["accuracy", "f1", "matthews", "f1-accuracy"]
TextRole = Literal["text", "text_pair", "label"]


class TextData(Strict):
    """Texts, or pairs of texts, instead of images; a task of GLUE alone, where it is one.

    `data.train`, `data.test` and `data.shifts` then name tables: GLUE's own files, CSV, TSV (never
    quoted), JSON lines, Parquet, or a folder that Hugging Face's `save_to_disk` wrote. A shift of
    another task is written TASK:FILE, as in rte:RTE/dev.tsv.
    """

    task: TaskName | None = Field(
        None,
        description="GLUE task whose own files these are: its columns, labels and score, and by "
        "default train.tsv for train and the official dev.tsv for test",
    )
    numbers: bool = Field(
        False,
        description="labels are numbers that the model predicts (regression), not classes; of a "
        "GLUE task this is known",
    )
    columns: dict[TextRole, str] = Field(
        {}, description="names of the tables' columns, where they are not guessed"
    )

    @model_validator(mode="after")
    def columns_of_a_task_are_known(self) -> Self:
        if self.task is not None and self.columns:
            raise ValueError(f"task: {self.task} has columns of its own: leave 'columns' out")
        if self.task is not None and self.numbers and not self.predicts_numbers:
            raise ValueError(f"task: {self.task} has classes: leave 'numbers' out")
        return self

    @property
    def predicts_numbers(self) -> bool:
        """Whether models of these texts predict a number instead of a class."""
        return self.numbers if self.task is None else self.task in NUMBER_TASKS


def development(task: str) -> str:
    """The file of a task's official development set, which is the test set by default."""
    return "dev_matched.tsv" if task == "mnli" else "dev.tsv"


def without_task(path: str) -> str:
    """The path of a source, without the TASK: of TASK:FILE."""
    name, _, file = path.partition(":")
    return file if file and name in TASKS else path


def require_score(text: TextData | None, score: str | None, space: Space, head: str) -> None:
    """Check that numbers are scored and trained as numbers, and classes as classes.

    Args:
        text: the parameters of the texts; None for images.
        score: the score that soups are selected by; None for the usual one.
        space: the search space.
        head: the start of the head.

    Raises:
        ValueError: the score is of the other kind, or another setting is of classes alone.
    """
    numbers = text is not None and text.predicts_numbers
    known = get_args(NumberScore if numbers else ClassScore)
    if score is not None and score not in known:
        kind = "numbers" if numbers else "classes"
        raise ValueError(
            f"soup.score: {score} does not score {kind}, which the labels are; take one of "
            f"{', '.join(known)}, or leave it out"
        )
    if numbers and space.label_smoothing != [0.0]:
        raise ValueError("sweep.space: label_smoothing: of classes, and the labels are numbers")
    if numbers and head in ("zeroshot", "text"):
        raise ValueError(f"base.head: {head}: of classes, and the labels are numbers; take new")
    if head == "text" and space.label_smoothing != [0.0]:
        raise ValueError("sweep.space: label_smoothing: not with base.head: text")


def require_text_model(text: TextData | None, library: str, space: Space) -> None:
    """Check that texts have a text model, and no augmentation of images.

    Args:
        text: the parameters of the texts; None for images.
        library: the model's library.
        space: the search space.

    Raises:
        ValueError: the model is not for these data, or the space augments texts.
    """
    if (text is not None) != (library == "transformers"):
        what = (
            "these are texts" if text is not None else "there is no data.text, so these are images"
        )
        raise ValueError(
            f"data.text and base.library: transformers go together: {what}, and the model is of "
            f"{library}"
        )
    if text is None:
        return
    # Dimensions that may be given only with the value that turns them off.
    off = {"mixup": [0.0], "cutmix": [0.0], "augment": ["none"], "drop_path": [0.0]}
    asked = [name for name, value in off.items() if getattr(space, name) != value]
    if space.like not in (None, "paper-text"):
        asked = [f"like: {space.like}"]
    if asked:
        raise ValueError(f"sweep.space: {', '.join(asked)}: of images alone; leave them out")
