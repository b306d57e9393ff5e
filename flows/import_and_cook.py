"""The pipeline on checkpoints that were fine-tuned elsewhere."""

from prefect import flow
from pydantic import Field, PositiveInt

from flows.pipeline import pipeline
from flows.stage import DEFAULT, Record
from soup.config.params import Params
from soup.config.validation import Strict


class Pool(Strict):
    """Checkpoints of the base model, fine-tuned elsewhere."""

    folder: str = Field(
        description="where they are (.pt, .pth, .bin, .ckpt, .safetensors), on the worker's "
        "machine; relative to the project, or absolute",
        min_length=1,
    )
    runs: PositiveInt = Field(description="how many of them, the first by name")


@flow(name="import-and-cook")
def import_and_cook(pool: Pool, params: Params = DEFAULT) -> Record:
    """Score checkpoints on held-out, cook and register them; fine-tune nothing.

    Args:
        pool: the checkpoints.
        params: of the data, the base model, and what is done with the checkpoints.
    """
    imported = {"imported": pool.folder, "runs": pool.runs, "halving": None}
    sweep = params.sweep.model_copy(update=imported)
    return pipeline(params.model_copy(update={"sweep": sweep}))
