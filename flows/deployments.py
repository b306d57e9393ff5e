"""The flows that prefect.yaml deploys beside the pipeline: parts of it, with forms of their own."""

import time
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveInt

from flows.pipeline import pipeline, run
from flows.preflight import check
from flows.project import FlowParams, Record, default_params, deployed_flow, open_project
from flows.stage import require_done
from flows.stages import STAGES
from flows.summary import summary
from soup.config.cooking import Cook
from soup.config.validation import Name, Strict

_NAMES: Sequence[str] = [*STAGES]
THE_SWEEP = _NAMES[: _NAMES.index("cook")]  # and what it needs
THE_SOUP = _NAMES[_NAMES.index("cook") :]  # and what is made of it


class Pool(Strict):
    """Checkpoints of the base model, fine-tuned elsewhere."""

    folder: str = Field(
        description="where they are (.pt, .pth, .bin, .ckpt, .safetensors), on the worker's "
        "machine; relative to the project, or absolute",
        min_length=1,
    )
    runs: PositiveInt = Field(description="how many of them, the first by name")


class Registered(Strict):
    """A version in MLflow's model registry."""

    model: Name = Field(description="its name in the registry")
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = Field(
        "champion", description="a number, or an alias such as champion or challenger"
    )


@deployed_flow("sweep-only")
def sweep_only(params: FlowParams | None = None) -> Record:
    """Fine-tune many ways, and stop there."""
    params = params or default_params()
    check(params)
    return run(THE_SWEEP, params)


@deployed_flow("cook-again")
def cook_again(soup: Cook, params: FlowParams | None = None) -> Record:
    """Cook what the sweep of these parameters left, evaluate and register it; train nothing.

    Args:
        soup: how to cook, in the place of the parameters' own.
        params: those of the sweep.
    """
    begun = time.monotonic()
    changed = (params or default_params()).model_copy(update={"soup": soup})
    check(changed)
    records = {name: require_done(name, changed) for name in THE_SWEEP}
    records |= run(THE_SOUP, changed)
    summary(changed, records, time.monotonic() - begun)
    return records


@deployed_flow("import-and-cook")
def import_and_cook(pool: Pool, params: FlowParams | None = None) -> Record:
    """Score checkpoints on held-out, cook and register them; fine-tune nothing.

    Args:
        pool: the checkpoints.
        params: of the data, the base model, and what is done with the checkpoints.
    """
    params = params or default_params()
    imported = {"imported": pool.folder, "runs": pool.runs, "halving": None}
    sweep = params.sweep.model_copy(update=imported)
    return pipeline(params.model_copy(update={"sweep": sweep}))


@deployed_flow("evaluate-version")
def evaluate_version(registered: Registered, params: FlowParams | None = None) -> Record:
    """Score a registered version on held-out, test and shifts; the figures become its tags.

    Args:
        registered: the version.
        params: whose images it is to be scored on, and how.
    """
    from soup.pipeline.stages.evaluate_version import evaluate

    params = params or default_params()
    run(["prepare"], params)
    return evaluate(open_project(params), registered.model, registered.version)
