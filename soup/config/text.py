"""The parameters of texts in `params.yaml`."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from soup.config.search_space import Space
from soup.config.validation import Strict

TaskName = Literal["cola", "sst2", "mrpc", "rte", "qnli", "stsb", "qqp", "mnli", "wnli"]
TASKS = get_args(TaskName)
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
    columns: dict[TextRole, str] = Field(
        {}, description="names of the tables' columns, where they are not guessed"
    )

    @model_validator(mode="after")
    def columns_of_a_task_are_known(self) -> Self:
        if self.task is not None and self.columns:
            raise ValueError(f"task: {self.task} has columns of its own: leave 'columns' out")
        return self


def without_task(path: str) -> str:
    """The path of a source, without the TASK: of TASK:FILE."""
    name, _, file = path.partition(":")
    return file if file and name in TASKS else path


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
    if text.task == "stsb":
        raise ValueError("data.text: stsb: models that predict numbers are not trained yet")
    # Dimensions that may be given only with the value that turns them off.
    off = {"mixup": [0.0], "cutmix": [0.0], "augment": ["none"], "drop_path": [0.0]}
    asked = [name for name, value in off.items() if getattr(space, name) != value]
    asked += [f"like: {space.like}"] if space.like not in (None, "paper-text") else []
    if asked:
        raise ValueError(f"sweep.space: {', '.join(asked)}: of images alone; leave them out")
