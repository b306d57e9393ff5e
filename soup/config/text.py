"""What texts are classified, as a scientist writes it in `params.yaml`."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

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
