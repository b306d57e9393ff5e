"""A registered version, scored as whoever downloads it gets it."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.prepare import prepare
from flows.stage import DEFAULT, Record, open_project
from soup.config.data import Name
from soup.config.params import Params
from soup.config.validation import Strict


class Registered(Strict):
    """A version in MLflow's model registry."""

    model: Name = Field(description="its name in the registry")
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = Field(
        "champion", description="a number, or an alias such as champion or challenger"
    )


@flow(name="evaluate-version")
def evaluate_version(registered: Registered, params: Params = DEFAULT) -> Record:
    """Score a registered version on held-out, test and shifts; the figures become its tags.

    Args:
        registered: the version.
        params: whose images it is to be scored on, and how.
    """
    from soup.pipeline.stages.evaluate_version import evaluate

    prepare(params)
    return evaluate(open_project(params), registered.model, registered.version)
