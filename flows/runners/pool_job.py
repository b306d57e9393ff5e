"""The flow that a work pool runs: one fine-tune of a sweep that another process steers.

It is in a module of its own, which imports neither torch nor MLflow: when a job crashed, or was
cancelled, Prefect loads it in one more process to look for hooks.
"""

from prefect import flow


@flow(name="fine-tune", flow_run_name="{name}")
def fine_tune(folder: str, events: str, name: str, until: float) -> None:
    """Run one fine-tune of a sweep that another process steers; arguments as of `carry_out`."""
    from flows.project import root
    from flows.runners.event_log import Refused
    from flows.runners.worker import carry_out

    refusal = carry_out(str(root()), folder, events, name, until)
    if refusal:
        raise Refused(refusal)
