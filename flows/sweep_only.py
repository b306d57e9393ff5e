"""The sweep on its own: to look at the fine-tunes before anything is cooked of them."""

from prefect import flow

from flows.cook import cook
from flows.pipeline import STAGES, run
from flows.stage import DEFAULT, Record, check
from soup.config.params import Params


@flow(name="sweep-only")
def sweep_only(params: Params = DEFAULT) -> Record:
    """Fine-tune many ways, and stop there."""
    check(params)
    return run(STAGES[: STAGES.index(cook)], params)
