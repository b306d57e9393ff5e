"""The project that a flow works on: its folder, its parameters, and what is shown of the work."""

import inspect
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from pydantic import PlainValidator, WithJsonSchema
from rich.console import Console
from rich.text import Text

from flows import heartbeats
from flows.terminal import logs
from soup.config.params import Params, load
from soup.pipeline.project import Project, unit_of
from soup.terminal.progress import Display

P = ParamSpec("P")
R = TypeVar("R")
Record = dict[str, Any]

heartbeats.do_not_wait()


def root() -> Path:
    """The project folder: MODELSOUP_ROOT, or the checkout that this module is in.

    A worker runs flows on a checkout that need not be the one that it imports them from.
    """
    return Path(os.environ.get("MODELSOUP_ROOT") or Path(__file__).parents[1]).resolve()


@cache
def console() -> Console:
    """Where flows print."""
    return logs.console()


@cache
def display() -> Display:
    """What shows the progress of flows."""
    return Display(console())


def say(*parts: str | Text, style: str | None = None) -> None:
    """Print a line of parts that a space joins, unless the command was told to be quiet."""
    display().say(*parts, style=style)


def default_params() -> Params:
    """The parameters in params.yaml.

    Raises:
        ParamsError: the file cannot be read, or breaks a rule.
    """
    return load(root() / "params.yaml")


def open_project(params: Params) -> Project:
    """The project; its MLflow runs get the Prefect flow run as a tag, if one is under way."""
    run_id = flow_run.get_id()
    tags = {"flow_run": run_id} if run_id else {}
    track = partial(display().track, unit=unit_of(params))
    return Project(root(), params, tags, say, track)


def in_prefect() -> bool:
    """Whether a Prefect flow run is under way, to which artifacts can be attached."""
    return FlowRunContext.get() is not None


# For the signatures of flows. Prefect makes a JSON schema of the parameters whenever a flow is
# defined. For `Params` and all that it consists of, that takes a tenth of a second, and only a
# deployment's form needs it: so pydantic knows nothing but a function that validates.
if TYPE_CHECKING:
    FlowParams = Params
else:
    FlowParams = Annotated[
        Any, PlainValidator(Params.model_validate), WithJsonSchema({"type": "object"})
    ]


class DeployedFlow(Flow[P, R]):
    """A flow whose `params` may be left out, and are then those of params.yaml.

    Prefect takes the form of a deployment from the flow's signature, where the default of `params`
    is what params.yaml says when the flow is deployed. The file is read then, not when the module
    of the flow is imported.
    """

    @property
    def __signature__(self) -> inspect.Signature:
        signature = inspect.signature(self.fn)
        parameters = {**signature.parameters}
        parameters["params"] = parameters["params"].replace(
            default=default_params(), annotation=Params
        )
        return signature.replace(parameters=[*parameters.values()])


def deployed_flow(name: str) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Prefect's decorator `flow`, for the flows that prefect.yaml deploys."""
    return lambda function: DeployedFlow(function, name=name)
