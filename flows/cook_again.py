"""Another soup of a finished sweep."""

from prefect import flow

from flows.cook import cook
from flows.pipeline import STAGES, run
from flows.stage import DEFAULT, Record, check, require_done
from flows.summary import summary
from soup.config.params import Cook, Params


@flow(name="cook-again")
def cook_again(soup: Cook, params: Params = DEFAULT) -> Record:
    """Cook what the sweep of these parameters left, evaluate and register it; train nothing.

    Args:
        soup: how to cook, in the place of the parameters' own.
        params: those of the sweep.
    """
    changed = params.model_copy(update={"soup": soup})
    check(changed)
    first = STAGES.index(cook)
    records = {stage.name: require_done(stage.name, changed) for stage in STAGES[:first]}
    records |= run(STAGES[first:], changed)
    summary(changed, records)
    return records
